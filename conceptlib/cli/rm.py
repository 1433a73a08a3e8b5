"""`conceptlib rm`."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli._which import kind_option, say_which
from conceptlib.cli.output import Output


@click.command("rm", short_help="Remove an artifact that nothing was made from.")
@click.argument("ref", metavar="ARTIFACT")
@kind_option
@output.yes_option
@output.dry_run_option
@output.options
def cli(out: Output, ref: str, kind: str | None, yes: bool, dry_run: bool) -> None:
    """Remove an artifact from the store. An artifact that others were made from is kept: remove those first.

    \b
    conceptlib rm icd-qr@3f2a --dry-run
    """
    from conceptlib.store import Store

    store = Store()
    artifact = store.rm(ref, kind=kind, dry_run=True)
    say_which(out, store, ref, artifact, kind)
    if not dry_run:
        out.confirm(f"remove {artifact.kind} {artifact.ref}?", yes=yes)
        store.rm(artifact)
    done = "would remove" if dry_run else "removed"
    data = {"removed": not dry_run, "kind": artifact.kind, "name": artifact.name, "id": artifact.id}
    out.result(data, human=f"{done} {artifact.kind} {artifact.ref}", quiet=artifact.id)
