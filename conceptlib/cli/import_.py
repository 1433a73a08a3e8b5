"""`conceptlib import`: other people's work as artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output
from conceptlib.errors import UsageError


@click.command("import", short_help="Import annotations or checkpoints from elsewhere.")
@click.argument("source")
@click.option(
    "--format",
    "form",
    metavar="FORMAT",
    default=None,
    help="Annotations: coco, cvat, label-studio, labelme, voc or yolo.",
)
@click.option("--data", metavar="DATASET", default=None, help="Annotations: the dataset that they belong to.")
@click.option("--allow-missing", is_flag=True, help="Annotations: leave out images that the dataset does not have.")
@click.option("--skip-bad", is_flag=True, help="Annotations: leave out what is wrong, and list it with the reason.")
@click.option("--method", metavar="METHOD", default=None, help="Checkpoint: how it was erased (esd, uce, spm, ...).")
@click.option("--concept", "concepts", metavar="CONCEPT", multiple=True, help="Checkpoint: what was erased.")
@click.option("--base", metavar="MODEL", default=None, help="Checkpoint: what it was erased from; tensors are matched.")
@click.option("--name", metavar="NAME", default=None, help="Name of the artifact; FORMAT or METHOD/CONCEPT by default.")
@output.options
def cli(out: Output, source: str, **given: Any) -> None:
    """Import annotations as an annotation set, or a checkpoint that was erased elsewhere.

    Annotations are files or folders of COCO, CVAT, Label Studio, labelme, Pascal VOC or YOLO, as these and Roboflow
    write them. Images are matched by image id, sha256 or file name. A checkpoint is a file of changed weights
    (safetensors, .pt, .bin, .ckpt: ESD, UCE, Ablating Concepts, whole UNets, text encoders, with diffusers' or CompVis'
    names), a LoRA (kohya or peft), a diffusers folder, or one of these on the Hub. Of pickles, only
    tensors are read. If anything is wrong, all of it is listed and nothing is imported.

    \b
    conceptlib import instances_train.json --format coco --data icd-qr --name human
    conceptlib import ./labelled --format yolo --data icd-qr --allow-missing
    conceptlib import esd-vangogh.safetensors --method esd --concept "Van Gogh" --base CompVis/stable-diffusion-v1-4
    """
    form, data = given["form"], given["data"]
    flags: dict[str, Any] = {"allow_missing": given["allow_missing"], "skip_bad": given["skip_bad"]}
    method, concepts, base = given["method"], given["concepts"], given["base"]
    if (form or data or any(flags.values())) and (method or concepts or base):
        raise UsageError("annotations or a checkpoint?", hint="--format and --data, or --method, --concept and --base")
    if form and data:
        _import_annotations(out, source, form, data, given["name"], flags)
    elif method and concepts and base:
        _import_checkpoint(out, source, method, concepts, base, given["name"])
    else:
        raise UsageError(
            "say what is imported",
            hint="--format FORMAT --data DATASET, or --method METHOD --concept CONCEPT --base MODEL",
        )


def _import_annotations(
    out: Output, source: str, form: str, data: str, name: str | None, flags: dict[str, Any]
) -> None:
    from conceptlib.formats import import_annotations

    with out.progress() as progress:
        made = import_annotations(source, form, data, name=name, progress=progress, **flags)
    info = made.info
    found = ", ".join(f"{label} in {n}" for label, n in info["images_with"].items()) or "no boxes"
    named = f"{info['named']} of {info['images']} images named"
    out.result(
        {"annotations": made.ref, "path": made.path, **info},
        human=f"annotations {made.ref}: {named}, {found}",
        quiet=made.ref,
    )
    _tell(out, made.path, info)


def _tell(out: Output, path: Path, info: dict[str, Any]) -> None:
    """What did not become a box as it stood."""
    for note in info.get("notes", ()):
        out.note(note)
    for what, count in info.get("reduced", {}).items():
        out.note(f"{count} {what}")
    if info.get("unannotated"):
        out.warn(f"{info['unannotated']} images are not annotated yet")
    for reason, count in info["skipped"].items():
        out.warn(f"{count} left out: {reason}")
    if info["unmatched"]:
        out.warn(f"{info['unmatched']} annotated images are not in the dataset: {path / 'unmatched.jsonl'}")
    rejected = info.get("rejected", {})
    if any(rejected.values()):
        counts = ", ".join(f"{n} {what}" for what, n in rejected.items() if n)
        out.warn(f"{counts} left out because they are wrong: {path / 'rejects.jsonl'}")


def _import_checkpoint(
    out: Output, source: str, method: str, concepts: tuple[str, ...], base: str, name: str | None
) -> None:
    from conceptlib.erasers.foreign.fetch import fetch
    from conceptlib.models.bases import resolve_base

    resolve_base(base)
    fetch(source)  # a mistyped name is told before torch is imported
    from conceptlib.erasers.foreign.importer import import_checkpoint

    with out.progress() as progress:
        made = import_checkpoint(source, method=method, concepts=concepts, base=base, name=name, progress=progress)
    info = made.info
    held = f"LoRA of rank {info['rank']}" if info["adapter"] == "lora" else f"{info['changed']} changed tensors"
    out.result(
        {"id": made.id, "name": made.name, **info, "path": made.path},
        human=f"checkpoint {made.ref}: {held}, from {info['imported']} (sha256 {info['source_sha256'][:12]}...)",
        quiet=made.id,
    )
    out.note(f'try it: conceptlib generate {made.name} "a prompt" --compare')
