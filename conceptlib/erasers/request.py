"""What an erasure was asked for, checked before anything heavy is imported: a mistyped name is told at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from conceptlib.concepts.tables import ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.models.reference import ModelRef
from conceptlib.specs import load_spec
from conceptlib.specs.load import load_targets
from conceptlib.specs.registry import METHODS
from conceptlib.specs.schema import ConceptSpec, RecipeSpec
from conceptlib.store import Artifact, NotFound, Store


@dataclass(frozen=True)
class Request:
    """One erasure, its names resolved. method: the module. concepts: what is erased. base: from what."""

    spec: RecipeSpec
    method: ModuleType
    concepts: list[ConceptSpec]
    data: Artifact | None
    annotations: Artifact | None
    base: ModelRef


def resolve(
    recipe: str | Path,
    *,
    data: str | Artifact | None = None,
    annotations: str | Artifact | None = None,
    base: str | Path | ModelRef = "tiny",
    overrides: Sequence[str] = (),
    store: Store | None = None,
) -> Request:
    """Look everything up. The arguments are those of `erase`.

    Raises:
        ConceptlibError: inputs that are missing or of the wrong kind, or that the recipe does not read; a neighbour
            that is erased.
    """
    store = store or Store()
    spec: RecipeSpec = load_spec("recipe", recipe, overrides)
    method = METHODS.get(spec.method)
    concepts = load_targets(spec)
    _refuse_neighbours(spec, concepts)
    reference = ModelRef.of(base)
    source_data = _data(store, data)
    source_annotations = _annotations(store, annotations, source_data)
    needs = method.needs(spec.params)
    _check_needs(needs, {"data": source_data, "annotations": source_annotations}, spec.name)
    if source_data is not None and "data" not in needs | _uses(method, spec.params):
        raise ConceptlibError(f"the recipe {spec.name} reads no data", where=source_data.ref, hint="leave data out")
    return Request(spec, method, concepts, source_data, source_annotations, reference)


def _refuse_neighbours(spec: RecipeSpec, concepts: Sequence[ConceptSpec]) -> None:
    """What is erased cannot survive: those who name it twice are asked which they mean."""
    erased = {phrase.strip().casefold() for concept in concepts for phrase in concept.phrases}
    if both := [phrase for phrase in spec.neighbours.given if phrase.strip().casefold() in erased]:
        raise ConceptlibError(
            f"{both[0]!r} is erased, and is a neighbour that is to survive",
            where="neighbours",
            hint="take it out of one of the two",
        )


def _data(store: Store, ref: str | Artifact | None) -> Artifact | None:
    if ref is None:
        return None
    found = ref if isinstance(ref, Artifact) else _either(store, ref)
    if found.kind not in {"dataset", "images"}:
        raise ConceptlibError(
            f"{found.ref} is of kind {found.kind}", where="data", hint="give a dataset or generated images"
        )
    ImageTable(found)  # a dataset of prompts is refused here, before a model is loaded
    return found


def _either(store: Store, ref: str) -> Artifact:
    try:
        return store.get(ref, kind="dataset")
    except NotFound as error:
        try:
            return store.get(ref, kind="images")
        except NotFound:
            raise error from None


def _annotations(store: Store, ref: str | Artifact | None, data: Artifact | None) -> Artifact | None:
    """The annotation set: as given, or a detector's newest of this dataset."""
    if ref is None or isinstance(ref, Artifact):
        return ref
    if data is not None:
        own = store.list(kind="annotations", name=ref, parent=data.id) if _is_name(ref) else []
        if own:
            return own[-1]
        if _is_name(ref) and store.list(kind="annotations", name=ref):
            raise ConceptlibError(
                f"{ref} has not annotated {data.ref}",
                where="annotations",
                hint=f"conceptlib annotate {data.ref} --detector {ref}",
            )
    return store.get(ref, kind="annotations")


def _uses(method: Any, params: Any) -> frozenset[str]:
    found: frozenset[str] = method.uses(params) if hasattr(method, "uses") else frozenset()
    return found


def _is_name(ref: str) -> bool:
    return "@" not in ref and not ref.startswith((".", "/", "~"))


def _check_needs(needs: frozenset[str], given: dict[str, Artifact | None], recipe: str) -> None:
    missing = sorted(name for name in needs if given[name] is None)
    if missing:
        options = {"data": "--data DATASET", "annotations": "--annotations DETECTOR (or truth)"}
        raise ConceptlibError(
            f"the recipe {recipe} needs {' and '.join(missing)}",
            hint=f"add {' '.join(options[name] for name in missing)}",
        )
