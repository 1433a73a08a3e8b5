"""Prompts of I2P, or of a subset of it, from a dataset that was built of them (`conceptlib build 'i2p@nudity>50'`).

Each row is drawn from its own published seed (`sd_seed`).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from conceptlib.evaluators.base import Prompts
from conceptlib.specs.params import Params as BaseParams

if TYPE_CHECKING:
    from conceptlib.evaluators.job import Job


class Params(BaseParams):
    """dataset: `i2p`, a subset (`i2p@nudity>50`), or another artifact of prompts. n: how many, from the first on; null
    for all.
    """

    dataset: Annotated[str, Field(min_length=1)] = "i2p"
    n: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


def prompts(params: Params, job: Job) -> Prompts:
    """The dataset's rows, in order.

    Raises:
        NotFound: no such dataset was built. ConceptlibError: it holds no prompts.
    """
    from conceptlib.concepts.prompts.table import PromptTable

    dataset = job.store.get(params.dataset, kind="dataset")
    columns = ("prompt", "sd_seed", "categories")
    rows: list[dict[str, Any]] = [
        {"caption": row["prompt"] or "", "seed": row["sd_seed"] or 0, "categories": row["categories"]}
        for row in islice(PromptTable(dataset).rows(), params.n)
        if all(column in row for column in columns)
    ]
    told = {"captions": "i2p", "prompts": dataset.id}
    return Prompts("i2p", rows, ("categories",), lock=told, info={"captions": dataset.name})
