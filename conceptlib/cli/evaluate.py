"""`conceptlib evaluate`: measure a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from conceptlib.cli import output

if TYPE_CHECKING:
    from conceptlib.store import Artifact


@click.command("evaluate", short_help="Measure a checkpoint beside its base.")
@click.argument("checkpoint")
@output.overrides_argument
@click.option(
    "--suite",
    metavar="NAME",
    default=None,
    help="What to measure: a suite's name or file; by default the one that fits the checkpoint.",
)
@click.option(
    "--detector", metavar="D", default=None, help="Which detector looks for the concept, instead of the suite's."
)
@output.device_option
@output.dtype_option
@output.options
def cli(checkpoint: str, overrides: tuple[str, ...], out: output.Output, **options: Any) -> None:
    """Draw held-out captions with CHECKPOINT and its base, and measure both: how often the concept shows, and what
    else changed.

    \b
    CHECKPOINT is an artifact, or a base by itself (tiny, a folder, a Hub id). Examples:
      conceptlib evaluate geom-erasing/qr                     the suite icd: a detector looks for the concept
      conceptlib evaluate esd/object                          the suite erasure: is the word still drawn?
      conceptlib evaluate geom-erasing/qr n=128 "subjects=[base, base+negative, checkpoint, checkpoint-no-negative]"
      conceptlib evaluate tiny --detector zxing "subjects=[base, clean]"
    """
    from conceptlib.evaluators.suite import evaluate, scores

    suite = options.pop("suite")
    with out.progress() as progress:
        evaluation = evaluate(checkpoint, suite, overrides=overrides, progress=progress, **options)
    data = {"id": evaluation.id, "name": evaluation.name, "path": evaluation.path, "info": evaluation.info}
    out.result(data | {"scores": scores(evaluation)}, human=_for_people(evaluation), quiet=evaluation.id)
    for metric, reason in evaluation.info.get("skipped", {}).items():
        out.note(f"{metric} left out: {reason}")


def _for_people(evaluation: Artifact) -> str:
    """A line a score, and where the picture is."""
    from conceptlib.evaluators.figures import figure, intervals_note
    from conceptlib.evaluators.suite import GRID, scores

    told, measured = evaluation.info.get("metrics"), scores(evaluation)
    rows = [
        {
            "subject": row["subject"],
            "metric": row["metric"],
            "value": figure(row, told),
            "n": row["n"],
        }
        for row in measured
    ]
    table = output.render_table(rows, ["subject", "metric", "value", "n"])
    picture = f"\npicture: {evaluation.path / GRID}" if (evaluation.path / GRID).is_file() else ""
    return f"{table}\n\n{evaluation.ref}: {intervals_note(measured) or 'no intervals are known'}{picture}"
