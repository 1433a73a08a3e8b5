"""`conceptlib verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conceptlib.cli import output
from conceptlib.cli._which import kind_option, say_which
from conceptlib.cli.output import Output

if TYPE_CHECKING:
    from conceptlib.store import Store


@click.command("verify", short_help="Re-hash artifacts and name what is damaged.")
@click.argument("refs", nargs=-1, metavar="[ARTIFACT]...")
@kind_option
@click.option(
    "--repair", is_flag=True, help="Copy damaged files back, or take them out and say which command makes them again."
)
@output.options
def cli(out: Output, refs: tuple[str, ...], kind: str | None, repair: bool) -> int:
    """Re-hash artifacts, and name every file that is damaged, missing or not in the manifest. Changes nothing.

    ARTIFACT is a name, name@id, an id or a folder; without one, everything in the store is checked. Exit status 1 when
    anything is wrong.

    With --repair, a damaged file is copied from an equal artifact if there is one. Else it is taken out, and the
    command that made the artifact, with the same settings, makes it again: the id says whether it did.

    \b
    conceptlib verify
    conceptlib verify icd-qr
    conceptlib verify icd-qr --repair
    """
    from conceptlib.store import Store

    store = Store()
    if repair:
        return _repair(out, store, refs, kind)
    with out.progress() as progress:
        problems = [p for ref in refs or [None] for p in store.verify(ref, progress=progress, kind=kind)]
    _say_which(out, store, refs, kind)
    checked = len(refs) or len(store.list(kind))
    if out.mode == "human" and not problems:
        out.text(f"{checked} artifact{'' if checked == 1 else 's'} checked, nothing is damaged")
    else:
        out.table(problems, ["artifact", "what", "path", "detail"], quiet="path")
        if problems:
            out.note("`conceptlib verify --repair` mends what can be mended, and tells what makes the rest again")
    return 1 if problems else 0


def _repair(out: Output, store: Store, refs: tuple[str, ...], kind: str | None) -> int:
    """Mend, list what was done, and say what is left to do."""
    with out.progress() as progress:
        repairs = [one for ref in refs or [None] for one in store.repair(ref, progress=progress, kind=kind)]
    _say_which(out, store, refs, kind)
    out.table(repairs, ["artifact", "path", "done", "next"], quiet="path", empty="nothing is damaged")
    if commands := sorted({one.next for one in repairs if one.next}):
        out.note("to make again what is missing, with the settings that it was made with:")
        for command in commands:
            out.note(f"  {command}")
    return 1 if any(one.next or one.done == "nothing" for one in repairs) else 0


def _say_which(out: Output, store: Store, refs: tuple[str, ...], kind: str | None) -> None:
    from conceptlib.errors import ConceptlibError

    for ref in refs:
        try:
            say_which(out, store, ref, store.get(ref, kind), kind)
        except ConceptlibError:
            continue  # damaged: that has been told
