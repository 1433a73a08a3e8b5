"""`conceptlib import`: other people's work as artifacts."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output
from conceptlib.errors import UsageError


@click.command("import", short_help="Take over other people's annotations.")
@click.argument("source")
@click.option("--format", "form", metavar="FORMAT", default=None, help="coco, voc or yolo.")
@click.option("--data", metavar="DATASET", default=None, help="The dataset whose pictures are annotated.")
@click.option("--name", metavar="NAME", default=None, help="Of the annotation set; the format's by default.")
@click.option("--allow-missing", is_flag=True, help="Leave out annotations of pictures that the dataset lacks.")
@output.options
def cli(out: Output, source: str, form: str | None, data: str | None, name: str | None, allow_missing: bool) -> None:
    """Import COCO, Pascal VOC or YOLO annotations as an annotation set, for `erase`, `detector train` and `export`.

    Pictures are matched by image id, sha256 or file name. Everything that is wrong is named with file and line, and
    then nothing is imported.

    \b
    conceptlib import instances_train.json --format coco --data icd-qr --name human
    conceptlib import ./labelled --format yolo --data icd-qr --allow-missing
    """
    if form is None or data is None:
        raise UsageError("say what the annotations are, and of which pictures", hint="--format FORMAT --data DATASET")
    _import_annotations(out, source, form, data, name, allow_missing)


def _import_annotations(out: Output, source: str, form: str, data: str, name: str | None, allow_missing: bool) -> None:
    from conceptlib.formats import import_annotations

    with out.progress() as progress:
        made = import_annotations(source, form, data, name=name, allow_missing=allow_missing, progress=progress)
    info = made.info
    found = ", ".join(f"{label} in {n}" for label, n in info["images_with"].items()) or "no boxes"
    named = f"{info['named']} of {info['images']} pictures named"
    out.result(
        {"annotations": made.ref, "path": made.path, **info},
        human=f"annotations {made.ref}: {named}, {found}",
        quiet=made.ref,
    )
    for reason, count in info["skipped"].items():
        out.warn(f"{count} left out: {reason}")
    if info["unmatched"]:
        out.warn(f"{info['unmatched']} annotated pictures are not in the dataset: {made.path / 'unmatched.jsonl'}")
