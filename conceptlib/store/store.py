"""The store: making artifacts, finding them again, checking and removing them."""

from __future__ import annotations

import builtins
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from conceptlib.errors import ConceptlibError, NotFound, nearest
from conceptlib.store.artifact import Artifact
from conceptlib.store.draft import Draft
from conceptlib.store.gc import GcReport, collect
from conceptlib.store.home import home
from conceptlib.store.journal import REMOVED, Journal
from conceptlib.store.layout import Layout
from conceptlib.store.manifest import MANIFEST
from conceptlib.store.names import (
    KINDS,
    LATEST,
    MADE_BY,
    check_kind,
    check_name,
    check_tag,
    folder_of,
    name_of,
    split_ref,
)
from conceptlib.store.refs import parse_ref
from conceptlib.store.scan import scan
from conceptlib.store.tags import Tag, all_tags, read_tag, remove_tag, set_tag
from conceptlib.store.verify import Problem, verify_folder

_ID = re.compile(r"[0-9a-f]{16}")
_PREFIX = re.compile(r"[0-9a-f]{4,16}")


class Store:
    """All artifacts below ``root`` (default: ``conceptlib.store.home()``).

    Cheap to make; holds nothing open; any number at once.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root).expanduser().absolute() if root is not None else home()
        if self.root.exists() and not self.root.is_dir():
            raise ConceptlibError(
                "the store's root is a file", where=str(self.root), hint="set CONCEPTLIB_HOME to a folder"
            )
        self.layout = Layout(self.root)
        self.journal = Journal(self.layout)

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def draft(
        self, kind: str, name: str, *, lock: Mapping[str, Any], parents: Mapping[str, str | Artifact] | None = None
    ) -> Draft:
        """Begin, go on with, or find done, the artifact that ``lock`` and ``parents`` decide. See ``Draft``.

        Args:
            kind: one of ``KINDS``.
            name: the spec's name.
            lock: the resolved spec and everything else that decides the content; JSON.
            parents: role to id (or artifact).

        Raises:
            ConceptlibError: an unknown kind, a bad name or parent, a lock that is no JSON or holds something like a
                token.
        """
        ids = {role: parent.id if isinstance(parent, Artifact) else parent for role, parent in (parents or {}).items()}
        for role, parent in ids.items():
            if not isinstance(parent, str) or not _ID.fullmatch(parent):
                raise ConceptlibError(
                    f"the parent {role!r} is not an artifact's id: {parent!r}", hint="16 hex digits: artifact.id"
                )
        return Draft(self.layout, check_kind(kind), check_name(name), lock, ids)

    def get(self, ref: str | os.PathLike[str] | Artifact, kind: str | None = None) -> Artifact:
        """The artifact that ``ref`` means: ``name`` or ``name@latest`` (its newest), ``name@id-prefix``, ``name@tag``,
        ``name@condition`` (a subset of it, see ``store.refs``), an id prefix of 4 digits or more, or a folder.

        The newest is what was last made, or asked for by a draft and found. To ask here changes nothing.

        Args:
            kind: narrows the search; several mean the same name otherwise.

        Raises:
            NotFound: none; with the nearest names and the next command.
            ConceptlibError: an id prefix means several artifacts, or a damaged manifest stands at the folder.
        """
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

    def done(
        self, kind: str, name: str, *, lock: Mapping[str, Any], parents: Mapping[str, str | Artifact] | None = None
    ) -> Artifact | None:
        """What the same ``draft`` would find done, without opening it; None if nothing."""
        return self.layout.find_key(self.draft(kind, name, lock=lock, parents=parents).key)

    def list(self, kind: str | None = None, name: str | None = None, parent: str | None = None) -> list[Artifact]:
        """All artifacts of a kind, a name and a parent's id (each optional), newest last: what was last made, or asked
        for by a draft and found.

        Damaged manifests are logged and left out.
        """
        folders = self.journal.order(self._folders(kind, name), kind, name)
        found = [self.layout.open(self.root / folder) for folder in folders]
        return [one for one in found if one is not None and (parent is None or parent in one.manifest.parents.values())]

    def children(self, artifact: Artifact) -> builtins.list[Artifact]:
        """The artifacts that name ``artifact`` as a parent, newest last."""
        return self.list(parent=artifact.id)

    def verify(
        self,
        ref: str | os.PathLike[str] | Artifact | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> builtins.list[Problem]:
        """Re-hash one artifact, or all, and name what is damaged, missing, or not in its manifest. Changes nothing.

        Args:
            progress: called with ("verify", artifacts done, artifacts in all).
        """
        folders = [self.root / one for one in sorted(self._folders())] if ref is None else [self._folder(ref)]
        problems: list[Problem] = []
        for index, folder in enumerate(folders):
            if progress is not None:
                progress("verify", index, len(folders))
            problems.extend(verify_folder(folder, stored=self._holds(folder)))
        if progress is not None:
            progress("verify", len(folders), len(folders))
        return problems

    def rm(self, ref: str | os.PathLike[str] | Artifact, *, kind: str | None = None, dry_run: bool = False) -> Artifact:
        """Remove one artifact of this store, and return what it was. With ``dry_run`` only the checks are made.

        Raises:
            NotFound: as ``get``.
            ConceptlibError: other artifacts were made from it, a tag means it, or it lies outside the store.
        """
        artifact = self.get(ref, kind)
        if not self._holds(artifact.path):
            raise ConceptlibError("not in this store", where=str(artifact.path), hint=f"the store is {self.root}")
        twins = [one for one in self.list() if one.id == artifact.id and one.path != artifact.path]
        children = [] if twins else self.children(artifact)
        if children:
            raise ConceptlibError(
                f"{len(children)} artifact(s) were made from {artifact.kind} {artifact.ref}: "
                + ", ".join(f"{one.kind} {one.ref}" for one in children[:5]),
                where=str(artifact.path),
                hint="remove those first",
            )
        if tags := self.tags(artifact):
            raise ConceptlibError(
                f"{artifact.kind} {artifact.ref} has the tag {', '.join(one.ref for one in tags)}",
                where=str(artifact.path),
                hint=f"conceptlib untag {tags[0].ref}",
            )
        if not dry_run:
            with self.journal.locked():
                aside = self.layout.set_aside(artifact.path)
                self.journal.announce(REMOVED, artifact.kind, artifact.name, artifact.id)
            shutil.rmtree(aside, ignore_errors=True)
        return artifact

    def tag(
        self, ref: str | os.PathLike[str] | Artifact, tag: str, *, kind: str | None = None, force: bool = False
    ) -> Tag:
        """Let ``name@tag`` mean an artifact of this store; see ``conceptlib.store.tags``.

        Raises:
            NotFound: as ``get``.
            ConceptlibError: no name for a tag; it means another artifact and ``force`` is not given; the artifact lies
                outside the store.
        """
        artifact = self.get(ref, kind)
        if not self._holds(artifact.path):
            raise ConceptlibError("not in this store", where=str(artifact.path), hint=f"the store is {self.root}")
        return set_tag(self.layout, artifact, tag, force=force)

    def untag(self, ref: str, *, kind: str | None = None) -> Tag:
        """Take the tag ``name@tag`` away, and return what it was. The artifact stays.

        Raises:
            ConceptlibError: there is none, or several kinds have it and ``kind`` is not given.
        """
        name, tag = split_ref(ref)
        known = self._tags_of(ref, kind)
        if len(known) > 1:
            raise ConceptlibError(f"{ref} is a tag of {len(known)} kinds", hint="say which: --kind")
        return remove_tag(self.layout, known[0].kind if known else kind or KINDS[0], check_name(name), check_tag(tag))

    def tags(self, artifact: Artifact | None = None) -> builtins.list[Tag]:
        """The tags that mean something (of one artifact, or all), by kind, name and tag."""
        of = None if artifact is None else (artifact.kind, artifact.name, artifact.id)
        return [one for one in all_tags(self.layout) if one.id and of in (None, (one.kind, one.name, one.id))]

    def gc(self, *, older_than: timedelta = timedelta(days=7), dry_run: bool = False) -> GcReport:
        """Remove drafts that nobody works on and nothing was written to for ``older_than``; see
        ``conceptlib.store.gc``.
        """
        return collect(self.layout, older_than=older_than, dry_run=dry_run)

    def _folders(self, kind: str | None = None, name: str | None = None) -> set[str]:
        """Every artifact's folder relative to the root, of a kind and a name if given."""
        kinds = [check_kind(kind)] if kind else KINDS
        name_folder = folder_of(name) if name else None
        return {folder for one in kinds for folder in scan(self.layout, one, name_folder).folders}

    def _holds(self, path: Path) -> bool:
        """Whether ``path`` lies in this store, whatever links lead there."""
        return path.resolve().is_relative_to(self.layout.artifacts.resolve())

    def _folder(self, ref: str | os.PathLike[str] | Artifact) -> Path:
        """The folder to verify: also of an artifact whose manifest can no longer be read."""
        if isinstance(ref, Artifact):
            return ref.path
        text = os.fspath(ref)
        prefix = text.rpartition("@")[2]
        if _PREFIX.fullmatch(prefix):
            hits = [self.root / one for one in self._folders() if one.rpartition("/")[2].startswith(prefix)]
            if len(hits) == 1:
                return hits[0]
        path = Path(text).expanduser().absolute()
        return path if self._holds(path) and path.is_dir() else self.get(text).path

    def _by_path(self, text: str) -> Artifact | None:
        path = Path(text).expanduser()
        if path.name == MANIFEST:
            path = path.parent
        # A bare word is a name, even where a folder is called the same: "icd-qr" must not change its meaning with the
        # directory.
        looks_like_path = path.is_absolute() or text.startswith((".", "~")) or os.sep in text
        return Artifact.open(path) if looks_like_path and (path / MANIFEST).is_file() else None

    def _by_name(self, text: str, kind: str | None) -> Artifact | None:
        name, prefix = split_ref(text)
        try:
            check_name(name)
        except ConceptlibError:
            return None
        prefix = "" if prefix == LATEST else prefix
        found = [one for one in self.list(kind, name) if one.id.startswith(prefix)]
        if prefix and len({one.id for one in found}) > 1:
            raise self._ambiguous(text, found)
        return found[-1] if found else None

    def _by_selector(self, text: str, kind: str | None) -> Artifact | None:
        """The newest subset that this label or condition stands for, of the version that is meant without it."""
        ref = parse_ref(text)
        if not ref.selector or kind not in (None, "dataset"):
            return None
        base = self._by_name(ref.base, "dataset") or self._by_tag(ref.base, "dataset")
        children = self.list("dataset", parent=base.id) if base else []
        found = [one for one in children if ref.selector in one.info.get("selectors", ())]
        return found[-1] if found else None

    def _by_tag(self, text: str, kind: str | None) -> Artifact | None:
        """What a tag means. One whose artifact is gone, or that several kinds have, is an error, not another."""
        known = self._tags_of(text, kind)
        if len({tag.kind for tag in known}) > 1:
            kinds = " and ".join(tag.kind for tag in known)
            raise ConceptlibError(
                f"{text!r} is a tag of {kinds}", hint="give the id instead; `conceptlib tag` lists both"
            )
        for tag in known:
            found = self.layout.open(self.layout.artifact_folder(tag.kind, tag.name, str(tag.id)))
            if found is None:
                raise NotFound(
                    f"{text} is {tag.id}, which is not in this store", where=str(self.root), hint="make it again"
                )
            return found
        return None

    def _tags_of(self, ref: str, kind: str | None) -> builtins.list[Tag]:
        """The tags, one a kind, that a reference may mean."""
        name, tag = split_ref(ref)
        try:
            check_name(name)
            check_tag(tag)
        except ConceptlibError:
            return []
        found = [read_tag(self.layout, one, name, tag) for one in ([kind] if kind else KINDS)]
        return [one for one in found if one.id is not None]

    def _by_prefix(self, text: str, kind: str | None) -> Artifact | None:
        if not _PREFIX.fullmatch(text):
            return None
        hits = [folder for folder in self._folders(kind) if folder.rpartition("/")[2].startswith(text)]
        found = [self.layout.open(self.root / folder) for folder in hits]
        whole = sorted((one for one in found if one is not None), key=lambda one: (one.created, one.id))
        if len({one.id for one in whole}) > 1:
            raise self._ambiguous(text, whole)
        return whole[-1] if whole else None

    def _ambiguous(self, text: str, found: builtins.list[Artifact]) -> ConceptlibError:
        return ConceptlibError(
            f"{text!r} means {len(found)} artifacts: " + ", ".join(f"{one.kind} {one.ref}" for one in found[:5]),
            hint="write more digits",
        )

    def _not_found(self, text: str, kind: str | None) -> NotFound:
        name = text.partition("@")[0]
        kinds = [kind] if kind else list(KINDS)
        names = {
            name_of(path.name): one
            for one in kinds
            for path in (self.layout.artifacts / one).glob("*")
            if any(path.glob("*"))
        }
        near = nearest(name, names, count=3)
        what = f"no {kind or 'artifact'} {text!r}"
        if near:
            what += "; nearest: " + ", ".join(f"{one} ({names[one]})" for one in near)
        made = MADE_BY[kind].format(name=name) if kind else ""
        try:
            folder_of(name)
        except ConceptlibError:
            made = ""
        ref = parse_ref(text)
        if ref.selector and not ref.word:
            made = f"conceptlib build {shlex.quote(text)}"
        look = "`conceptlib catalog ls` shows what is there"
        return NotFound(what, where=str(self.root), hint=f"`{made}` makes it; {look}" if made else look)
