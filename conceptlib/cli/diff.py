"""`conceptlib diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output

if TYPE_CHECKING:
    from conceptlib.concepts.diff import Diff


@click.command("diff", short_help="Compare two versions of a dataset.")
@click.argument("a")
@click.argument("b")
@click.option("--annotations", metavar="NAME", help="Compare the boxes of this annotation set instead of truth.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many ids to list for each kind of change.",
)
@output.options
def cli(out: Output, a: str, b: str, annotations: str | None, limit: int) -> None:
    """Say what differs between two datasets: rows added and removed, images, captions, boxes and splits changed, by
    hash; and their specs side by side.

    \b
    conceptlib diff icd-qr@v1 icd-qr@latest
    conceptlib diff icd-qr@3f2a icd-qr@91c0 --json
    """
    from conceptlib.concepts.diff import diff

    found = diff(a, b, annotations=annotations, limit=limit)
    ids = "\n".join(f"{change}\t{one}" for change, some in found.image_ids.items() for one in some)
    out.result(found, human=_for_people(found), quiet=ids or None)


def _for_people(found: Diff) -> str:
    counts = [
        {"rows": change, "count": count, "first": found.image_ids.get(change, ())[:3]}
        for change, count in found.counts.items()
    ]
    lines = [f"a  {found.a}  {found.rows[0]} rows", f"b  {found.b}  {found.rows[1]} rows", ""]
    lines += [output.render_table(counts, ["rows", "count", "first"]), ""]
    spec = [{"spec": one.field, "a": one.a, "b": one.b} for one in found.spec]
    lines += [output.render_table(spec, ["spec", "a", "b"]) if spec else "the specs are the same"]
    return "\n".join(lines)
