"""Working with spec files: list, show, copy."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from conceptlib import paths
from conceptlib.errors import ConceptlibError, UsageError
from conceptlib.specs import discover
from conceptlib.specs.errors import Problem, SpecError
from conceptlib.specs.explain import explain
from conceptlib.specs.load import check_spec, describe
from conceptlib.specs.results import result_of, results
from conceptlib.specs.schema import SCHEMAS
from conceptlib.specs.yaml_io import read_document
from conceptlib.store.files import atomic_write

_NAME_LINE = re.compile(r"^name:.*$", re.MULTILINE)


def list_specs(kinds: str | Sequence[str]) -> list[dict[str, str]]:
    """Every spec of the kinds: name, kind, uses (registered module), origin, description, path, and of recipes what was
    `measured` (empty where nothing was). Broken specs are listed too.
    """
    specs = discover.find_all(kinds)
    known = results() if any(spec.kind == "recipe" for spec in specs) else {}
    return [describe(found) | {"measured": result_of(found, known)} for found in specs]


@dataclass(frozen=True)
class Report:
    """What validating one spec found."""

    name: str
    path: str
    problems: tuple[Problem, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "path": self.path,
            "valid": not self.problems,
            "problems": [asdict(p) for p in self.problems],
        }

    def __str__(self) -> str:
        if not self.problems:
            return f"{self.name}: valid"
        return "\n".join([f"{self.name}: {len(self.problems)} wrong", *(f"  {problem}" for problem in self.problems)])


def validate_specs(
    kinds: str | Sequence[str], refs: Sequence[str | Path] = (), overrides: Sequence[str] = ()
) -> list[Report]:
    """Check specs by name or path; without any, every one of the kinds. Raises NotFound for an unknown name."""
    chosen = [discover.find(kinds, ref) for ref in refs] if refs else discover.find_all(kinds)
    return [
        Report(found.name, str(found.path), tuple(check_spec(found.kind, found.path, overrides))) for found in chosen
    ]


def specs_about(concept: str) -> dict[str, list[str]]:
    """The names of the datasets, recipes and suites whose `concepts` list a concept; broken specs are passed over."""
    about: dict[str, list[str]] = {}
    for kind in ("dataset", "recipe", "suite"):
        about[f"{kind}s"] = []
        for found in discover.find_all(kind):
            try:
                listed = read_document(found.path).data.get("concepts")
            except SpecError:
                continue
            if isinstance(listed, list) and concept in listed:
                about[f"{kind}s"].append(found.name)
    return about


def to_yaml(data: Mapping[str, Any]) -> str:
    """A resolved spec as YAML that `load_spec` reads again."""
    return yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


def read_spec_text(kinds: str | Sequence[str], ref: str | Path) -> str:
    """The text of a spec's file. Raises NotFound."""
    return discover.find(kinds, ref).path.read_text(encoding="utf-8")


def copy_spec(
    kinds: str | Sequence[str], ref: str | Path, dest: str | Path | None = None, *, overwrite: bool = False
) -> Path:
    """Copy a spec to edit it, and give the copy the name that its new place says. Returns the new path.

    dest: a path that ends in `.yaml`, an existing folder, or a new name (the copy then goes to
    `$CONCEPTLIB_HOME/specs`); by default the same name there, which shadows the original. Raises ConceptlibError when
    the file exists already, NotFound for an unknown spec.
    """
    found = discover.find(kinds, ref)
    target = _target(found, dest)
    if target.exists() and not overwrite:
        raise ConceptlibError(
            "this file exists already", where=target, hint="choose another name, or say --yes to overwrite it"
        )
    name = _checked(found.kind, discover.name_of(found.kind, target) or _free_name(found, target), target)
    text = _NAME_LINE.sub(f"name: {name}", found.path.read_text(encoding="utf-8"), count=1)
    if target.is_dir():
        raise ConceptlibError("this is a folder", where=target, hint="choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, text)
    return target


def _checked(kind: str, name: str, target: Path) -> str:
    """The name of a copy: what its spec would be refused for is said before it is written."""
    field = SCHEMAS[kind].model_fields["name"]
    kind_of_name: Any = Annotated[field.annotation, *field.metadata]
    try:
        TypeAdapter(kind_of_name).validate_python(name)
    except ValidationError as error:
        _, message, hint = explain(SCHEMAS[kind], error.errors(include_url=False)[0])
        raise UsageError(f"the copy cannot be called so: {message}", where=target, hint=hint) from None
    return name


def _target(found: discover.SpecFile, dest: str | Path | None) -> Path:
    user = paths.home() / "specs"
    if dest is None:
        return discover.default_path(found.kind, found.name, user)
    text = str(dest)
    if not text.strip():
        raise UsageError("the copy's name is empty", hint="leave it out to keep the original's")
    path = Path(text).expanduser()
    if path.suffix in {".yaml", ".yml"}:
        return path
    if path.is_dir() or text.endswith(os.sep):
        return path / f"{found.name.rpartition('/')[2]}.yaml"
    if text.startswith((".", "~", "/")) or text.count("/") > (found.kind == "recipe"):
        raise UsageError(
            f"{text!r} is neither a name nor a spec's file", hint="a path ends in .yaml, or is a folder that exists"
        )
    if found.kind == "recipe" and "/" not in text:
        text = f"{found.name.partition('/')[0]}/{text}"
    return discover.default_path(found.kind, text, user)


def _free_name(found: discover.SpecFile, target: Path) -> str:
    """The name of a copy that lies outside every folder of specs: its file name, for a recipe after the method."""
    return (
        f"{found.name.partition('/')[0]}/{target.stem}" if found.kind == "recipe" and "/" in found.name else target.stem
    )
