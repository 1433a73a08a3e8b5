"""From an artifact to the rows of the catalog's tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact

Rows = dict[str, list[dict[str, Any]]]

SCORES = "scores.json"
_SCORE_COLUMNS = ("subject", "metric", "value", "low", "high", "n", "interval")


def rows_of(folder: str, path: Path) -> Rows:
    """The rows, by table, of the artifact in ``path``. What cannot be read becomes a row of ``damaged``, no error.

    Args:
        folder: the artifact's folder relative to the store's root.
        path: the same, absolute.
    """
    try:
        artifact = Artifact.open(path)
    except FileNotFoundError:
        return {"damaged": [{"problem": "there is no manifest", "folder": folder}]}
    except (ConceptlibError, OSError) as error:
        return {"damaged": [{"problem": str(error), "folder": folder}]}
    rows: Rows = {
        "artifacts": [
            {
                "id": artifact.id,
                "kind": artifact.kind,
                "name": artifact.name,
                "created": artifact.created.replace("+00:00", ""),
                "seconds": artifact.seconds,
                "size": artifact.size,
                "file_count": len(artifact.files),
                "key": artifact.key,
                "content": artifact.content,
                "lock": artifact.lock,
                "info": artifact.info,
                "environment": artifact.environment,
            }
        ],
        "parents": [{"id": artifact.id, "role": role, "parent_id": one} for role, one in artifact.parents.items()],
        "files": [{"id": artifact.id, **entry.model_dump()} for entry in artifact.files],
    }
    if artifact.kind == "evaluation":
        try:
            rows["scores"] = _scores(artifact)
        except (OSError, ValueError, TypeError, KeyError) as error:
            rows["damaged"] = [{"problem": f"{SCORES} cannot be read: {type(error).__name__}: {error}"}]
    for table in rows.values():
        for row in table:
            row["folder"] = folder
    cleaned: Rows = _clean(rows)
    return cleaned


def _scores(artifact: Artifact) -> list[dict[str, Any]]:
    """One row a score; what has no column of its own goes into ``extra``."""
    found = []
    for score in json.loads((artifact.path / SCORES).read_bytes()):
        row = {
            "evaluation_id": artifact.id,
            "evaluation": artifact.name,
            "checkpoint_id": artifact.parents.get("checkpoint"),
            "detector_id": artifact.parents.get("detector"),
            "subject": str(score["subject"]),
            "metric": str(score["metric"]),
            "interval": score.get("interval"),
        }
        for column in ("value", "low", "high"):
            row[column] = None if score.get(column) is None else float(score[column])
        row["n"] = None if score.get("n") is None else int(score["n"])
        row["extra"] = {name: value for name, value in score.items() if name not in _SCORE_COLUMNS}
        found.append(row)
    return found


def _clean(value: Any) -> Any:
    """``value`` as the database takes it: NaN and infinities as null, text as Unicode.

    A manifest that somebody edited by hand must not keep the others from being indexed.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_clean(name): _clean(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value
