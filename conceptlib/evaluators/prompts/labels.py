"""Probes of a word of a dataset's labels: its neighbours are the other words of the same label column."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.base import Prompts
from conceptlib.evaluators.prompts import template
from conceptlib.evaluators.prompts._target import target_of

if TYPE_CHECKING:
    from conceptlib.evaluators.job import Job
    from conceptlib.store import Artifact


class Params(template.Params):
    """As for `template`; `neighbours`, where they are given, are those of the column's words that are asked for. data:
    the dataset with the labels; null: the one that the checkpoint was trained on.
    """

    data: Annotated[str, Field(min_length=1)] | None = None


def prompts(params: Params, job: Job) -> Prompts:
    """The probe of the target.

    Raises:
        ConceptlibError: there is no dataset, or the target is none of its labels' words.
    """
    from conceptlib.concepts.label_values import class_values, column_of

    dataset = _dataset(params.data, job)
    target, values = target_of(params.target, job), class_values(dataset)
    column = column_of(target, values)
    if not column:
        there = ", ".join(name for name, words in values.items() if words)
        raise ConceptlibError(
            f"{target!r} is no word of the labels of {dataset.ref}",
            where="target",
            hint=f"its label columns are {there}" if there else "build it with labels=, or say prompts.source=template",
        )
    others = [word for word in values[column] if word not in (target, *job.targets)]
    asked = [word for word in params.neighbours if word != target] or others
    sizes = {"n": params.n, "each": params.neighbour_n, "seed": job.spec.seed}
    probe = template.phrase_probe(target, asked, params.templates, **sizes)
    return replace(
        probe,
        source="labels",
        rows=[row | {column: row["value"]} for row in probe.rows],
        columns=(column,),
        stated=(column,),
        domain=column,
        lock={**probe.lock, "labels": dataset.id},
        info={"target": target, "domain": column},
    )


def _dataset(named: str | None, job: Job) -> Artifact:
    found = job.store.get(named, kind="dataset") if named is not None else job.lineage.get("dataset")
    if found is None:
        raise ConceptlibError(
            "this model was trained on no dataset whose labels could be asked for",
            where="prompts",
            hint="name one: prompts.data=DATASET",
        )
    return found
