"""`conceptlib models`: recipes of whole models, training from them, and measuring what came of it."""

from __future__ import annotations

from pathlib import Path

import click

from conceptlib.cli import output
from conceptlib.cli._specs import add_spec_commands
from conceptlib.cli.output import Output


@click.group("models")
def cli() -> None:
    """List the recipes of models, train the embedded one, and measure what it generates."""


add_spec_commands(cli, ("model",), noun="model", example="tiny")


@cli.command("train")
@click.argument("name")
@click.option(
    "--out", "folder", type=click.Path(path_type=Path), required=True, help="The folder to write the model to."
)
@click.option(
    "--workers", type=click.IntRange(1), default=2, show_default=True, help="How many processes to use on a CPU."
)
@output.device_option
@output.overrides_argument
@output.options
def train_command(
    out: Output, name: str, folder: Path, workers: int, device: str | None, overrides: tuple[str, ...]
) -> None:
    """Train a model from its recipe, or continue a training that stopped.

    \b
    conceptlib models train tiny --out my-tiny
    conceptlib models train tiny --out my-tiny --device cuda diffusion.steps=20000
    """
    from conceptlib.models.devices import choose
    from conceptlib.specs import FAMILIES, load_spec

    spec = load_spec("model", name, overrides)
    train = FAMILIES.get(spec.entry).train
    made = train(spec, folder, device=str(choose(device).device), log=out.note, workers=workers)
    out.result(
        {"model": name, "path": made}, human=f"{made}\nnext: conceptlib models check {name} --model {made}", quiet=made
    )


@cli.command("check")
@click.argument("name")
@click.option(
    "--model",
    "folder",
    type=click.Path(exists=True, path_type=Path),
    help="Check the model in this folder instead of the shipped one.",
)
@click.option("--n", type=click.IntRange(64), default=512, show_default=True, help="How many images to generate.")
@click.option("--guidance-scale", type=float, default=None, help="The recommended one by default.")
@click.option("--grid", type=click.Path(path_type=Path), help="Write the first 96 images to this PNG file.")
@output.device_option
@output.options
def check_command(
    out: Output,
    name: str,
    folder: Path | None,
    n: int,
    guidance_scale: float | None,
    grid: Path | None,
    device: str | None,
) -> None:
    """Measure a model against its bars: classifier accuracy on held-out captions, QR rate, speed.

    \b
    conceptlib models check tiny
    conceptlib models check tiny --model my-tiny --n 2048 --grid samples.png
    """
    from conceptlib.models.devices import choose
    from conceptlib.specs import FAMILIES, load_spec

    spec = load_spec("model", name)
    report = FAMILIES.get(spec.entry).check(
        spec,
        folder,
        n=n,
        guidance_scale=guidance_scale,
        device=str(choose(device).device),
        log=out.note,
        grid=grid,
    )
    rows = [{"measure": key, "value": value} for key, value in report.measures().items()]
    rows += [{"bar": key, "passed": passed} for key, passed in report.bars.items()] if out.mode == "json" else []
    out.table(rows, columns=["measure", "value"])
    for bar, passed in report.bars.items():
        out.note(f"{'passed' if passed else 'FAILED'}  {bar}")
