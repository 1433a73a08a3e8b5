"""What a sweep consists of, and which of it the store holds already: found without loading a model."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from typing import Any

from conceptlib.concepts.label_values import Values, class_values, column_of, words_of
from conceptlib.errors import ConceptlibError
from conceptlib.models.reference import ModelRef
from conceptlib.specs import METHODS, RecipeSpec, SuiteSpec, SweepSpec, load_spec
from conceptlib.specs.load import load_targets
from conceptlib.store import Artifact, Store
from conceptlib.worlds import of_word

_OWN = {"targets", "concepts", "seed"}


@dataclass(frozen=True)
class Cell:
    """One erasure and its evaluation.

    Args:
        label: the recipe's line as the tables name it: without `/{domain}`.
        recipe, overrides: for `erase`; target and seed are among the overrides.
        target: what is erased. domain: the label column that it is a word of, of the sweep's dataset, else of a world;
            empty elsewhere. neighbours: the other words of that column of the dataset.
        seed: of training and of evaluation.
        plain: whether the line changes nothing of the recipe.
    """

    label: str
    recipe: str
    overrides: tuple[str, ...]
    target: str
    domain: str
    seed: int
    plain: bool
    neighbours: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.label}, {self.target}, seed {self.seed}"


def with_targets(spec: SweepSpec, store: Store) -> SweepSpec:
    """The sweep with its targets named: those of its column, where it says one.

    Raises:
        ConceptlibError: no such dataset, no such column in it, or one without words.
    """
    if spec.targets or spec.column is None:
        return spec
    words = words_of(spec.column, label_values(spec, store), str(spec.labels))
    return spec.model_copy(update={"targets": words})


def label_values(spec: SweepSpec, store: Store) -> Values:
    """The words of each label column of the sweep's dataset; nothing without one."""
    return class_values(store.get(spec.labels, kind="dataset")) if spec.labels else {}


def cells(spec: SweepSpec, values: Values | None = None) -> list[Cell]:
    """Every cell in the order in which it is run: one seed after the other, so that the first gives a whole table.

    values: the words of the label columns that the targets belong to; of the worlds where there are none.

    Raises:
        ConceptlibError: a line that is no recipe with overrides, or asks for the domain of what has none.
    """
    return [
        _cell(line, target, spec.seed + offset, values or {})
        for offset in range(spec.seeds)
        for target in spec.targets
        for line in spec.recipes
    ]


def _domain(target: str, values: Values) -> str:
    """The label column that a target is a word of: of a dataset, if there is one, else of a world."""
    if values:
        return column_of(target, values)
    found = of_word(target)
    return found[1] if found else ""


def _cell(line: str, target: str, seed: int, values: Values) -> Cell:
    domain = _domain(target, values)
    if "{domain}" in line and not domain:
        whose = "no label of the sweep's dataset" if values else "no word of the embedded world"
        raise ConceptlibError(f"{target!r} has no domain: it is {whose}", where=line, hint="name the recipe in full")
    others = tuple(word for word in values.get(domain, ()) if word != target)
    try:
        words = shlex.split(line.replace("{domain}", domain))
    except ValueError as error:
        raise ConceptlibError(f"this line cannot be read: {error}", where=line, hint="check its quotes") from None
    recipe, *given = (word.replace("{target}", target) for word in words)
    if bad := [word for word in given if "=" not in word]:
        raise ConceptlibError(f"{bad[0]!r} is no override", where=line, hint="write key=value behind the recipe's name")
    if bad := [word for word in given if word.partition("=")[0].strip() in _OWN]:
        raise ConceptlibError(
            f"{bad[0]!r} is the sweep's to say: it erases each of its targets from each of its seeds",
            where=line,
            hint="name them under targets: and seeds:",
        )
    own = (f"targets=[{json.dumps(target)}]", f"seed={seed}")
    return Cell(line.replace("/{domain}", ""), recipe, (*given, *own), target, domain, seed, not given, others)


