"""`conceptlib export`: an artifact in another form, in a folder."""

from __future__ import annotations

from typing import Any

import click

from conceptlib.cli import output
from conceptlib.cli._which import kind_option
from conceptlib.cli.output import Output

WEIGHTS = ("full", "lora", "tensors")


@click.command("export", short_help="Write an artifact in another form.")
@click.argument("ref", metavar="ARTIFACT")
@click.option(
    "--format",
    "form",
    metavar="FORMAT",
    required=True,
    help="Images: coco, coco-results, imagefolder, parquet, voc, webdataset or yolo; "
    "checkpoint: full, lora or tensors.",
)
@click.option(
    "--to", metavar="DIR", required=True, help="The folder to write: a new one, an empty one, or an earlier export."
)
@click.option(
    "--annotations", "-a", metavar="SET", help="Images: which annotation set; the exact one, `truth`, by default."
)
@click.option("--split", help="Images: only this split; all splits by default.")
@click.option("--categories", metavar="NAME,...", help="Images: the concepts, in the order of their category ids.")
@click.option("--base", metavar="MODEL", help="Checkpoint: its base, if that is not where the checkpoint says.")
@kind_option
@output.yes_option
@output.options
def cli(
    out: Output, ref: str, form: str, to: str, kind: str | None, base: str | None, yes: bool, **options: Any
) -> None:
    """Write a dataset, generated images or an annotation set for other tools, or a checkpoint with other weights.

    The files of the images are copied as they are; --yes replaces an earlier export of something else. A checkpoint
    becomes a whole model, a LoRA or the changed tensors alone where that is exact; where it is not (a change of full
    rank as a LoRA, a rule of inference as weights), the command says why and writes nothing.

    \b
    conceptlib export icd-qr --format coco --to ./icd-qr-coco
    conceptlib export icd-qr --format coco-results --annotations yolo-icd --split test --to ./results
    conceptlib export esd/colour --format full --to ./without-red
    """
    what: Any = ref
    if kind is not None:
        from conceptlib.store import Store

        what = Store().get(ref, kind)
    if form in WEIGHTS:
        if wrong := [name for name, value in options.items() if value is not None]:
            raise click.UsageError(f"--{wrong[0]} is for images, --format {form} for checkpoints")
        _export_weights(out, what, form, to, base)
    else:
        if base is not None:
            raise click.UsageError(f"--base is for checkpoints, --format {form} for images")
        _export_pictures(out, what, form, to, overwrite=yes, **options)


def _export_pictures(out: Output, ref: Any, form: str, to: str, categories: str | None, **options: Any) -> None:
    from conceptlib.formats import export_dataset

    names = None if categories is None else [name.strip() for name in categories.split(",")]
    with out.progress() as progress:
        made = export_dataset(ref, form, to, categories=names, progress=progress, **options)
    verb = "written" if made.status == "written" else "unchanged, already there"
    boxes = f", {made.boxes} boxes of {made.annotations}" if made.annotations else ", no boxes"
    size = f"{made.files} files, {made.bytes / 1e6:.1f} MB"
    out.result(made, human=f"{verb}: {made.path} ({made.images} images{boxes}; {size})", quiet=made.path)
    for note in made.notes:
        out.warn(note)


def _export_weights(out: Output, ref: Any, adapter: str, to: str, base: str | None) -> None:
    """Export a checkpoint and say how exact it is."""
    from conceptlib.erasers.export import export_checkpoint

    made = export_checkpoint(ref, adapter, to, base=base)
    human = f"written: {made.path} ({made.was} as {made.adapter}, {made.tensors} tensors changed)"
    out.result(made, human=human, quiet=made.path)
    for note in made.notes:
        out.note(note)
