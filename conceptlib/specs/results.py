"""Measured results beside recipes: `recipes/results.json`, which a sweep writes and `conceptlib recipes ls` shows.

An entry belongs to a recipe's method and parameters, not to its name alone: when those change, what was measured of
them is shown no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conceptlib import paths
from conceptlib.errors import ConceptlibError
from conceptlib.specs import discover
from conceptlib.specs.errors import SpecError
from conceptlib.specs.yaml_io import read_document
from conceptlib.store.files import atomic_write
from conceptlib.store.hashing import digest

FILE = Path("recipes", "results.json")


def fingerprint(path: Path) -> str:
    """A hash of what decides a recipe's results: method and parameters as they are written in its file.

    Raises:
        SpecError: the file is no YAML.
    """
    data = read_document(path).data
    return digest({"method": data.get("method"), "params": data.get("params") or {}})


def results() -> dict[str, dict[str, Any]]:
    """Every entry by recipe name: of the working folder, the user's and the built-in ones the first that has it.

    Raises:
        ConceptlibError: a file that cannot be read.
    """
    found: dict[str, dict[str, Any]] = {}
    for _, root in reversed(discover.roots()):
        found |= _read(root / FILE)
    return found


def result_of(spec: discover.SpecFile, known: Mapping[str, Mapping[str, Any]]) -> str:
    """What was measured of a recipe, in a few words: `tiny: target 3 % (2 to 5), retain 97 %`, a mean with the range
    over trainings where that is known; empty where nothing was measured.

    known: from `results`.
    """
    entry = known.get(spec.name)
    if entry is None or spec.kind != "recipe":
        return ""
    try:
        current = fingerprint(spec.path)
    except SpecError:
        return ""
    if entry.get("fingerprint") != current:
        return ""
    shown = [_share(key, entry) for key in ("target", "retain") if entry.get(key) is not None]
    return f"{entry.get('base', '')}: {', '.join(shown)}" if shown else ""


def _share(key: str, entry: Mapping[str, Any]) -> str:
    """`target 3 % (2 to 5)`; without the range where the entry has none, and by the metric's name where it is not the
    one that `target` and `retain` mean.
    """
    ends, told = entry.get(f"{key}_range"), (entry.get("metrics") or {}).get(key) or {}
    name = str(told.get("name", key))
    name = key if name in ("target_accuracy", "retain_of_base", "retain_accuracy") else name
    if told.get("unit", "share") != "share":
        around = f" ({ends[0]:.4g} to {ends[1]:.4g})" if ends else ""
        return f"{name} {entry[key]:.4g}{around}"
    around = f" ({100 * ends[0]:.0f} to {100 * ends[1]:.0f})" if ends else ""
    return f"{name} {100 * entry[key]:.0f} %{around}"


def with_ranges(**measured: Sequence[float]) -> dict[str, Any]:
    """Means and ranges over trainings, as an entry has them: `{"target": 0.03, "target_range": [0.02, 0.05], ...}`.

    Args:
        measured: for each key a share in [0, 1] a training, one or more. One alone has no range.
    """
    entry: dict[str, Any] = {}
    for key, found in measured.items():
        entry[key] = round(sum(found) / len(found), 4)
        if len(found) > 1:
            entry[f"{key}_range"] = [round(min(found), 4), round(max(found), 4)]
    return entry


def record(entries: Mapping[str, Mapping[str, Any]]) -> Path:
    """Add entries, each with its recipe's `fingerprint` filled in; others in the file stay.

    They go where the recipes are that the user works on: into `recipes/` of the working folder if there is one, else
    of `$CONCEPTLIB_HOME/specs`.

    Args:
        entries: by recipe name: `base`, `target` and `retain` (shares in [0, 1], and their ranges over trainings, see
            `with_ranges`), and whatever else is known.

    Returns:
        The file.

    Raises:
        NotFound: no such recipe.
        ConceptlibError: a file that cannot be read.
    """
    local = Path.cwd() / FILE
    path = local if local.parent.is_dir() else paths.home() / "specs" / FILE
    known = _read(path)
    for name, entry in entries.items():
        known[name] = {**entry, "fingerprint": fingerprint(discover.find("recipe", name).path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    return path


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConceptlibError("these results cannot be read", where=path, hint=f"{error}; delete the file") from error
    if not isinstance(data, dict) or not all(isinstance(entry, dict) for entry in data.values()):
        raise ConceptlibError("these results are no mapping of recipes", where=path, hint="delete the file")
    return data
