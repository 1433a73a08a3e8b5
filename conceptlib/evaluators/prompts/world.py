"""Held-out captions of a world: endless, with the words of each caption known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from conceptlib import worlds
from conceptlib.evaluators.base import Prompts
from conceptlib.specs.params import Params as BaseParams
from conceptlib.store.seeds import row_seed

if TYPE_CHECKING:
    from PIL import Image

    from conceptlib.evaluators.job import Job
    from conceptlib.store import Artifact
    from conceptlib.worlds import World


class Params(BaseParams):
    """n: how many captions. world: of which world."""

    later: ClassVar[frozenset[str]] = frozenset({"world"})

    n: Annotated[int, Field(ge=4, le=100_000)] = 512
    world: str = worlds.FIRST


def owns(dataset: Artifact | None) -> dict[str, Any] | None:
    """The parameters under which a world is where a model's captions come from: of a model without a dataset the first
    world, of one whose dataset was rendered from a world that one. None for any other.
    """
    if dataset is None:
        return {}
    found = world_of(dataset)
    return {"world": found.name} if found else None


def world_of(dataset: Artifact) -> World | None:
    """The world whose words a dataset's rows carry as labels; None if there is none."""
    from conceptlib.concepts.tables import ImageTable

    table = ImageTable(dataset)
    found = worlds.of_columns(table.schema.names)
    if found is None:
        return None
    columns = list(found.labels)
    first = next(table.rows(columns=columns), None)
    return found if first is not None and first.get(columns[0]) is not None else None


def labels_of(world: World, caption: str) -> dict[str, str | None]:
    """The world's words in a caption, one a column, None where it states none."""
    found = world.parse(caption)
    return {name: found.get(name) for name in world.labels}


def known(world: World) -> dict[str, Any]:
    """What `Prompts` say of captions whose words are a world's."""
    return {"columns": tuple(world.labels), "stated": world.stated, "world": world.name, "features": world.name}


def prompts(params: Params, job: Job) -> Prompts:
    """The first `n` rows of the held-out stream. Raises NotFound: there is no such world."""
    world = worlds.world(params.world)
    seed, n = job.spec.seed, params.n
    rows = [
        {
            "image_id": f"held-out-{row.index:06d}",
            "caption": row.caption,
            "seed": row_seed(seed, row.index),
            **row.labels,
        }
        for row in world.rows(seed, n, held_out=True)
    ]
    told: dict[str, Any] = {"captions": "world"} | ({} if world.name == worlds.FIRST else {"world": world.name})
    lock = {"world": seed, "rows": n} | ({} if world.name == worlds.FIRST else {"name": world.name})
    return Prompts(
        "world",
        rows,
        **known(world),
        lock=told,
        info={"captions": "world"},
        reference=lambda count: clean(world, seed, start=n, n=count),
        rendered=((lambda: _rendered(world, seed, rows)), lock),
    )


def clean(world: World, seed: int, *, start: int, n: int) -> Iterator[Image.Image]:
    """Clean images: held-out scenes from the one whose number is `start`."""
    for row in world.rows(seed, n, start, held_out=True):
        yield row.scene.draw(world.size)


def _rendered(world: World, seed: int, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What a perfect model would draw."""
    from conceptlib.concepts.tables import image_row

    for row, drawn in zip(rows, world.rows(seed, len(rows), held_out=True), strict=True):
        image = drawn.scene.draw(world.size)
        yield image_row(row["image_id"], image, caption=drawn.caption, seed=row["seed"]) | drawn.labels
