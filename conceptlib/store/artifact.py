"""An artifact: a folder that never changes, and what its manifest says."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptlib.errors import ConceptlibError
from conceptlib.store.hashing import sha256_file
from conceptlib.store.manifest import FileEntry, Manifest, read_manifest

_checked: set[tuple[str, int, int, int, str]] = set()
"""Path, inode, size, mtime and digest of the files whose bytes this process has compared with a manifest."""


@dataclass(frozen=True)
class Artifact:
    """``path`` (absolute) and the fields of ``manifest.json``. Equal when kind, name and id are."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> Artifact:
        """The artifact in ``folder``, which need not lie in a store.

        Raises:
            FileNotFoundError: no manifest there.
            ConceptlibError: the manifest is damaged or of a newer schema.
        """
        return cls(folder.absolute(), read_manifest(folder))

    @property
    def id(self) -> str:
        """16 hex digits."""
        return self.manifest.id

    @property
    def key(self) -> str:
        """64 hex digits: what was asked for."""
        return self.manifest.key

    @property
    def kind(self) -> str:
        """One of ``conceptlib.store.KINDS``."""
        return self.manifest.kind

    @property
    def name(self) -> str:
        """The spec's name; parts joined by ``/``."""
        return self.manifest.name

    @property
    def ref(self) -> str:
        """``name@id``, which ``Store.get`` finds again."""
        return f"{self.name}@{self.id}"

    @property
    def parents(self) -> dict[str, str]:
        """Role to the parent's id: ``{"dataset": "0123456789abcdef"}``."""
        return dict(self.manifest.parents)

    @property
    def lock(self) -> dict[str, Any]:
        """The resolved spec and everything else that decided the content."""
        return dict(self.manifest.lock)

    @property
    def info(self) -> dict[str, Any]:
        """What the producer wants to be known: counts, measured quality, device."""
        return dict(self.manifest.info)

    @property
    def content(self) -> str:
        """The digest that the id is made of."""
        return self.manifest.content

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every file but the manifest, sorted by path."""
        return self.manifest.files

    def missing(self) -> tuple[FileEntry, ...]:
        """The files that are not there, or not of the size that the manifest says. Their bytes are not read."""
        return tuple(entry for entry in self.manifest.files if not _has(self.path, entry))

    def intact(self, *paths: str) -> Path:
        """The artifact's folder, after the bytes of these files (of all, if none is named; folders stand for what is in
        them) were compared with the manifest. Each file is read once a process, until it changes.

        Raises:
            ConceptlibError: one is missing or its bytes are not those that the artifact was made with.
        """
        for entry in self.manifest.files:
            if not entry.volatile and (not paths or any(_within(entry.path, path) for path in paths)):
                _check_bytes(self, entry)
        return self.path

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.manifest.files)

    @property
    def created(self) -> str:
        """UTC, ISO 8601."""
        return self.manifest.created

    @property
    def seconds(self) -> float:
        """Wall time over all attempts."""
        return self.manifest.seconds

    @property
    def environment(self) -> dict[str, Any]:
        """Python, platform, package versions and device of the process that made it."""
        return dict(self.manifest.environment)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Artifact):
            return NotImplemented
        return (self.kind, self.name, self.id) == (other.kind, other.name, other.id)

    def __hash__(self) -> int:
        return hash((self.kind, self.name, self.id))

    def __repr__(self) -> str:
        return f"Artifact({self.kind} {self.ref}, {self.path})"


def _has(folder: Path, entry: FileEntry) -> bool:
    try:
        status = os.stat(folder / entry.path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == entry.size


def _within(path: str, above: str) -> bool:
    return path == above or path.startswith(above.rstrip("/") + "/")


def _check_bytes(artifact: Artifact, entry: FileEntry) -> None:
    path = artifact.path / entry.path
    try:
        status = os.stat(path)
        seen = (str(path), status.st_ino, status.st_size, status.st_mtime_ns, entry.sha256)
        if seen in _checked:
            return
        sha256 = sha256_file(path) if status.st_size == entry.size else ""
    except OSError as error:
        raise _damaged(artifact, path, error.strerror or str(error)) from error
    if sha256 != entry.sha256:
        raise _damaged(artifact, path, "its bytes are not those that the manifest names")
    _checked.add(seen)


def _damaged(artifact: Artifact, path: Path, why: str) -> ConceptlibError:
    return ConceptlibError(
        f"the {artifact.kind} {artifact.ref} is damaged: {why}",
        where=str(path),
        hint=f"`conceptlib verify {artifact.id} --repair` takes the file out; the command that made the artifact "
        "then makes it again",
    )
