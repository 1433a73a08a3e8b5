"""Where an artifact was published: a small file an artifact, so that the card of a checkpoint can name its
dataset's repository.
"""

from __future__ import annotations

import json
from pathlib import Path

from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_write


def _path(store: Store, artifact_id: str) -> Path:
    return store.root / "publications" / f"{artifact_id}.json"


def add(store: Store, artifact: Artifact, repo_id: str, repo_type: str, revision: str, tag: str) -> None:
    """Remember the newest publication of an artifact on the Hub."""
    record = {
        "kind": artifact.kind,
        "name": artifact.name,
        "repo_id": repo_id,
        "repo_type": repo_type,
        "revision": revision,
        "tag": tag,
    }
    atomic_write(_path(store, artifact.id), json.dumps(record, indent=2) + "\n")


def repo_of(store: Store, artifact_id: str) -> str | None:
    """The repository that an artifact was last published to; None if it was not, or the record cannot be read."""
    try:
        return str(json.loads(_path(store, artifact_id).read_text())["repo_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
