"""A publication before anything is sent: every file with its size and hash, the card, the tag."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conceptlib.errors import ConceptlibError
from conceptlib.hub.privacy import without_local_paths
from conceptlib.progress import Progress
from conceptlib.store import Artifact
from conceptlib.store.hashing import git_oid, sha256_bytes, sha256_file
from conceptlib.store.jsonfile import loads
from conceptlib.store.names import check_path

CARD, MANIFEST = "README.md", "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class PlannedFile:
    """One file of a publication. Its bytes are in `data`, or in the file `source`, which is only read.

    path: relative POSIX path in the publication. size: bytes. sha256: 64 hex digits. keep: what must live as long as
    this does, such as the temporary folder in which `source` lies.
    """

    path: str
    size: int
    sha256: str
    source: Path | None = field(default=None, repr=False)
    data: bytes | None = field(default=None, repr=False)
    keep: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.path != MANIFEST:
            _refuse_path(self.path)

    @classmethod
    def from_bytes(cls, path: str, data: bytes) -> PlannedFile:
        return cls(path, len(data), sha256_bytes(data), data=data)

    @classmethod
    def from_file(cls, path: str, source: Path, keep: object = None) -> PlannedFile:
        return cls(path, source.stat().st_size, sha256_file(source), source=source, keep=keep)

    def read(self) -> bytes:
        """All bytes: for small files."""
        if self.data is not None:
            return self.data
        assert self.source is not None
        return self.source.read_bytes()

    def git_oid(self) -> str:
        """The 40 hex digits that git gives to a blob of these bytes: how the Hub names a small file."""
        if self.data is not None:
            return git_oid(self.data)
        assert self.source is not None
        return git_oid(self.source)

    def write(self, path: Path, *, link: bool) -> None:
        """Put the file at `path`. With `link`, as a symbolic link where there is a source: for readers only."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.data is not None:
            path.write_bytes(self.data)
        elif self.source is not None and link:
            os.symlink(self.source, path)
        elif self.source is not None:
            shutil.copyfile(self.source, path)

    def as_dict(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True)
class CardOptions:
    """What a card says that no artifact knows. target: how examples call the publication. license.

    A Hub licence id, or None.
    """

    target: str
    license: str | None = None


@dataclass(frozen=True)
class Contents:
    """What a kind of artifact gives: its card, its files in the publication, remarks for the user.

    unsafe: not for all audiences, so that its repository must be gated.
    """

    card: str
    files: tuple[PlannedFile, ...]
    notes: tuple[str, ...] = ()
    unsafe: bool = False


@dataclass(frozen=True)
class Plan:
    """All that will be published. files are sorted by path and include the card and the manifest."""

    artifact: Artifact
    repo_type: str
    card: str
    files: tuple[PlannedFile, ...]
    tag: str
    notes: tuple[str, ...]
    unsafe: bool = False

    @property
    def paths(self) -> dict[str, PlannedFile]:
        return {file.path: file for file in self.files}


def artifact_files(
    artifact: Artifact, wanted: Callable[[str], bool], *, into: str = "", progress: Progress | None = None
) -> list[PlannedFile]:
    """The artifact's files that are `wanted` (by path), hashed; `into` is a folder of the publication.

    Raises:
        ConceptlibError: a file is missing or not what the manifest says.
    """
    entries = [entry for entry in artifact.files if wanted(entry.path)]
    planned = []
    for index, entry in enumerate(entries):
        source = artifact.path / entry.path
        file = (
            PlannedFile.from_file(f"{into}/{entry.path}" if into else entry.path, source) if source.is_file() else None
        )
        if file is None or file.sha256 != entry.sha256:
            problem = "missing" if file is None else "not what it was"
            raise ConceptlibError(
                f"{artifact.kind} {artifact.ref} is damaged: {entry.path} is {problem}",
                where=str(source),
                hint="`conceptlib verify` names all that is damaged; make the artifact again",
            )
        planned.append(file)
        if progress is not None:
            progress("hash", index + 1, len(entries))
    return planned


def manifest_file(artifact: Artifact, files: Mapping[str, PlannedFile]) -> PlannedFile:
    """The publication's `manifest.json`: the artifact's own, without local paths, and a list of every published file.

    A published folder is an artifact again: `files` names those of the artifact's files that were published, as they
    were published.
    """
    manifest = without_local_paths(artifact.manifest.model_dump(mode="json"))
    own = [entry for entry in manifest["files"] if entry["path"] in files]
    manifest["files"] = [entry | files[entry["path"]].as_dict() for entry in own]
    if manifest["files"] != own:
        manifest["content_from"] = "producer"  # the id is no longer that of these files
    manifest["publication"] = {"format": FORMAT, "files": {path: files[path].sha256 for path in sorted(files)}}
    text = json.dumps(manifest, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n"
    return PlannedFile.from_bytes(MANIFEST, text.encode())


def _refuse_path(path: str) -> None:
    try:
        check_path(path)
    except ValueError as error:
        raise ConceptlibError(f"this cannot be published: {error}", hint="`conceptlib verify` the artifact") from error


def published_files(data: bytes) -> tuple[str, str, dict[str, str]] | None:
    """(kind, name, {path: sha256}) of an earlier publication's `manifest.json`; None if this is none."""
    try:
        manifest = loads(data)
        files = manifest["publication"]["files"]
        digests = {check_path(str(path)): str(digest) for path, digest in files.items()}
        return str(manifest["kind"]), str(manifest["name"]), digests
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
