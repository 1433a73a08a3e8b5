"""Where everything lies below a store's root, and the record of keys.

artifacts/<kind>/<name>/<id>/     the artifacts
staging/<key>/files/, note.json   drafts, and what they are
tags/<kind>/<name>/<tag>.json     which artifact a tag means, and meant
keys/<key>.json                   which artifact a key gave: one small file, so a lookup never scans
journal.jsonl                     what came, was found again and went, in order; can be deleted
found/<kind>/<name>/<id>.json     an older release's: when an artifact was last asked for and found
locks/<key>.lock                  one writer a key
catalog.duckdb                    an index; can be deleted
"""

from __future__ import annotations

import json
import logging
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conceptlib.errors import ConceptlibError
from conceptlib.store import files
from conceptlib.store.jsonfile import read_json
from conceptlib.store.names import check_kind, check_tag, folder_of

if TYPE_CHECKING:
    from conceptlib.store.artifact import Artifact

REMOVED_PREFIX = "removed-"
"""Folders of this name in the staging area were artifacts; keys are hexadecimal, so it never meets a draft's."""

_ID = re.compile(r"[0-9a-f]{16}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """Paths below ``root``; nothing is created by asking."""

    root: Path

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def drafts(self) -> Path:
        return self.root / "staging"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def tags(self) -> Path:
        return self.root / "tags"

    def tag_file(self, kind: str, name: str, tag: str) -> Path:
        return self.tags / check_kind(kind) / folder_of(name) / f"{check_tag(tag)}.json"

    @property
    def catalog(self) -> Path:
        return self.root / "catalog.duckdb"

    def staging(self, key: str) -> Path:
        return self.drafts / key

    def staging_files(self, key: str) -> Path:
        return self.drafts / key / "files"

    def staging_note(self, key: str) -> Path:
        return self.drafts / key / "note.json"

    def lock_file(self, key: str) -> Path:
        return self.locks / f"{key}.lock"

    def key_file(self, key: str) -> Path:
        return self.keys / f"{key}.json"

    def artifact_folder(self, kind: str, name: str, artifact_id: str) -> Path:
        if not _ID.fullmatch(artifact_id):
            raise ConceptlibError(f"not an artifact's id: {artifact_id[:40]!r}", hint="16 hex digits")
        return self.artifacts / check_kind(kind) / folder_of(name) / artifact_id

    def names(self, kind: str) -> list[str]:
        """The folders of the names that artifacts of a kind have, or had."""
        try:
            return os.listdir(self.artifacts / check_kind(kind))
        except OSError:
            return []

    def open(self, folder: Path) -> Artifact | None:
        """The artifact in ``folder``; None, with a line in the log, when its manifest is missing or cannot be read."""
        from conceptlib.store.artifact import Artifact  # pydantic, which who asks for paths alone need not load

        try:
            return Artifact.open(folder)
        except FileNotFoundError:
            return None
        except (ConceptlibError, OSError) as error:
            logger.warning("left out: %s", error)
            return None

    def find_key(self, key: str) -> Artifact | None:
        """The artifact that ``key`` gave, if it is still there and none of its files is missing or cut."""
        artifact = self.key_artifact(key)
        if artifact is None or not (missing := artifact.missing()):
            return artifact
        logger.warning(
            "%s %s has lost %s%s: it has to be made again",
            artifact.kind,
            artifact.ref,
            ", ".join(entry.path for entry in missing[:3]),
            ", ..." if len(missing) > 3 else "",
        )
        return None

    def key_artifact(self, key: str) -> Artifact | None:
        """The artifact that ``key`` gave, also where some of its files are missing."""
        try:
            record = read_json(self.key_file(key))
            folder = self.artifact_folder(record["kind"], record["name"], record["id"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ConceptlibError):
            return None  # no record, or a damaged one: the work is then done again, and the record written anew
        return self.open(folder)

    def write_key(self, key: str, kind: str, name: str, artifact_id: str) -> None:
        files.atomic_write(self.key_file(key), json.dumps({"kind": kind, "name": name, "id": artifact_id}))

    def set_aside(self, folder: Path) -> Path:
        """Move a folder out of sight into the staging area, where ``gc`` finds it.

        One step: readers see it whole or not at all.
        """
        aside = self.drafts / f"{REMOVED_PREFIX}{folder.name}-{uuid.uuid4().hex[:8]}"
        aside.mkdir(parents=True)
        files.rename_folder(folder, aside / "files")
        return aside
