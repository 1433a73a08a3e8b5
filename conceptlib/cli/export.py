"""`conceptlib export`: an artifact in another tool's format, in a folder."""

from __future__ import annotations

from typing import Any

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output


@click.command("export", short_help="Write an artifact in another tool's format.")
@click.argument("ref", metavar="ARTIFACT")
@click.option(
    "--format",
    "form",
    metavar="FORMAT",
    required=True,
    help="coco, coco-results, imagefolder, parquet, voc, webdataset or yolo.",
)
@click.option("--to", metavar="DIR", required=True, help="The folder to write; new, empty, or an earlier export.")
@click.option(
    "--annotations", "-a", metavar="SET", default=None, help="Whose boxes; by default the exact geometry, `truth`."
)
@click.option("--split", default=None, help="Only this split; all by default.")
@click.option(
    "--categories",
    metavar="NAME,...",
    default=None,
    help="Concepts in the order of their ids; the dataset's by default.",
)
@output.yes_option
@output.options
def cli(out: Output, ref: str, form: str, to: str, yes: bool, **options: Any) -> None:
    """Write a dataset (or generated images, or an annotation set with its pictures) for other tools to read.

    The pictures' files are copied as they are. The folder appears when it is whole; the same command again changes
    nothing, and --yes replaces an earlier export of something else.

    \b
    conceptlib export icd-qr --format coco --to ./icd-qr-coco
    conceptlib export icd-qr --format coco-results --annotations yolo-icd --split test --to ./results
    conceptlib export icd-qr --format yolo --to ./icd-qr-yolo
    """
    _export_pictures(out, ref, form, to, overwrite=yes, **options)


def _export_pictures(out: Output, ref: str, form: str, to: str, categories: str | None, **options: Any) -> None:
    from conceptlib.formats import export_dataset

    names = None if categories is None else [name.strip() for name in categories.split(",")]
    with out.progress() as progress:
        made = export_dataset(ref, form, to, categories=names, progress=progress, **options)
    verb = "written" if made.status == "written" else "unchanged, already there"
    boxes = f", {made.boxes} boxes of {made.annotations}" if made.annotations else ", no boxes"
    size = f"{made.files} files, {made.bytes / 1e6:.1f} MB"
    out.result(made, human=f"{verb}: {made.path} ({made.images} pictures{boxes}; {size})", quiet=made.path)
    for note in made.notes:
        out.warn(note)
