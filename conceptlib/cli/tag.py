"""`conceptlib tag`."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli._which import kind_option, say_which
from conceptlib.cli.output import Output


@click.command("tag", short_help="Give a version a name, or list such names.")
@click.argument("ref", metavar="[ARTIFACT]", required=False)
@click.argument("tag", metavar="[TAG]", required=False)
@kind_option
@click.option("--force", is_flag=True, help="Move a tag that means another version.")
@output.options
def cli(out: Output, ref: str | None, tag: str | None, kind: str | None, force: bool) -> None:
    """Let NAME@TAG mean one version of an artifact. Without TAG, list the tags (of ARTIFACT).

    NAME@latest is what was last made or found. A tag moves with --force only, and remembers what it meant.

    \b
    conceptlib tag icd-qr@3f2a v1
    conceptlib diff icd-qr@v1 icd-qr@latest
    conceptlib tag
    """
    from conceptlib.store import Store

    store = Store()
    if tag is None:
        tags = store.tags(store.get(ref, kind) if ref else None)
        rows = [
            {"tag": one.ref, "kind": one.kind, "id": one.id, "since": one.history[-1].at, "history": one.history}
            for one in tags
        ]
        out.table(rows, ["tag", "kind", "id", "since"], empty="no tags yet")
        return
    artifact = store.get(ref or "", kind)
    say_which(out, store, ref or "", artifact, kind)
    set_ = store.tag(artifact, tag, force=force)
    out.result(set_, human=f"{set_.ref} is {set_.kind} {set_.id}", quiet=set_.ref)
