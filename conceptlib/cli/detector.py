"""`conceptlib detector train|eval`."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output

_COLUMNS = [
    "detector",
    "mAP50",
    "mAP50-95",
    "recall",
    "precision",
    "recall by size",
    "false alarms",
    "images",
    "images/s",
]


@click.group("detector")
def cli() -> None:
    """Train detectors and score them against known geometry. (`conceptlib detectors` lists their specs.)"""


@cli.command("train")
@click.argument("name")
@click.option("--data", required=True, help="The dataset to learn from.")
@click.option("--annotations", default=None, help="An annotation set of it; by default its exact geometry, `truth`.")
@output.device_option
@output.overrides_argument
@output.options
def train_command(
    out: Output, name: str, data: str, annotations: str | None, device: str | None, overrides: tuple[str, ...]
) -> None:
    """Train the detector of a spec from scratch, calibrate its threshold and measure it on the test split.

    \b
    conceptlib detector train yolo-icd --data icd-qr
    conceptlib detector train yolo-icd --data icd-qr-photos architecture=yolo11n steps=2000
    """
    from conceptlib.detectors.train import train_detector

    with out.progress() as progress:
        artifact = train_detector(
            name, data, annotations=annotations, device=device, overrides=overrides, progress=progress
        )
    info = artifact.info
    scores = info.get("scores", {})
    told = ", ".join(f"{key} {scores[key]:.3f}" for key in ("mAP50", "recall", "false-positive-rate") if key in scores)
    out.result(
        {"detector": artifact.ref, "path": artifact.path, **info},
        human=f"detector {artifact.ref}, trained in {info['train_seconds']:.0f} s{': ' + told if told else ''}",
        quiet=artifact.ref,
    )


@cli.command("eval")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--data", required=True, help="The dataset to score on.")
@click.option("--split", default="test", show_default=True, help="Of that dataset.")
@click.option("--truth", default=None, help="An annotation set of it; by default its exact geometry.")
@output.device_option
@output.options
def eval_command(
    out: Output, names: tuple[str, ...], data: str, split: str, truth: str | None, device: str | None
) -> None:
    """Score detectors: average precision, recall by size, false alarms on clean pictures.

    \b
    conceptlib detector eval zxing yolo-icd --data icd-qr
    """
    from conceptlib.detectors.evaluate import evaluate_detector, table_row

    with out.progress() as progress:
        found = [
            evaluate_detector(name, data, split=split, truth=truth, device=device, progress=progress) for name in names
        ]
    out.table([table_row(artifact) for artifact in found], columns=_COLUMNS, quiet="evaluation")
