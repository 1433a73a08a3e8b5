"""`conceptlib verify`."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output


@click.command("verify", short_help="Re-hash artifacts and name what is damaged.")
@click.argument("refs", nargs=-1, metavar="[ARTIFACT]...")
@output.options
def cli(out: Output, refs: tuple[str, ...]) -> int:
    """Re-hash artifacts, and name every file that is damaged, missing or not in the manifest. Changes nothing.

    ARTIFACT is a name, name@id, an id or a folder; without one, everything in the store is checked. Exit status 1 when
    anything is wrong.

    \b
    conceptlib verify
    conceptlib verify icd-qr
    """
    from conceptlib.store import Store

    store = Store()
    with out.progress() as progress:
        problems = [p for ref in refs or [None] for p in store.verify(ref, progress=progress)]
    checked = len(refs) or len(store.list())
    if out.mode == "human" and not problems:
        out.text(f"{checked} artifact{'' if checked == 1 else 's'} checked, nothing is damaged")
    else:
        out.table(problems, ["artifact", "what", "path", "detail"], quiet="path")
    return 1 if problems else 0
