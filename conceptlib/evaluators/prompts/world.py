"""Held-out captions of the embedded world: endless, with the words of each caption known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from conceptlib.evaluators.base import Prompts
from conceptlib.specs.params import Params as BaseParams
from conceptlib.store.seeds import row_seed

if TYPE_CHECKING:
    from PIL import Image

    from conceptlib.evaluators.job import Job
    from conceptlib.store import Artifact

STATED = ("object", "colour", "background")
"""The words that every caption says; style is left out where it is plain."""


class Params(BaseParams):
    """n: how many captions."""

    n: Annotated[int, Field(ge=4, le=100_000)] = 512


def owns(dataset: Artifact | None) -> bool:
    """Whether the world is where a model's captions come from: of one without a dataset, and of one whose dataset was
    rendered from the world.
    """
    from conceptlib.concepts.tables import ImageTable

    if dataset is None:
        return True
    first = next(ImageTable(dataset).rows(columns=["object"]), None)
    return first is not None and first.get("object") is not None


def labels_of(caption: str) -> dict[str, str | None]:
    """The world's words in a caption, one a column, None where it states none."""
    from conceptlib.worlds.tiny import world

    found = world.parse(caption)
    return {name: found.get(name) for name in world.ATTRIBUTES}


def known() -> dict[str, Any]:
    """What `Prompts` say of captions whose words are the world's."""
    from conceptlib.worlds.tiny import world

    return {"columns": tuple(world.ATTRIBUTES), "stated": STATED, "judge": "tiny", "features": "tiny"}


def prompts(params: Params, job: Job) -> Prompts:
    """The first `n` rows of the held-out stream."""
    from conceptlib.worlds.tiny import world

    seed, n = job.spec.seed, params.n
    rows = [
        {
            "image_id": f"held-out-{row.index:06d}",
            "caption": row.caption,
            "seed": row_seed(seed, row.index),
            **row.labels,
        }
        for row in world.rows(seed, n, split="held-out")
    ]
    rendered = (lambda: _rendered(seed, rows)), {"world": seed, "rows": n}
    return Prompts(
        "world",
        rows,
        **known(),
        lock={"captions": "world"},
        info={"captions": "world"},
        reference=lambda count: clean(seed, start=n, n=count),
        rendered=rendered,
    )


def clean(seed: int, *, start: int, n: int) -> Iterator[Image.Image]:
    """Clean images: held-out scenes from the one whose number is `start`."""
    from conceptlib.worlds.tiny import world

    for scene in world.rows(seed, n, start=start, split="held-out"):
        yield scene.image()


def _rendered(seed: int, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What a perfect model would draw."""
    from conceptlib.concepts.tables import image_row
    from conceptlib.worlds.tiny import world

    scenes = world.rows(seed, len(rows), split="held-out")
    for row, scene in zip(rows, scenes, strict=True):
        made: Mapping[str, Any] = image_row(row["image_id"], scene.image(), caption=scene.caption, seed=row["seed"])
        yield {**made, **scene.labels}
