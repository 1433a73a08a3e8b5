"""An artifact: a folder that never changes, and what its manifest says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptlib.store.manifest import FileEntry, Manifest, read_manifest


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
