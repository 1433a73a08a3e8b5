"""`conceptlib untag`."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output


@click.command("untag", short_help="Take a version's name away.")
@click.argument("ref", metavar="NAME@TAG")
@click.option("--kind", help="Which kind, if several have the tag.")
@output.options
def cli(out: Output, ref: str, kind: str | None) -> None:
    """Take a tag away. The artifact stays, and the tag's file keeps what it meant.

    \b
    conceptlib untag icd-qr@v1
    """
    from conceptlib.store import Store

    tag = Store().untag(ref, kind=kind)
    out.result(tag, human=f"{tag.ref} was {tag.kind} {tag.id}", quiet=tag.id)
