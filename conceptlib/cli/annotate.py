"""`conceptlib annotate`."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output


@click.command("annotate", short_help="Find the concept in every picture.")
@click.argument("dataset")
@click.option("--detector", "-d", required=True, help="A spec (name or file), a trained detector, or weights.")
@click.option("--split", default=None, help="Only this split; all by default.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Pictures at once.")
@output.engine_option
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Of ray: at most; one a CPU or GPU by default."
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
    """Find the concept in every picture of a dataset (or of generated images).

    One shard at a time; stopped, the same command goes on from there.

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
        human=f"annotations {artifact.ref}: {info['images']} pictures, {found}",
        quiet=artifact.ref,
    )
