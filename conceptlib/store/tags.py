"""Tags: names for versions. `icd-qr@v1` means one artifact until somebody moves the tag, and says so.

A tag is a small file beside the artifacts, `tags/<kind>/<name>/<tag>.json`: what it means now, and everything it has
meant. Ids never change their meaning; what goes into a lock or a manifest is always the id.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.store import files, kinds
from conceptlib.store.journal import TAGGED, Journal
from conceptlib.store.jsonfile import read_json
from conceptlib.store.layout import Layout
from conceptlib.store.names import check_new, folder_of, name_of

ID = re.compile(r"[0-9a-f]{16}")

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from conceptlib.store.artifact import Artifact


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
        return Tag(kind, name, tag, tuple(_change(one) for one in read_json(path)["history"]))
    except (FileNotFoundError, NotADirectoryError):
        return Tag(kind, name, tag, ())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConceptlibError(
            f"the tag {name}@{tag} is damaged: {error}", where=str(path), hint="remove the file and set the tag again"
        ) from error


def _change(raw: Any) -> Change:
    identity, at = raw["id"], raw["at"]
    if not isinstance(at, str) or not (identity is None or (isinstance(identity, str) and ID.fullmatch(identity))):
        raise ValueError(f"no change of a tag: {str(raw)[:80]}")
    return Change(identity, at)


def all_tags(layout: Layout, damaged: list[str] | None = None) -> Iterator[Tag]:
    """Every tag, those that were taken away too, by kind, name and tag. A file that is no tag's is left out with a line
    in the log, and its path is added to ``damaged``.
    """
    for kind in kinds.names():
        for name in _names(layout.tags / kind):
            yield from tags_named(layout, kind, name_of(name), damaged)


def tags_named(layout: Layout, kind: str, name: str, damaged: list[str] | None = None) -> Iterator[Tag]:
    """As ``all_tags``, of one kind and name."""
    try:
        folder = layout.tags / kind / folder_of(name)
    except ConceptlibError:
        return
    for file in _names(folder):
        if not file.endswith(".json") or file.startswith("."):
            continue
        try:
            yield read_tag(layout, kind, name, file.removesuffix(".json"))
        except ConceptlibError as error:
            logger.warning("left out: %s", error)
            if damaged is not None:
                damaged.append(str(folder / file))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def set_tag(layout: Layout, artifact: Artifact, tag: str, *, force: bool = False) -> Tag:
    """Let a tag of the artifact's kind and name mean it. To set it again changes nothing.

    Raises:
        ConceptlibError: no name for a tag, one that some file system cannot hold beside those that are there
            (``names.check_new``), or it means another artifact and ``force`` is not given.
    """
    path = layout.tag_file(artifact.kind, artifact.name, tag)  # refuses bad names before a lock is made
    with _locked(layout):
        check_new("tag", tag, path.name, _names(path.parent))
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
    journal = Journal(layout)
    with journal.locked():  # as `rm` does: what is removed this moment gets no tag
        if artifact_id and not layout.artifact_folder(tag.kind, tag.name, artifact_id).is_dir():
            raise NotFound(f"{tag.kind} {tag.name}@{artifact_id} was removed meanwhile", where=str(layout.root))
        files.atomic_write(layout.tag_file(tag.kind, tag.name, tag.tag), text)
        journal.announce(TAGGED, tag.kind, tag.name, str(artifact_id or tag.id), tag=tag.tag)
    return new
