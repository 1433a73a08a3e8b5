"""Loading a spec: file, overrides, validation of everything at once.

Nothing heavy is imported: the registered module that a spec names is imported for its `Params` alone, and such
modules import their libraries inside functions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from conceptlib.errors import ConceptlibError, did_you_mean
from conceptlib.specs import discover, explain
from conceptlib.specs.errors import Problem, SpecError
from conceptlib.specs.params import Params
from conceptlib.specs.registry import Registry
from conceptlib.specs.schema import SCHEMAS, ConceptSpec, RecipeSpec, Spec, phrase_name
from conceptlib.specs.suites import Part, options_of
from conceptlib.specs.yaml_io import Document, Place, parse_value, read_document

_Spec = TypeVar("_Spec", bound=Spec)


def load_spec(kind: str | Sequence[str], ref: str | Path, overrides: Iterable[str] = ()) -> Any:
    """Load and validate a spec by name, or by the path of a `.yaml` file.

    kind: `dataset`, `concept`, `detector`, `recipe`, `suite`, `model` or `sweep`, or several of them.
    overrides: `key=value` with a YAML value; the key names a field of `params` (dots reach inside) unless its first
    part is a top-level field.

    Returns an instance of the kind's class in `conceptlib.specs.schema` (hence `Any`), with `params` an instance of
    the registered module's `Params`. Raises SpecError that lists every problem, NotFound for an unknown name.
    """
    found = discover.find(kind, ref)
    document = read_document(found.path)
    SCHEMAS[found.kind].prepare(document)
    overridden, problems = _apply(document, SCHEMAS[found.kind], overrides)
    checker = _Checker(found, document, overridden, problems)
    spec = checker.run()
    if problems:
        raise SpecError(document.source, sorted(problems, key=_by_line))
    assert spec is not None  # there were no problems
    return spec


def load_concepts(names: Iterable[str]) -> list[ConceptSpec]:
    """The specs of several concepts, in the order given. Raises SpecError, NotFound."""
    return [load_spec("concept", name) for name in names]


def load_targets(recipe: RecipeSpec) -> list[ConceptSpec]:
    """What a recipe erases: its `targets` as concepts of their own, else its registered `concepts`. Raises SpecError,
    NotFound.
    """
    if not recipe.targets:
        return load_concepts(recipe.concepts)
    return [
        ConceptSpec(kind="concept", name=phrase_name(phrase), type="explicit", phrases=(phrase,))
        for phrase in recipe.targets
    ]


def _by_line(problem: Problem) -> tuple[int, int]:
    line = problem.where.rpartition(":")[2]
    return (0, int(line)) if line.isdigit() else (1, 0)


def _apply(document: Document, schema: type[Spec], overrides: Iterable[str]) -> tuple[dict[Place, str], list[Problem]]:
    """Write the overrides into the document's data. Returns which places they set, and what is wrong with the
    overrides themselves.
    """
    overridden: dict[Place, str] = {}
    problems: list[Problem] = []
    for override in overrides:
        where = f"override {override!r}"
        key, equals, text = override.partition("=")
        parts = tuple(part.strip() for part in key.split("."))
        if not equals or not all(parts):
            problems.append(Problem(where, "", "must be key=value, such as rows=64"))
            continue
        try:
            value = parse_value(text)
        except ValueError as error:
            problems.append(Problem(where, key, f"the value {error}"))
            continue
        place = schema.place_of(parts, document.data)
        target: Any = document.data
        for depth, part in enumerate(place[:-1], 1):
            inside = target.setdefault(part, {})
            if inside is None:  # `params:` with nothing under it
                inside = target[part] = {}
            if not isinstance(inside, dict):
                problems.append(
                    Problem(where, ".".join(map(str, place[:depth])), "has no fields inside; it is not a mapping")
                )
                break
            target = inside
        else:
            target[place[-1]] = value
            overridden[place] = where
    _make_way(document, schema, {place[0] for place in overridden})
    return overridden, problems


def _make_way(document: Document, schema: type[Spec], overridden: set[str | int]) -> None:
    """Take out what the file says in another way than the user does: `concepts=[red]` goes before the file's
    `targets`.
    """
    for pair in schema.exclusive:
        for named, other in (pair, pair[::-1]):
            if named in overridden and other not in overridden and document.data.get(named):
                document.data.pop(other, None)


class _Checker:
    """Validates one document and collects what is wrong with it."""

    def __init__(
        self, found: discover.SpecFile, document: Document, overridden: dict[Place, str], problems: list[Problem]
    ) -> None:
        self.found = found
        self.document = document
        self.data = document.data
        self.overridden = overridden
        self.problems = problems
        self.schema = SCHEMAS[found.kind]

    def run(self) -> Spec | None:
        envelope = {key: value for key, value in self.data.items() if key != "params"}
        spec: Spec | None = self._validate(self.schema, envelope, ())
        self._check_name()
        params = self._check_params()
        made = self._check_parts()
        if not self.data.get("targets"):  # beside targets they are names of phrases, no registered ones
            self._check_names("concepts", "concept")
        if self.found.kind == "concept":
            self._check_names("detectors", "detector")
        if spec is None or self.problems:
            return None
        spec = spec.model_copy(update={"params": params, **made})
        spec._source = self.found.path
        for place, message in spec.checked():
            self.add(place, message)
        return spec

    def add(self, place: Place, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self._where(place), ".".join(map(str, place)), message, hint))

    def _where(self, place: Place) -> str:
        for length in range(len(place), 0, -1):
            if place[:length] in self.overridden:
                return self.overridden[place[:length]]
        return self.document.where(place)

    def _validate(self, model: type[_Spec] | type[Params], data: Any, prefix: Place) -> Any:
        try:
            # Strict, so that "64" is no number and 1 no boolean; as JSON, so that a list may become a tuple.
            return model.model_validate_json(json.dumps(data), strict=True)
        except ValidationError as error:
            for detail in explain.told_once(model, error.errors(include_url=False)):
                # An override of an unknown parameter may have meant a field of the spec itself: `sed=3`.
                loc = (*prefix, *detail["loc"])
                also = self._also(loc)
                place, message, hint = explain.explain(model, detail, also)
                self.add((*prefix, *place), message, hint)
            return None

    def _also(self, loc: Place) -> Iterable[str]:
        """Keys that the writer of an override may have meant."""
        if loc not in self.overridden:
            return ()
        short = options_of(self.data) if self.schema.parts else ()
        return [*self.schema.model_fields, *short]

    def _check_name(self) -> None:
        """A spec that is found by its place must carry that name, or it would be found under one name and stored
        under another.
        """
        name, expected = self.data.get("name"), discover.name_of(self.found.kind, self.found.path)
        if expected and isinstance(name, str) and name != expected and ("name",) not in self.overridden:
            self.add(("name",), f"is {name!r}, but the file's place says {expected!r}", "rename one of the two")

    def _check_params(self) -> Params | None:
        data = self.data.get("params")
        data = {} if data is None else data
        if not isinstance(data, dict):
            self.add(("params",), "must be a mapping of parameters")
            return None
        model: type[Params] = Params
        if self.schema.registry:
            field, registry = self.schema.registry
            entry = self.data.get(field)
            if not isinstance(entry, str):
                return None  # reported by the schema
            if entry not in registry:
                self.add(
                    (field,),
                    f"there is no {field} {entry!r}",
                    did_you_mean(entry, registry.names(), listing="known are"),
                )
                return None
            if (found := self._model(registry, entry, (field,))) is None:
                return None
            model = found
        params: Params | None = self._validate(model, data, ("params",))
        return params

    def _model(self, registry: Registry, name: str, place: Place) -> type[Params] | None:
        """The `Params` of a registered module; of a plug-in that may not run, or is broken, None and a problem."""
        try:
            return registry.params(name)
        except ConceptlibError as error:
            self.add(place, f"{error.what} ({error.where})", error.hint)
            return None

    def _check_parts(self) -> dict[str, Any]:
        """The registered modules that fields hold, each with its `Params`; what is wrong becomes a problem."""
        made: dict[str, Any] = {}
        for field, key, registry in self.schema.parts:
            value = self.data.get(field)
            if not isinstance(value, dict):
                continue  # reported by the schema, or left out
            if field == "prompts":
                made[field] = self._part((field,), key, registry, value, None)
                continue
            made[field] = {
                label: self._part((field, label), key, registry, {} if own is None else own, label)
                for label, own in value.items()
            }
        return made

    def _part(self, place: Place, key: str, registry: Registry, value: Any, label: str | None) -> Part | None:
        if not isinstance(value, dict):
            self.add(place, "must be a mapping of parameters")
            return None
        data = dict(value)
        optional = data.pop("optional", False) if key == "metric" else False
        name = data.pop(key, label)
        if not isinstance(name, str) or name not in registry:
            known = registry.names() + ([] if label is None else [n.replace("-", "_") for n in registry.names()])
            if isinstance(name, str) and name.replace("_", "-") in registry:
                name = name.replace("_", "-")
            else:
                noun = {"source": "source of prompts"}.get(key, key)
                hint = did_you_mean(str(name), sorted(set(known)), listing="known are")
                self.add((*place, *((key,) if key in value else ())), f"there is no {noun} {name!r}", hint)
                return None
        model = self._model(registry, name, place)
        params = self._validate(model, data, place) if model is not None else None
        if not isinstance(optional, bool):
            self.add((*place, "optional"), "must be true or false")
            return None
        return None if params is None else Part(module=name, params=params, optional=optional)

    def _check_names(self, field: str, kind: str) -> None:
        listed = self.data.get(field)
        if not isinstance(listed, list):
            return
        known = discover.names(kind)
        for index, name in enumerate(listed):
            if isinstance(name, str) and name not in known:
                self.add((field, index), f"there is no {kind} {name!r}", did_you_mean(name, known, listing="known are"))
            if name in listed[:index]:
                self.add((field, index), f"{name!r} is listed twice")


def check_spec(kind: str | Sequence[str], ref: str | Path, overrides: Iterable[str] = ()) -> list[Problem]:
    """Every problem of a spec; an empty list when it is valid. Raises NotFound for an unknown name."""
    try:
        load_spec(kind, ref, overrides)
    except SpecError as error:
        return list(error.problems)
    return []


def describe(found: discover.SpecFile) -> dict[str, str]:
    """What a listing shows of a spec: name, kind, origin, the registered module it uses, description, path. A broken
    one says so.
    """
    shown = {
        "name": found.name,
        "kind": found.kind,
        "uses": "",
        "origin": found.origin,
        "description": "",
        "path": str(found.path),
    }
    try:
        data = read_document(found.path).data
    except ConceptlibError:
        shown["description"] = f"(broken: `validate {found.name}` says why)"
        return shown
    registry = SCHEMAS[found.kind].registry
    shown["uses"] = str(data.get(registry[0], "")) if registry else str(data.get("type", ""))
    if found.kind == "suite":
        prompts = data.get("prompts")
        shown["uses"] = str(data.get("suite") or (prompts.get("source", "") if isinstance(prompts, dict) else ""))
    shown["description"] = " ".join(str(data.get("description", "")).split())
    return shown
