"""A probe of what was erased: of templates where neighbours are named, else of the embedded world's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from conceptlib.evaluators.base import Prompts
from conceptlib.evaluators.prompts import template, words

if TYPE_CHECKING:
    from conceptlib.evaluators.job import Job
    from conceptlib.specs import SuiteSpec


class Params(template.Params):
    """As for `template`; without `neighbours` the other words of the target's column are the neighbours."""


def check(params: Params, spec: SuiteSpec) -> Iterator[tuple[str, str]]:
    """What is wrong with the settings beside those of the judges: (field, message)."""
    clip: Any = spec.judges.get("clip")
    network = clip.params.network if clip is not None else None
    if params.neighbours and clip is not None and not network and len(spec.judges) <= 2:
        yield "neighbours", "these belong to `clip`; the embedded world has its own neighbours"
    if network and not params.neighbours:
        yield "neighbours", "a CLIP judges against an `anchor`, and needs `neighbours`; say both"


def prompts(params: Params, job: Job) -> Prompts:
    """The probe of the target."""
    if params.neighbours:
        return template.prompts(params, job)
    own = words.Params(target=params.target, n=params.n, neighbour_n=params.neighbour_n)
    return words.prompts(own, job)
