"""Probes of a word of a world: captions that name it, and captions that name its neighbours, the other words of its
column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from conceptlib import worlds
from conceptlib.errors import ConceptlibError, did_you_mean
from conceptlib.evaluators.base import Prompts
from conceptlib.evaluators.prompts import world as held_out
from conceptlib.evaluators.prompts._target import target_of
from conceptlib.specs.params import Params as BaseParams
from conceptlib.store.seeds import row_seed

if TYPE_CHECKING:
    from conceptlib.evaluators.job import Job
    from conceptlib.worlds import World

SPACING = 100_000
"""Scenes from the first of one value to the first of the next, so that few images of each still show many scenes."""


class Params(BaseParams):
    """target: the word; null for the checkpoint's only one. n: captions of the target. neighbour_n: of each
    neighbour.
    """

    target: Annotated[str, Field(min_length=1)] | None = None
    n: Annotated[int, Field(ge=4, le=100_000)] = 96
    neighbour_n: Annotated[int, Field(ge=2, le=100_000)] = 16


def prompts(params: Params, job: Job) -> Prompts:
    """The probe of the target."""
    target = target_of(params.target, job)
    sizes = {"n": params.n, "each": params.neighbour_n, "seed": job.spec.seed}
    return world_probe(target, without=job.targets, **sizes)


def column_of(target: str) -> tuple[World, str]:
    """The world and the label column that a target is a word of; a phrase around it ("a red star") names no single one.

    Raises:
        ConceptlibError: it is no world's word.
    """
    found = worlds.of_word(target)
    if found is None:
        words = [word for one in worlds.worlds() for column in one.labels.values() for word in column]
        raise ConceptlibError(
            f"{target!r} is no word of the embedded world",
            where="target",
            hint=f"{did_you_mean(target, words)} For pictures of anything else name a CLIP that can read them "
            "(clip=laion/CLIP-ViT-B-32-laion2B-s34B-b79K), an anchor and neighbours",
        )
    return found


def world_probe(target: str, *, n: int, each: int, seed: int, without: Sequence[str] = ()) -> Prompts:
    """The probe of a word of a world.

    A value's rows are held-out rows of the world `seed`, with the value in the place of the scene's own word, and do
    not depend on what was erased: a smaller probe holds the first rows of a larger one, and the images of a value as a
    neighbour are among those of it as a target.

    Args:
        target: the word.
        n: captions of the target. each: captions of each neighbour.
        seed: of the suite; decides scenes and noise.
        without: words that are no neighbours, such as what else was erased.

    Raises:
        ConceptlibError: no such word.
    """
    world, column = column_of(target)
    words = world.labels[column]
    values = (target, *(word for word in words if word not in (target, *without)))
    rows = [
        {"value": value, "caption": row.caption, "seed": row_seed(seed, index, f"probe/{value}"), **row.labels}
        for value in values
        for index in range(n if value == target else each)
        for row in [world.placed(seed, SPACING * words.index(value) + index, column, value)]
    ]
    told = {"target": target, "neighbours": list(values[1:])}
    info = {"target": target, "domain": column}
    known = held_out.known(world)
    return Prompts("words", rows, target=target, values=values, domain=column, lock=told, info=info, **known)
