"""`conceptlib annotate`."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output


@click.command("annotate", short_help="Find the concept in every image.")
@click.argument("dataset")
@click.option(
    "--detector", "-d", required=True, help="A spec (name or file), a trained detector, or a file of weights."
)
@click.option("--split", default=None, help="Annotate only this split; all splits by default.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="How many images to look at at once.",
)
@output.engine_option
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --engine ray: at most N workers; by default one for each CPU or GPU.",
)
@output.trust_option
@output.device_option
@output.options
def cli(
    out: Output,
    dataset: str,
    detector: str,
    split: str | None,
    batch_size: int,
    engine: str,
    workers: int | None,
    trust: bool,
    device: str | None,
) -> None:
    """Find the concept in every image of a dataset (or of generated images).

    The command works on one shard at a time. If it is stopped, the same command continues.

    \b
    conceptlib annotate icd-qr --detector zxing
    conceptlib annotate icd-qr --detector yolo-icd
    conceptlib annotate icd-qr --detector best.onnx
    conceptlib annotate icd-qr --detector zxing --engine ray
    """
    from conceptlib.detectors.annotate import annotate

    with out.progress() as progress:
        artifact = annotate(
            dataset,
            detector,
            batch_size=batch_size,
            split=split,
            device=device,
            trust=trust,
            engine=engine,
            workers=workers,
            progress=progress,
        )
    info = artifact.info
    found = ", ".join(f"{label} in {n}" for label, n in info["images_with"].items()) or "nothing found"
    out.result(
        {"annotations": artifact.ref, "path": artifact.path, **info},
        human=f"annotations {artifact.ref}: {info['images']} images, {found}",
        quiet=artifact.ref,
    )
