"""The store: making artifacts, finding them again, checking and removing them."""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from conceptlib.errors import ConceptlibError
from conceptlib.paths import home
from conceptlib.progress import Progress
from conceptlib.store import kinds
from conceptlib.store.artifact import Artifact
from conceptlib.store.draft import Draft
from conceptlib.store.gc import GcReport, collect
from conceptlib.store.journal import Journal
from conceptlib.store.layout import Layout
from conceptlib.store.names import check_kind, check_name, check_tag, split_ref
from conceptlib.store.removal import remove
from conceptlib.store.repair import Repair, repair
from conceptlib.store.resolve import Finder, is_path
from conceptlib.store.scan import scan
from conceptlib.store.tags import Tag, all_tags, remove_tag, set_tag, tags_named
from conceptlib.store.verify import Problem, verify_folder

_ID = re.compile(r"[0-9a-f]{16}")


class Store:
    """All artifacts below ``root`` (default: ``conceptlib.paths.home()``).

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
        self._finder = Finder(self.layout, self.journal)

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def draft(
        self, kind: str, name: str, *, lock: Mapping[str, Any], parents: Mapping[str, str | Artifact] | None = None
    ) -> Draft:
        """Begin, go on with, or find done, the artifact that ``lock`` and ``parents`` decide. See ``Draft``.

        Args:
            kind: one of ``kinds.names()``.
            name: the spec's name.
            lock: the resolved spec and everything else that decides the content; JSON.
            parents: role to artifact, or id. Those that stand in this store must stand there at the commit, too; one
                that lies elsewhere is given as an artifact.

        Raises:
            ConceptlibError: an unknown kind, a bad name or parent (also one that was removed), a lock that is no JSON
                or holds something like a token. When the draft is opened: the name is new, and some file system cannot
                hold it beside those that are there (``names.check_new``).
        """
        ids = {role: parent.id if isinstance(parent, Artifact) else parent for role, parent in (parents or {}).items()}
        for role, parent in ids.items():
            if not isinstance(parent, str) or not _ID.fullmatch(parent):
                raise ConceptlibError(
                    f"the parent {role!r} is not an artifact's id: {parent!r}", hint="16 hex digits: artifact.id"
                )
        given = [parent for parent in (parents or {}).values() if isinstance(parent, Artifact)]
        inside = {parent.id for parent in given if self._holds(parent.path)}
        outside = {parent.id for parent in given} - inside
        return Draft(self.layout, check_kind(kind), check_name(name), lock, ids, inside, outside)

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
        return self._finder.get(ref, kind)

    def namesakes(self, artifact: Artifact) -> builtins.list[Artifact]:
        """What the artifact's name means of the other kinds: the newest of each. To be said where a name was given
        without a kind.
        """
        found = (self._finder.newest(artifact.name, kind) for kind in kinds.by_precedence() if kind != artifact.kind)
        return [one for one in found if one is not None]

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
        if kind is not None:
            check_kind(kind)
        events, _ = self.journal.standing(kind, name)
        folders = [
            one for one, event in events.items() if parent is None or parent in _or_itself(event.parents, parent)
        ]
        found = [self.layout.open(self.root / folder) for folder in folders]
        return [one for one in found if one is not None and (parent is None or parent in one.manifest.parents.values())]

    def children(self, artifact: Artifact) -> builtins.list[Artifact]:
        """The artifacts that name ``artifact`` as a parent, newest last."""
        return self.list(parent=artifact.id)

    def verify(
        self,
        ref: str | os.PathLike[str] | Artifact | None = None,
        progress: Progress | None = None,
        *,
        kind: str | None = None,
    ) -> builtins.list[Problem]:
        """Re-hash one artifact, or all, and name what is damaged, missing, or not in its manifest. Changes nothing.

        Args:
            progress: called with ("verify", artifacts done, artifacts in all).
            kind: narrows what ``ref`` means.
        """
        folders, problems = self._to_verify(ref, kind)
        for index, folder in enumerate(folders):
            if progress is not None:
                progress("verify", index, len(folders))
            problems.extend(verify_folder(folder, stored=self._holds(folder)))
        if progress is not None:
            progress("verify", len(folders), len(folders))
        return problems

    def repair(
        self,
        ref: str | os.PathLike[str] | Artifact | None = None,
        progress: Progress | None = None,
        *,
        kind: str | None = None,
    ) -> builtins.list[Repair]:
        """Mend what ``verify`` finds in this store. Damaged files that an equal artifact has are copied back; others
        are taken out, so that a draft with the artifact's lock no longer finds it done and makes these bytes again.

        Raises:
            ConceptlibError: the artifact lies outside the store.
        """
        repairs: builtins.list[Repair] = []
        folders, _ = self._to_verify(ref, kind)
        for index, folder in enumerate(folders):
            if not self._holds(folder):
                raise ConceptlibError("not in this store", where=str(folder), hint=f"the store is {self.root}")
            if progress is not None:
                progress("verify", index, len(folders))
            seen: set[Path] = set()  # what is taken out may have hidden more
            while problems := [one for one in verify_folder(folder) if one.path not in seen]:
                seen.update(one.path for one in problems)
                repairs.extend(repair(self.layout, self.journal, folder, problems))
        if progress is not None:
            progress("verify", len(folders), len(folders))
        return repairs

    def _to_verify(
        self, ref: str | os.PathLike[str] | Artifact | None, kind: str | None
    ) -> tuple[builtins.list[Path], builtins.list[Problem]]:
        """The folders to verify, and what cannot even be looked into."""
        if ref is not None:
            return [self._folder(ref, kind)], []
        present = scan(self.layout, kind)
        problems = [Problem(one, "unreadable", self.root / one, why) for one, why in present.unreadable.items()]
        return [self.root / one for one in sorted(present.folders)], problems

    def rm(self, ref: str | os.PathLike[str] | Artifact, *, kind: str | None = None, dry_run: bool = False) -> Artifact:
        """Remove one artifact of this store, and return what it was. With ``dry_run`` only the checks are made.

        Raises:
            NotFound: as ``get``.
            ConceptlibError: other artifacts were made from it, a tag means it, or it lies outside the store.
        """
        artifact = self.get(ref, kind)
        self._must_hold(artifact)
        return remove(self.layout, self.journal, artifact, dry_run=dry_run)

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
        self._must_hold(artifact)
        return set_tag(self.layout, artifact, tag, force=force)

    def untag(self, ref: str, *, kind: str | None = None) -> Tag:
        """Take the tag ``name@tag`` away, and return what it was. The artifact stays.

        Raises:
            ConceptlibError: there is none, or several kinds have it and ``kind`` is not given.
        """
        name, tag = split_ref(ref)
        known = self._finder.tags_of(ref, kind)
        if len(known) > 1:
            raise ConceptlibError(f"{ref} is a tag of {len(known)} kinds", hint="say which: --kind")
        of_kind = known[0].kind if known else kind or kinds.names()[0]
        return remove_tag(self.layout, of_kind, check_name(name), check_tag(tag))

    def tags(self, artifact: Artifact | None = None) -> builtins.list[Tag]:
        """The tags that mean something (of one artifact, or all), by kind, name and tag."""
        if artifact is None:
            return [one for one in all_tags(self.layout) if one.id]
        return [one for one in tags_named(self.layout, artifact.kind, artifact.name) if one.id == artifact.id]

    def gc(self, *, older_than: timedelta = timedelta(days=7), dry_run: bool = False) -> GcReport:
        """Remove drafts that nobody works on and nothing was written to for ``older_than``; see
        ``conceptlib.store.gc``.
        """
        return collect(self.layout, older_than=older_than, dry_run=dry_run)

    def _holds(self, path: Path) -> bool:
        """Whether ``path`` lies in this store, whatever links lead there."""
        return path.resolve().is_relative_to(self.layout.artifacts.resolve())

    def _must_hold(self, artifact: Artifact) -> None:
        if not self._holds(artifact.path):
            raise ConceptlibError("not in this store", where=str(artifact.path), hint=f"the store is {self.root}")

    def _folder(self, ref: str | os.PathLike[str] | Artifact, kind: str | None) -> Path:
        """The folder to verify: also of an artifact whose manifest can no longer be read."""
        if isinstance(ref, Artifact):
            return ref.path
        text = os.fspath(ref)
        path = Path(text).expanduser().absolute()
        if is_path(text) and self._holds(path) and path.is_dir():
            return path
        hits = self._finder.folders_of(text, kind)
        return self.root / hits[0] if len(hits) == 1 else self.get(text, kind).path


def _or_itself(parents: tuple[str, ...] | None, parent: str) -> tuple[str, ...]:
    """The parents, or, where nobody could read them, what is looked for: the manifest then has to tell."""
    return (parent,) if parents is None else parents
