"""`conceptlib detectors`: their specs, and training, scoring and exporting them."""

from __future__ import annotations

from pathlib import Path

import click

from conceptlib.cli import output
from conceptlib.cli._specs import add_spec_commands
from conceptlib.cli.output import Output

_COLUMNS = [
    "detector",
    "level",
    "mAP50",
    "mAP50-95",
    "AP50 by concept",
    "recall",
    "precision",
    "words read",
    "recall by size",
    "recall by opacity",
    "image recall",
    "false alarms",
    "on clean",
    "images",
    "images/s",
]


@click.group("detectors")
def cli() -> None:
    """List detectors, train them, and score them against known geometry."""


add_spec_commands(cli, ("detector",), noun="detector", example="zxing")


@cli.command("train")
@click.argument("name")
@click.option("--data", required=True, help="The dataset to learn from.")
@click.option(
    "--annotations",
    default=None,
    help="Which annotation set of it to learn from; its exact geometry, `truth`, by default.",
)
@output.device_option
@output.overrides_argument
@output.options
def train_command(
    out: Output, name: str, data: str, annotations: str | None, device: str | None, overrides: tuple[str, ...]
) -> None:
    """Train the detector of a spec from scratch, calibrate its threshold and measure it on the test split.

    \b
    conceptlib detectors train yolo-icd --data icd-qr
    conceptlib detectors train yolo-icd --data icd-qr-photos architecture=yolo11n steps=2000
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
@click.option("--split", default="test", show_default=True, help="Which split of that dataset.")
@click.option(
    "--annotations",
    "--truth",
    "truth",
    default=None,
    help="Which annotation set of it is the truth; its exact geometry by default.",
)
@click.option("--clean", default=None, help="A dataset without the concept, on which false alarms are counted.")
@click.option(
    "--failures",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Write an image of misses and false alarms to this PNG file.",
)
@output.trust_option
@output.device_option
@output.options
def eval_command(
    out: Output,
    names: tuple[str, ...],
    data: str,
    split: str,
    truth: str | None,
    clean: str | None,
    failures: Path | None,
    trust: bool,
    device: str | None,
) -> None:
    """Score detectors in one table: average precision, recall by size and opacity, false alarms on clean images.

    \b
    conceptlib detectors eval zxing yolo-icd --data icd-qr
    conceptlib detectors eval rapidocr best.onnx --data icd-text --clean photos --failures failures.png
    """
    from conceptlib.detectors.evaluate import evaluate_detector, table_row
    from conceptlib.detectors.failures import save_sheet
    from conceptlib.store import Store

    with out.progress() as progress:
        found = [
            evaluate_detector(
                name, data, split=split, truth=truth, clean=clean, device=device, trust=trust, progress=progress
            )
            for name in names
        ]
    rows = [table_row(artifact) for artifact in found]
    out.table(
        rows,
        columns=[name for name in _COLUMNS if any(row[name] not in ("", None) for row in rows)],
        quiet="evaluation",
    )
    if failures is not None:
        save_sheet(found, Store(), failures)
        out.note(f"misses and false alarms: {failures}")


@cli.command("export")
@click.argument("name")
@click.option(
    "--out", "path", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The .onnx file to write."
)
@output.options
def export_command(out: Output, name: str, path: Path) -> None:
    """Write a trained detector as one ONNX file, which runs without the library that trained it.

    \b
    conceptlib detectors export yolo-icd --out yolo-icd.onnx
    conceptlib annotate icd-qr --detector yolo-icd.onnx
    """
    from conceptlib.detectors.export import export_detector

    about = export_detector(name, path)
    out.result(
        about,
        human=f"{path}: {', '.join(about['labels'])} at {about['imgsz']} px, threshold {about['threshold']:.2f}",
        quiet=str(path),
    )
