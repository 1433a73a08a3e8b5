"""A draft: an artifact while it is being made. It survives interruptions and becomes visible all at once."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from conceptlib.errors import ConceptlibError
from conceptlib.redaction import refuse_secrets
from conceptlib.store import files
from conceptlib.store.artifact import Artifact
from conceptlib.store.hashing import artifact_id, artifact_key, digest, plain, sha256_file
from conceptlib.store.journal import FOUND, MADE, Journal
from conceptlib.store.jsonfile import check_depth, read_json
from conceptlib.store.layout import Layout
from conceptlib.store.manifest import MANIFEST, FileEntry, Manifest, environment
from conceptlib.store.names import check_new, check_path, folder_of

logger = logging.getLogger(__name__)
PATIENCE = 1.0
"""Seconds that a draft waits for another process before it says so."""


class Draft:
    """Use it as a context manager (``Store.draft``). Between enter and exit this process holds the key's lock.

    ``done`` is the artifact that the same lock and parents gave before, or None; its name then means it, as if it had
    been made now. ``path`` is the staging folder; what an interrupted attempt finished is still in it. Leaving the
    block without ``commit``, by an error or Ctrl-C, keeps the folder.
    """

    def __init__(
        self,
        layout: Layout,
        kind: str,
        name: str,
        lock: Mapping[str, Any],
        parents: Mapping[str, str],
        inside: Iterable[str] = (),
        outside: Iterable[str] = (),
    ) -> None:
        """See ``Store.draft``. ``inside``: the parents that stand in this store and must stand there at the commit;
        ``outside``: those that lie elsewhere. Of the others it is found out.
        """
        self.kind, self.name = kind, name
        self.lock: dict[str, Any] = plain(lock)
        _refuse_depth(self.lock, "lock")
        self.parents: dict[str, str] = dict(sorted(parents.items()))
        refuse_secrets(self.lock, "lock")
        self.key = artifact_key(kind, name, self.lock, self.parents)
        self.done: Artifact | None = None
        self._inside, self._outside = set(inside), set(outside)
        self._layout = layout
        self._journal = Journal(layout)
        self._mutex = FileLock(layout.lock_file(self.key))
        self._spent = 0.0  # seconds of earlier attempts
        self._started = 0.0
        self._open = False

    @property
    def path(self) -> Path:
        """The staging folder for the artifact's files.

        Write files whole: ``store.files.atomic_path``, or "x.tmp" then rename.
        """
        return self._layout.staging_files(self.key)

    def __enter__(self) -> Draft:
        try:
            self._layout.locks.mkdir(parents=True, exist_ok=True)
            self._mutex.acquire(timeout=PATIENCE)
        except Timeout:  # a warning, since nothing else is seen until the other is done
            logger.warning("another process is making %s %s; waiting for it", self.kind, self.name)
            self._mutex.acquire()
        except OSError as error:
            # A store that cannot be written to, or a full disk: what is there is found all the same.
            self.done = self._layout.find_key(self.key)
            if self.done is None:
                raise files.disk_full(error, self._layout.root) or error from None
            return self
        try:
            self._started = time.monotonic()
            self.done = self._layout.find_key(self.key)
            if self.done is None:
                check_new(self.kind, self.name, folder_of(self.name), self._layout.names(self.kind))
                self._resume()
                self._look_for_parents()
                self._open = True
            else:
                self._journal.found(self.kind, self.name, self.done.id, self.done.parents.values())
        except BaseException as error:
            self._mutex.release()
            if full := files.disk_full(error, self._layout.root):
                raise full from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._open:
                with contextlib.suppress(OSError):  # the note is a nicety, and must not hide `error`
                    self._note(self._seconds())
            if full := files.disk_full(error, self.path):
                raise full from error
        finally:
            self._open = False
            self._mutex.release()

    def commit(
        self, *, content: str | None = None, info: Mapping[str, Any] | None = None, volatile: Sequence[str] = ()
    ) -> Artifact:
        """Make the artifact visible, durably and in one step.

        Args:
            content: the producer's own digest of what the artifact is (when its files' bytes may differ between equal
                runs, as Parquet's do between versions); else the digest over its non-volatile files.
            info: what should be known about it; JSON. ``info["device"]`` is copied into the manifest's environment.
            volatile: relative paths or glob patterns of files that differ from run to run.

        Returns:
            The artifact; one that is there already with the same id (the same content by another way) is kept and
            returned.

        Raises:
            ConceptlibError: outside the block, twice, nothing was written, a reserved file name, a link, something
                like a token in ``info``, or the disk is full. The staging folder is kept.
        """
        if not self._open:
            raise ConceptlibError(
                f"the draft of {self.kind} {self.name} is not open",
                hint="commit once, inside the `with` block, when `done` is None",
            )
        known = plain(info or {})
        _refuse_depth(known, "info")
        refuse_secrets(known, "info")
        files.remove_leftovers(self.path)
        entries = self._entries(volatile)
        if not entries and content is None:
            raise ConceptlibError(
                f"the {self.kind} {self.name} has no files",
                where=str(self.path),
                hint="write files into draft.path first",
            )
        own = digest({entry.path: entry.sha256 for entry in entries if not entry.volatile})
        manifest = Manifest(
            id=artifact_id(self.kind, content or own, self.parents),
            key=self.key,
            kind=self.kind,
            name=self.name,
            parents=self.parents,
            lock=self.lock,
            info=known,
            files=tuple(entries),
            content=content or own,
            content_from="producer" if content else "files",
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            seconds=round(self._seconds(), 3),
            environment=environment() | ({"device": known["device"]} if "device" in known else {}),
        )
        artifact = self._place(manifest)
        self._open = False
        return artifact

    def _entries(self, volatile: Sequence[str]) -> list[FileEntry]:
        entries = []
        for path in files.walk(self.path):
            relative = path.relative_to(self.path).as_posix()
            if relative != MANIFEST:
                _refuse_path(relative, path)
            if relative == MANIFEST:
                # Left by an attempt that was stopped between writing the manifest and the rename: ours replaces it.
                path.unlink()
                continue
            files.fsync(path)
            entries.append(
                FileEntry(
                    path=relative,
                    sha256=sha256_file(path),
                    size=path.stat().st_size,
                    volatile=any(fnmatchcase(relative, pattern) for pattern in volatile),
                )
            )
        return entries

    def _place(self, manifest: Manifest) -> Artifact:
        """Write the manifest last, then rename.

        The key's record goes first: it counts only once the artifact is there.
        """
        files.atomic_write(self.path / MANIFEST, manifest.to_json())
        for folder in sorted({path.parent for path in self.path.rglob("*")}):
            files.fsync(folder)
        target = self._layout.artifact_folder(self.kind, self.name, manifest.id)
        with self._journal.locked():
            self._refuse_orphan()
            self._layout.write_key(self.key, self.kind, self.name, manifest.id)
            what = MADE
            if not files.rename_folder(self.path, target):
                standing = self._layout.open(target)
                if standing is None or standing.missing():  # its manifest or a file is gone: ours is the good one
                    self._layout.set_aside(target)
                    files.rename_folder(self.path, target)
                else:
                    what = FOUND
            self._journal.announce(what, self.kind, self.name, manifest.id, self.parents.values())
        shutil.rmtree(self._layout.staging(self.key), ignore_errors=True)
        return Artifact.open(target)

    def _look_for_parents(self) -> None:
        """Which parents this store holds, of those that were given by their ids."""
        for role, parent in self.parents.items():
            if parent in self._inside or parent in self._outside:
                continue
            if self._journal.places(parent):
                self._inside.add(parent)
                continue
            with self._journal.locked():  # who removes it this moment has moved it, and not yet said so
                if self._journal.removed(parent):
                    raise self._orphan(role, parent)

    def _refuse_orphan(self) -> None:
        """A parent that stood in this store must stand there still. The caller holds the journal's lock, as who removes
        it does.
        """
        for role, parent in self.parents.items():
            if parent in self._inside and not self._journal.places(parent):
                raise self._orphan(role, parent)

    def _orphan(self, role: str, parent: str) -> ConceptlibError:
        return ConceptlibError(
            f"the {role} {parent}, which this {self.kind} {self.name} is made from, was removed from the store",
            where=str(self._layout.root),
            hint="make that again, then run the same command: it resumes",
        )

    def _resume(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            note = read_json(self._layout.staging_note(self.key))
            self._spent = float(note["seconds"])
            note["parents"].values()  # `rm` reads them: an older release's note has them as well
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            self._note(0.0)

    def _note(self, seconds: float) -> None:
        """What ``gc`` tells people about a staging folder, and the time spent so far."""
        note = {"kind": self.kind, "name": self.name, "parents": self.parents, "seconds": round(seconds, 3)}
        files.atomic_write(self._layout.staging_note(self.key), json.dumps(note))

    def _seconds(self) -> float:
        return self._spent + time.monotonic() - self._started


def _refuse_depth(value: Any, where: str) -> None:
    try:
        check_depth([value])  # the manifest is one level more
    except ValueError as error:
        raise ConceptlibError(f"too deep for a manifest: {error}", where=where, hint="flatten it") from error


def _refuse_path(relative: str, path: Path) -> None:
    try:
        check_path(relative)
    except ValueError as error:
        raise ConceptlibError(str(error), where=str(path), hint="rename the file") from error
