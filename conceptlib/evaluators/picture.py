"""The grid of an evaluation: what each model drew for the same captions and seeds, one band a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from conceptlib.evaluators.base import Inputs, Prompts, Skip
from conceptlib.evaluators.job import Job

if TYPE_CHECKING:
    from PIL import Image

    from conceptlib.specs import SuiteSpec

HEADINGS: Mapping[str, str] = {
    "base": "before",
    "base+negative": "negative prompt only",
    "checkpoint": "after erasing {concepts}",
    "checkpoint-no-negative": "after erasing {concepts}, no negative prompt",
    "clean": "clean pictures",
}


def picture(
    spec: SuiteSpec, job: Job, prompts: Prompts, subjects: Sequence[Any], inputs: Mapping[str, Inputs]
) -> Image.Image:
    """Frames where a detector judged; else the target's captions and one of each neighbour; else the first captions.

    Args:
        subjects: `run.Subject`s, with the images of each.
    """
    if all(one.annotations for one in subjects):
        return _framed(spec, job, subjects, inputs)
    return _named(spec, job, prompts, subjects, inputs)


def _framed(spec: SuiteSpec, job: Job, subjects: Sequence[Any], inputs: Mapping[str, Inputs]) -> Image.Image:
    from conceptlib.evaluators.framed import Series, erasure_grid
    from conceptlib.evaluators.metrics.concept_rate import has_concept

    phrases = job.phrases
    plural = " and ".join(f"{phrase}s" for phrase in phrases)
    series = [
        Series(
            HEADINGS[one.name].format(concepts=plural),
            one.images,
            next(iter(one.annotations.values())),
            has_concept(one.detections, job.concepts),
        )
        for one in subjects
    ]
    name = str(inputs[subjects[0].name].detector["detector"])
    return erasure_grid(series, job.concepts, phrases, name, examples=spec.picture.examples)


def _named(
    spec: SuiteSpec, job: Job, prompts: Prompts, subjects: Sequence[Any], inputs: Mapping[str, Inputs]
) -> Image.Image:
    from conceptlib.concepts.tables import ImageTable
    from conceptlib.reports.grid import Panel, grid

    shown, footer = _shown(prompts, spec.picture.examples)
    what = prompts.target or " and ".join(job.phrases) or "nothing"
    panels = []
    for one in subjects:
        table = ImageTable(one.images)
        found = {k: table.decode(row) for k, row in enumerate(table.rows(columns=["image_id", "image"])) if k in shown}
        heading = HEADINGS[one.name].format(concepts=what)
        panels.append(Panel(heading, _note(inputs[one.name]), [found[k] for k in shown]))
    captions = [prompts.rows[k]["caption"] for k in shown]
    return grid(panels, captions, title="Same caption, same seed", footer=footer, columns=min(8, len(shown)), cell=120)


def _shown(prompts: Prompts, examples: int) -> tuple[list[int], str]:
    """Which rows, and what the footer says of them."""
    if not prompts.target:
        shown = list(range(min(examples, len(prompts.rows))))
        return shown, f"The first {len(shown)} captions; nothing was picked by hand."
    target = prompts.of(prompts.target)
    starts = {row["value"]: index for index, row in reversed(list(enumerate(prompts.rows)))}
    own = min((examples + 1) // 2, int(target.sum()))
    first = [index for index, named in enumerate(target) if named][:own]
    shown = [*first, *[starts[value] for value in prompts.neighbours[: examples - own]]]
    footer = f"The first {own} captions of the target, and the first of each of {len(shown) - own} neighbours; "
    return shown, footer + "nothing was picked by hand."


def _note(inputs: Inputs) -> str:
    """How often the target and its neighbours were recognised."""
    try:
        named, target = inputs.recognised, inputs.target
    except Skip:
        return ""
    note = f"{inputs.prompts.target} recognised in {100 * named[target].mean():.0f} % of its {target.sum()} pictures"
    if (~target).any():
        note += f", neighbours in {100 * named[~target].mean():.0f} % of {(~target).sum()}"
    return note