def suite_overrides(spec: SweepSpec, cell: Cell) -> list[str]:
    """What the suite of a cell is told: the seed, the target where its prompts name one, and the neighbours where those
    are known, the prompts ask for some, and `evaluate` names no others.
    """
    prompts: Any = load_spec("suite", spec.suite).prompts
    asked = type(prompts.params).model_fields
    named = any(line.partition("=")[0].rpartition(".")[2] == "neighbours" for line in spec.evaluate)
    own = [f"prompts.target={json.dumps(cell.target)}"] if "target" in asked else []
    if cell.neighbours and "neighbours" in asked and not named:
        own.append(f"prompts.neighbours={json.dumps(cell.neighbours)}")
    return [*spec.evaluate, *own, f"seed={cell.seed}"]


@dataclass(frozen=True)
class Found:
    """What the store holds of a cell. inputs: `data` and `annotations` that `erase` is given."""

    cell: Cell
    checkpoint: Artifact | None
    evaluation: Artifact | None
    inputs: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "cell": str(self.cell),
            "recipe": self.cell.recipe,
            "target": self.cell.target,
            "seed": self.cell.seed,
            "checkpoint": self.checkpoint.id if self.checkpoint else None,
            "evaluation": self.evaluation.id if self.evaluation else None,
        }


def found(spec: SweepSpec, store: Store, *, device: str | None = None, dtype: str | None = None) -> list[Found]:
    """Which cells are done, and by what. Every recipe, with its overrides, and the suite are validated on the way.

    Raises:
        SpecError: a recipe or the suite is wrong, with every problem.
        ConceptlibError: see `cells`.
    """
    reference = ModelRef.of(spec.base)
    spec = with_targets(spec, store)
    planned: list[tuple[Cell, RecipeSpec, SuiteSpec]] = [
        (
            cell,
            load_spec("recipe", cell.recipe, cell.overrides),
            load_spec("suite", spec.suite, suite_overrides(spec, cell)),
        )
        for cell in cells(spec, label_values(spec, store))
    ]
    # All mistakes are told; torch may be imported.
    from conceptlib.erasers.erase import erasure_lock
    from conceptlib.models.devices import choose

    base, placement = reference.lock, choose(device, dtype).dtype_name
    evaluations = store.list(kind="evaluation")
    rows = []
    for cell, recipe, suite in planned:
        lock = erasure_lock(recipe, load_targets(recipe), base, placement)
        given = inputs_of(spec, recipe)
        own = store.done("checkpoint", recipe.name, lock=lock, parents=_parents(cell, given, spec, store))
        scored = [_scored(one, suite, store) for one in evaluations if own and one.parents.get("checkpoint") == own.id]
        rows.append(Found(cell, own, next(filter(None, reversed(scored)), None), given))
    return rows


def inputs_of(spec: SweepSpec, recipe: RecipeSpec) -> dict[str, Any]:
    """What `erase` is given of the sweep's data: what the recipe's method needs, so that other recipes may stand beside
    it.
    """
    needs = METHODS.get(recipe.method).needs(recipe.params)
    given = {"data": spec.data, "annotations": spec.annotations}
    return {name: value for name, value in given.items() if name in needs and value is not None}


def _parents(cell: Cell, given: dict[str, Any], spec: SweepSpec, store: Store) -> dict[str, str | Artifact]:
    """The parents of a cell's checkpoint, by role."""
    if not given:
        return {}
    from conceptlib.erasers.request import resolve

    request = resolve(cell.recipe, overrides=cell.overrides, base=spec.base, store=store, **given)
    found = {"dataset": request.data, "annotations": request.annotations}
    return {role: artifact for role, artifact in found.items() if artifact is not None}


def _scored(evaluation: Artifact, suite: SuiteSpec, store: Store) -> Artifact | None:
    """What the suite, as its code is now, made of the same pictures: mostly `evaluation` itself; None if nothing."""
    from conceptlib.evaluators.run import versions

    if evaluation.lock.get("suite") != suite.resolved():
        return None
    lock = {key: value for key, value in evaluation.lock.items() if key not in ("code_version", "versions")}
    lock |= versions(suite)
    return store.done("evaluation", evaluation.name, lock=lock, parents=evaluation.parents)
