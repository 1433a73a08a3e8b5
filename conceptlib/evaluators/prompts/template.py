"""Templates filled with a target and its neighbours: probes of anything that has a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.base import Prompts
from conceptlib.evaluators.prompts._target import target_of
from conceptlib.specs.params import Params as BaseParams
from conceptlib.store.seeds import row_seed

if TYPE_CHECKING:
    from conceptlib.evaluators.job import Job

TEMPLATES = ("a photo of {}", "an image of {}", "a picture of {}", "{}")


class Params(BaseParams):
    """target: null for the checkpoint's only one. n: captions of the target. neighbour_n: of each of the `neighbours`.
    templates: captions with `{}` where the name goes, used in turn.
    """

    target: Annotated[str, Field(min_length=1)] | None = None
    n: Annotated[int, Field(ge=4, le=100_000)] = 96
    neighbour_n: Annotated[int, Field(ge=2, le=100_000)] = 16
    neighbours: tuple[str, ...] = ()
    templates: Annotated[tuple[str, ...], Field(min_length=1)] = TEMPLATES


def prompts(params: Params, job: Job) -> Prompts:
    """The probe of the target."""
    target = target_of(params.target, job)
    sizes = {"n": params.n, "each": params.neighbour_n, "seed": job.spec.seed}
    return phrase_probe(target, params.neighbours, params.templates, **sizes)


def phrase_probe(
    target: str, neighbours: Sequence[str], templates: Sequence[str], *, n: int, each: int, seed: int
) -> Prompts:
    """The probe of any phrase: the templates in turn, with `{}` filled in.

    Raises:
        ConceptlibError: a template without `{}`, or the target among its neighbours.
    """
    if target in neighbours:
        raise ConceptlibError(f"{target!r} is its own neighbour", where="neighbours")
    if bad := [template for template in templates if "{}" not in template]:
        raise ConceptlibError(f"the template {bad[0]!r} has no place for the concept", hint="write {} where it goes")
    values = (target, *dict.fromkeys(neighbours))
    rows = [
        {
            "value": value,
            "caption": templates[index % len(templates)].replace("{}", value),
            "seed": row_seed(seed, index, f"probe/{value}"),
        }
        for value in values
        for index in range(n if value == target else each)
    ]
    told = {"target": target, "neighbours": list(values[1:])}
    return Prompts("template", rows, target=target, values=values, lock=told, info={"target": target, "domain": ""})
