"""From an artifact's folder to what the catalog's tables hold of it: one JSON document, made of checked values.

Whatever stands in a store can be read here. What is odd - a manifest of somebody else, scores of no shape, a folder
that may not be entered - becomes a problem of that artifact and never an error, so that it hides no other one.
"""

from __future__ import annotations

import json
import math
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

from conceptlib import scores as rows_of
from conceptlib.catalog.settings import Settings, integer
from conceptlib.errors import ConceptlibError
from conceptlib.scores import SCORES
from conceptlib.store import Artifact
from conceptlib.store.jsonfile import check_depth
from conceptlib.store.names import MANIFEST, folder_of

MAX_BYTES = 256 << 20
"""A larger manifest is not read: no artifact's is a hundredth of this."""

_COLUMNS = ("subject", "metric", "value", "low", "high", "n", "interval")


class Odd(Exception):
    """Why an artifact, or its scores, cannot be indexed."""


def document_of(folder: str, path: Path) -> str:
    """What the tables hold of the artifact in ``path``, as a JSON object of the shape ``schema.DOCUMENT``.

    Args:
        folder: the artifact's folder relative to the store's root.
        path: the same, absolute.
    """
    try:
        return _dumped(_entry(folder, path))
    except Exception as error:  # one bad artifact must not keep the others from being found
        return problem_document(folder, _said(error))


def problem_document(folder: str, problem: str) -> str:
    """The document of a folder of which nothing is known but what is wrong with it."""
    return _dumped({"folder": folder, "problems": [problem]})


def _entry(folder: str, path: Path) -> dict[str, Any]:
    _check_file(path / MANIFEST)
    try:
        artifact = Artifact.open(path)
    except FileNotFoundError:
        raise Odd("there is no manifest") from None
    _check_place(artifact, folder)
    datetime.fromisoformat(artifact.created)
    files = artifact.files
    sizes = [_whole(entry.size, "a file's size") for entry in files]
    entry: dict[str, Any] = {
        "folder": folder,
        "id": artifact.id,
        "artifact": {
            "kind": artifact.kind,
            "name": artifact.name,
            "created": artifact.created.replace("+00:00", ""),
            "seconds": artifact.seconds,
            "size": _whole(sum(sizes), "the size"),
            "file_count": len(files),
            "key": artifact.key,
            "content": artifact.content,
            "lock": artifact.lock,
            "info": artifact.info,
            "environment": artifact.environment,
        },
        "parents": [{"role": role, "parent_id": one} for role, one in artifact.parents.items()],
        "files": {
            "path": [entry.path for entry in files],
            "sha256": [entry.sha256 for entry in files],
            "size": sizes,
            "volatile": [entry.volatile for entry in files],
        },
    }
    check_depth(entry["artifact"])  # JSON readers differ in how much they bear
    if artifact.kind == "evaluation":
        try:
            entry |= _scores(artifact)
        except Exception as error:  # the evaluation itself is sound, and stays
            entry["problems"] = [f"{SCORES} cannot be read: {_said(error)}"]
    return entry


def _scores(artifact: Artifact) -> dict[str, Any]:
    """The scores, column by column, and the settings that hold for all of them."""
    rows = rows_of.parse(artifact.path)
    settings = Settings(artifact.lock, artifact.info, artifact.parents)
    subjects = [row["subject"] for row in rows]
    metrics = [row["metric"] for row in rows]
    scores: dict[str, list[Any]] = {
        "subject": subjects,
        "metric": metrics,
        **{name: [row[name] for row in rows] for name in ("value", "low", "high")},
        "n": [_count(row) for row in rows],
        "interval": [None if row.get("interval") is None else str(row["interval"]) for row in rows],
        "extra": [{name: value for name, value in row.items() if name not in _COLUMNS} for row in rows],
    }
    of_each = [settings.of(row, metric) for row, metric in zip(rows, metrics, strict=True)]
    scores |= {name: [one[name] for one in of_each] for name in (of_each[0] if of_each else ())}
    about = ("suite", "seed", "steps", "guidance_scale", "checkpoint_id")
    return {"scores": scores, "settings": {name: getattr(settings, name) for name in about}}


def _check_file(path: Path) -> None:
    """Raise ``Odd`` for what must not be opened: a pipe would never end, a device gives bytes for ever."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise Odd("there is no manifest" if path.name == MANIFEST else "there is no such file") from None
    if not stat.S_ISREG(status.st_mode):
        raise Odd(f"{path.name} is no file")
    if status.st_size > MAX_BYTES:
        raise Odd(f"{path.name} has {status.st_size >> 20} MB, more than the {MAX_BYTES >> 20} MB there may be")


def _check_place(artifact: Artifact, folder: str) -> None:
    says = f"artifacts/{artifact.kind}/{folder_of(artifact.name)}/{artifact.id}"
    if says != folder:
        raise Odd(f"by its manifest this is {says}: it was moved, renamed or changed by hand")


def _count(row: dict[str, Any]) -> int | None:
    value = row.get("n")
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if integer(value) is None:
        raise Odd(f"the n of {row['metric']} is no whole number: {_short(value)}")
    return int(value)


def _whole(value: int, what: str) -> int:
    if integer(value) is None:
        raise Odd(f"{what} is {_short(value)}")
    return value


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:59] + "…"


def _said(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{os.path.basename(error.filename or '')} cannot be read: {error.strerror or error}".lstrip()
    if isinstance(error, (Odd, ConceptlibError)) or type(error) is ValueError:
        return str(error)
    return f"{type(error).__name__}: {error}"


def _dumped(entry: dict[str, Any]) -> str:
    """JSON as the database takes it: NaN and infinities as null, every text as Unicode."""
    try:
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(entry), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace").decode("utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
