"""The store: immutable, content-addressed artifacts with manifests, locks and parents.

from conceptlib.store import Store

store = Store()
with store.draft("dataset", "icd-qr", lock=lock, parents={}) as draft:
    artifact = draft.done or fill_and_commit(draft)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conceptlib.errors import NotFound
    from conceptlib.store.artifact import Artifact
    from conceptlib.store.draft import Draft
    from conceptlib.store.gc import GcReport, Stale
    from conceptlib.store.manifest import FileEntry
    from conceptlib.store.store import Store
    from conceptlib.store.tags import Tag
    from conceptlib.store.verify import Problem

    KINDS: tuple[str, ...]

__all__ = ["KINDS", "Artifact", "Draft", "FileEntry", "GcReport", "NotFound", "Problem", "Stale", "Store", "Tag"]

# Imported when first asked for: `conceptlib --help` needs the home folder's name, but neither pydantic nor filelock.
_HOMES = {
    "Artifact": "conceptlib.store.artifact",
    "Draft": "conceptlib.store.draft",
    "FileEntry": "conceptlib.store.manifest",
    "GcReport": "conceptlib.store.gc",
    "NotFound": "conceptlib.errors",
    "Problem": "conceptlib.store.verify",
    "Stale": "conceptlib.store.gc",
    "Store": "conceptlib.store.store",
    "Tag": "conceptlib.store.tags",
}


def __getattr__(name: str) -> Any:
    if name == "KINDS":  # those of the user's home among them
        return import_module("conceptlib.store.kinds").names()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
