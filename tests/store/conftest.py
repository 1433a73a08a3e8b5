"""A store in a temporary folder, and the shortest way to an artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from conceptlib.store import Artifact, Store

Make = Callable[..., Artifact]


@pytest.fixture
def store(home: Path) -> Store:
    return Store()


@pytest.fixture
def make(store: Store) -> Make:
    """make("dataset", "icd-qr", {"a.bin": b"..."}, lock={...}, parents={...}) commits an artifact, or finds it."""

    def make(
        kind: str = "dataset",
        name: str = "icd-qr",
        files: Mapping[str, bytes] | None = None,
        *,
        lock: Mapping[str, Any] | None = None,
        parents: Mapping[str, Any] | None = None,
        **commit: Any,
    ) -> Artifact:
        files = {"data/a.bin": b"aaa", "data/b.bin": b"bbb"} if files is None else files
        if lock is None:
            lock = {"files": {path: data.hex() for path, data in files.items()}}
        with store.draft(kind, name, lock=lock, parents=parents) as draft:
            if draft.done:
                return draft.done
            for path, data in files.items():
                (draft.path / path).parent.mkdir(parents=True, exist_ok=True)
                (draft.path / path).write_bytes(data)
            return draft.commit(**commit)

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    path = tmp_path / "folder"
    path.mkdir()
    return path
