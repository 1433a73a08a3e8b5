"""Tags: names for versions. `icd-qr@v1` means one artifact until somebody moves the tag, and says so.

A tag is a small file beside the artifacts, `tags/<kind>/<name>/<tag>.json`: what it means now, and everything it has
meant. Ids never change their meaning; what goes into a lock or a manifest is always the id.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from filelock import FileLock

from conceptlib.errors import ConceptlibError
from conceptlib.store import files
from conceptlib.store.artifact import Artifact
from conceptlib.store.journal import TAGGED, Journal
from conceptlib.store.layout import Layout
from conceptlib.store.names import KINDS, name_of


@dataclass(frozen=True)
class Change:
    """What a tag came to mean (None: it was taken away), and when (UTC, ISO 8601)."""

    id: str | None
    at: str


@dataclass(frozen=True)
class Tag:
    """A tag of the artifacts of one kind and name; ``history`` has its meanings, the oldest first."""

    kind: str
    name: str
    tag: str
    history: tuple[Change, ...]

    @property
    def id(self) -> str | None:
        """The artifact that it means; None once it was taken away."""
        return self.history[-1].id if self.history else None

    @property
    def ref(self) -> str:
        """``name@tag``."""
        return f"{self.name}@{self.tag}"


def read_tag(layout: Layout, kind: str, name: str, tag: str) -> Tag:
    """The tag, with an empty history if there never was one.

    Raises:
        ConceptlibError: no name for a tag, or a damaged file.
    """
    path = layout.tag_file(kind, name, tag)
    try:
        changes = json.loads(path.read_bytes())["history"]
        return Tag(kind, name, tag, tuple(Change(one["id"], one["at"]) for one in changes))
    except FileNotFoundError:
        return Tag(kind, name, tag, ())
    except (ValueError, KeyError, TypeError) as error:
        raise ConceptlibError(
            f"the tag {name}@{tag} is damaged: {error}", where=str(path), hint="remove the file and set the tag again"
        ) from error


def all_tags(layout: Layout) -> Iterator[Tag]:
    """Every tag, those that were taken away too, by kind, name and tag."""
    for kind in KINDS:
        for path in sorted((layout.tags / kind).glob("*/*.json")):
            yield read_tag(layout, kind, name_of(path.parent.name), path.stem)


def set_tag(layout: Layout, artifact: Artifact, tag: str, *, force: bool = False) -> Tag:
    """Let a tag of the artifact's kind and name mean it. To set it again changes nothing.

    Raises:
        ConceptlibError: no name for a tag, or it means another artifact and ``force`` is not given.
    """
    layout.tag_file(artifact.kind, artifact.name, tag)  # refuses bad names before a lock is made
    with _locked(layout):
        known = read_tag(layout, artifact.kind, artifact.name, tag)
        if known.id == artifact.id:
            return known
        if known.id is not None and not force:
            raise ConceptlibError(
                f"{known.ref} is {known.id} already",
                where=f"{artifact.kind} {artifact.ref}",
                hint="choose another tag, or move it with --force",
            )
        return _write(layout, known, artifact.id)


def remove_tag(layout: Layout, kind: str, name: str, tag: str) -> Tag:
    """Take a tag away; its history stays. Returns what it was.

    Raises:
        ConceptlibError: there is none.
    """
    with _locked(layout):
        known = read_tag(layout, kind, name, tag)
        if known.id is None:
            raise ConceptlibError(f"there is no tag {name}@{tag}", hint="`conceptlib tag` lists them")
        _write(layout, known, None)
        return known


def _locked(layout: Layout) -> FileLock:
    layout.locks.mkdir(parents=True, exist_ok=True)
    return FileLock(layout.lock_file("tags"))


def _write(layout: Layout, tag: Tag, artifact_id: str | None) -> Tag:
    change = Change(artifact_id, datetime.now(UTC).isoformat(timespec="seconds"))
    new = Tag(tag.kind, tag.name, tag.tag, (*tag.history, change))
    text = json.dumps({"id": new.id, "history": [asdict(one) for one in new.history]}, indent=2) + "\n"
    files.atomic_write(layout.tag_file(tag.kind, tag.name, tag.tag), text)
    journal = Journal(layout)
    with journal.locked():
        journal.announce(TAGGED, tag.kind, tag.name, str(artifact_id or tag.id), tag=tag.tag)
    return new
