"""What a reference means: a folder, a name, a version, a tag, a subset, the first digits of an id."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from conceptlib.errors import ConceptlibError, NotFound, nearest
from conceptlib.store import kinds
from conceptlib.store.artifact import Artifact
from conceptlib.store.journal import Journal
from conceptlib.store.layout import Layout
from conceptlib.store.manifest import MANIFEST
from conceptlib.store.names import (
    LATEST,
    check_kind,
    check_name,
    check_tag,
    folder_of,
    name_of,
    split_ref,
)
from conceptlib.store.refs import parse_ref
from conceptlib.store.scan import scan
from conceptlib.store.tags import Tag, read_tag

_PREFIX = re.compile(r"[0-9a-f]{4,16}")


def is_path(text: str) -> bool:
    """Whether a reference may be a folder's. A bare word is a name, even where a folder is called the same: "icd-qr"
    must not change its meaning with the directory.
    """
    return os.path.isabs(text) or text.startswith((".", "~")) or os.sep in text


class Finder:
    """Finds artifacts in the store of ``layout``. Writes nothing."""

    def __init__(self, layout: Layout, journal: Journal) -> None:
        self._layout = layout
        self._journal = journal

    def get(self, ref: str | os.PathLike[str] | Artifact, kind: str | None = None) -> Artifact:
        """See ``Store.get``."""
        if isinstance(ref, Artifact):
            return ref
        if kind is not None:
            check_kind(kind)
        text = os.fspath(ref)
        found = (
            self._by_path(text)
            or self._by_name(text, kind)
            or self._by_tag(text, kind)
            or self._by_selector(text, kind)
            or self._by_prefix(text, kind)
        )
        if found is None:
            raise self._not_found(text, kind)
        if kind is not None and found.kind != kind:
            raise NotFound(f"{text} is of kind {found.kind}, not {kind}", where=str(found.path))
        return found

    def newest(self, name: str, kind: str) -> Artifact | None:
        """What was last made or found of a kind and name; None if there is none.

        Raises:
            ConceptlibError: there are some, and none of their manifests can be read.
        """
        events, _ = self._journal.standing(kind, name)
        for folder in reversed(events):
            if (found := self._layout.open(self._layout.root / folder)) is not None:
                return found
        damaged = [folder for folder in reversed(events) if os.path.lexists(self._layout.root / folder / MANIFEST)]
        if damaged:
            raise ConceptlibError(
                f"the {kind} {name} is damaged: its manifest cannot be read",
                where=str(self._layout.root / damaged[0]),
                hint="`conceptlib verify` says what is wrong; make it again, or remove the folder",
            )
        return None

    def folders_of(self, text: str, kind: str | None) -> list[str]:
        """The folders, relative to the root, whose ids begin with the digits that a reference ends with."""
        name, prefix = split_ref(text) if "@" in text else ("", text)
        if not _PREFIX.fullmatch(prefix):
            return []
        try:
            present = scan(self._layout, kind, folder_of(name) if name else None)
        except ConceptlibError:
            return []
        return sorted(one for one in present.folders if one.rpartition("/")[2].startswith(prefix))

    def tags_of(self, ref: str, kind: str | None) -> list[Tag]:
        """The tags, one a kind, that a reference may mean."""
        name, tag = split_ref(ref)
        try:
            check_name(name)
            check_tag(tag)
        except ConceptlibError:
            return []
        found = [read_tag(self._layout, one, name, tag) for one in ([kind] if kind else kinds.names())]
        return [one for one in found if one.id is not None]

    def _by_path(self, text: str) -> Artifact | None:
        path = Path(text).expanduser() if "\0" not in text else Path()
        if path.name == MANIFEST:
            path = path.parent
        return Artifact.open(path) if is_path(text) and os.path.isfile(path / MANIFEST) else None

    def _by_name(self, text: str, kind: str | None) -> Artifact | None:
        name, version = split_ref(text)
        try:
            check_name(name)
        except ConceptlibError:
            return None
        if version in ("", LATEST):
            found = (self.newest(name, one) for one in ([kind] if kind else kinds.by_precedence()))
            return next((one for one in found if one is not None), None)
        digits = version if _PREFIX.fullmatch(version) or re.fullmatch("[0-9a-f]{1,3}", version) else ""
        if not digits:
            return None
        hits = [
            folder for folder in scan(self._layout, kind, folder_of(name)).folders if _id(folder).startswith(digits)
        ]
        return self._the_one(text, hits)

    def _by_selector(self, text: str, kind: str | None) -> Artifact | None:
        """The newest subset that this label or condition stands for, of the version that is meant without it."""
        ref = parse_ref(text)
        if not ref.selector or kind not in (None, "dataset"):
            return None
        base = self._by_name(ref.base, "dataset") or self._by_tag(ref.base, "dataset")
        if base is None:
            return None
        events, _ = self._journal.standing("dataset")
        for folder in reversed(events):
            if base.id in (events[folder].parents or ()):
                found = self._layout.open(self._layout.root / folder)
                if found is not None and ref.selector in found.info.get("selectors", ()):
                    return found
        return None

    def _by_tag(self, text: str, kind: str | None) -> Artifact | None:
        """What a tag means. One whose artifact is gone, or that several kinds have, is an error, not another."""
        known = self.tags_of(text, kind)
        if len({tag.kind for tag in known}) > 1:
            kinds = " and ".join(tag.kind for tag in known)
            raise ConceptlibError(
                f"{text!r} is a tag of {kinds}",
                hint="say which with --kind, or give the id; `conceptlib tag` lists both",
            )
        for tag in known:
            found = self._layout.open(self._layout.artifact_folder(tag.kind, tag.name, str(tag.id)))
            if found is None:
                raise NotFound(
                    f"{text} is {tag.id}, which is not in this store",
                    where=str(self._layout.root),
                    hint="make it again",
                )
            return found
        return None

    def _by_prefix(self, text: str, kind: str | None) -> Artifact | None:
        if not _PREFIX.fullmatch(text):
            return None
        return self._the_one(text, [one for one in scan(self._layout, kind).folders if _id(one).startswith(text)])

    def _the_one(self, text: str, folders: list[str]) -> Artifact | None:
        """The artifact in these folders; of equal ones (under several names or kinds) the first by kind and name.

        Raises:
            ConceptlibError: they are several, or its manifest cannot be read.
        """
        found = [one for folder in folders if (one := self._layout.open(self._layout.root / folder)) is not None]
        if len({one.id for one in found}) > 1:
            raise ConceptlibError(
                f"{text!r} means {len(found)} artifacts: " + ", ".join(f"{one.kind} {one.ref}" for one in found[:5]),
                hint="write more digits",
            )
        if not found and len(folders) == 1 and os.path.lexists(self._layout.root / folders[0] / MANIFEST):
            Artifact.open(self._layout.root / folders[0])  # says what is wrong
        return min(found, key=lambda one: (kinds.get(one.kind).precedence, one.name), default=None)

    def _not_found(self, text: str, kind: str | None) -> NotFound:
        name = text.partition("@")[0]
        names = {name_of(one.split("/")[2]): one.split("/")[1] for one in scan(self._layout, kind).folders}
        near = nearest(name, names, count=3)
        what = f"no {kind or 'artifact'} {text!r}"
        if near:
            what += "; nearest: " + ", ".join(f"{one} ({names[one]})" for one in near)
        made = kinds.get(kind).made_by.format(name=name) if kind else ""
        try:
            folder_of(name)
        except ConceptlibError:
            made = ""
        ref = parse_ref(text)
        if ref.selector and not ref.word:
            made = f"conceptlib build {shlex.quote(text)}"
        look = "`conceptlib catalog ls` shows what is there"
        return NotFound(what, where=str(self._layout.root), hint=f"`{made}` makes it; {look}" if made else look)


def _id(folder: str) -> str:
    return folder.rpartition("/")[2]
