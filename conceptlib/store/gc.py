"""Throw away what interrupted work left: old drafts, removed artifacts, half-written files, records of what is gone."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from conceptlib.errors import ConceptlibError
from conceptlib.store import files, kinds
from conceptlib.store.journal import Journal
from conceptlib.store.jsonfile import loads, read_json
from conceptlib.store.layout import REMOVED_PREFIX, Layout
from conceptlib.store.names import check_kind, folder_of
from conceptlib.store.scan import Present, scan

_WRITING = 3600.0  # seconds after which a half-written file of a process that seems alive is taken for left


@dataclass(frozen=True)
class Stale:
    """Something to throw away: ``what`` it is in words, where, its size in bytes, and the seconds since it was last
    written to.
    """

    what: str
    path: Path
    size: int
    age: float


@dataclass(frozen=True)
class GcReport:
    """What was removed (with ``dry_run``: what would be), and what was kept because somebody works on it or it is
    too young.
    """

    removed: tuple[Stale, ...]
    kept: tuple[Stale, ...]
    dry_run: bool

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(one.size for one in self.removed)


def collect(layout: Layout, *, older_than: timedelta, dry_run: bool) -> GcReport:
    """See ``Store.gc``. Committed artifacts are never touched. A dry run writes nothing, not even a lock."""
    journal = Journal(layout)
    kept: list[Stale] = []
    removed = [
        *_drafts(layout, journal, older_than.total_seconds(), dry_run, kept),
        *_half_written(layout, dry_run),
        *_records(layout, journal, dry_run),
    ]
    if not dry_run and layout.root.is_dir():
        _empty_names(layout, journal)
        journal.compact()
    return GcReport(tuple(removed), tuple(kept), dry_run)


def _drafts(layout: Layout, journal: Journal, seconds: float, dry_run: bool, kept: list[Stale]) -> Iterator[Stale]:
    # Under the lock in which `rm` moves an artifact there: seen before or after, never half.
    with journal.locked() if layout.drafts.is_dir() and not dry_run else nullcontext():
        names = _listed(layout.drafts)
    for name in names:
        folder = layout.drafts / name
        with nullcontext(True) if name.startswith(REMOVED_PREFIX) else _idle(layout, name, dry_run) as idle:
            stale = _describe(folder)
            if stale is None:
                continue  # another gc was faster, or it was committed
            if not name.startswith(REMOVED_PREFIX) and not (idle and stale.age >= seconds):
                kept.append(stale)
                continue
            if not dry_run:
                shutil.rmtree(folder, ignore_errors=True)
            yield stale


@contextmanager
def _idle(layout: Layout, key: str, dry_run: bool) -> Iterator[bool]:
    """Whether nobody works on a draft. Then its lock is ours during the block, so that nobody resumes it meanwhile."""
    path = layout.lock_file(key)
    if dry_run and not path.exists():
        yield True
        return
    mutex = FileLock(path)
    try:
        mutex.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except OSError:
        yield dry_run  # it cannot be locked: to look at its age is all that can be done
        return
    try:
        yield True
    finally:
        mutex.release()


def _half_written(layout: Layout, dry_run: bool) -> Iterator[Stale]:
    """What a writer of small files, or of the catalog, left beside them when it was killed."""
    folders = [layout.root, layout.keys, layout.root / "publications"]
    for above in (layout.tags, layout.root / "found"):
        for kind in kinds.names():
            folders += [above / kind / name for name in _listed(above / kind)]
    for folder in folders:
        for name in _listed(folder):
            path = folder / name
            if not (name.startswith(".") and name.endswith(files.TMP_SUFFIX)) or _in_use(layout, name, path):
                continue
            stale = _describe(path, "half-written file")
            if stale is None:
                continue
            if not dry_run:
                files.remove(path)
            yield stale


def _in_use(layout: Layout, name: str, path: Path) -> bool:
    """Whether a temporary's writer may still be at it."""
    if name.startswith(f".{layout.catalog.name}."):
        with _idle(layout, "catalog", dry_run=True) as idle:
            return not idle
    if not files.writer_lives(name):
        return False
    stale = _describe(path)
    return stale is not None and stale.age < _WRITING


def _records(layout: Layout, journal: Journal, dry_run: bool) -> Iterator[Stale]:
    """The records of keys, and an older release's notes, whose artifact is gone; where nobody can look, none is."""
    gone = list(_gone(layout, scan(layout)))
    if not gone:
        return
    with nullcontext() if dry_run else journal.locked():
        # Again, under the lock: a commit writes its record a moment before its artifact appears.
        present = scan(layout)
        for path, folder, what in gone:
            stale = _describe(path, what)
            if stale is None or folder in present.folders or present.hides(folder):
                continue
            if not dry_run:
                path.unlink(missing_ok=True)
            yield stale


def _gone(layout: Layout, present: Present) -> Iterator[tuple[Path, str, str]]:
    """(file, artifact's folder, what it is) of what is about an artifact that is not there."""
    keys = os.fspath(layout.keys)

    @cache
    def place(kind: str, name: str) -> str:
        return f"artifacts/{check_kind(kind)}/{folder_of(name)}"

    for name in _listed(layout.keys):
        if not name.endswith(".json") or name.startswith("."):
            continue
        try:
            with open(os.path.join(keys, name), "rb") as file:  # one a key ever made: no pathlib
                record = loads(file.read())
            folder = f"{place(record['kind'], record['name'])}/{record['id']}"
        except OSError:
            continue  # gone by now, or not ours to read
        except (ValueError, KeyError, TypeError, AttributeError, ConceptlibError):
            folder = ""  # no record: the next commit of the key writes it anew
        if folder not in present.folders and not present.hides(folder):
            yield layout.keys / name, folder, "record of a key whose artifact is gone"
    for kind in kinds.names():
        for name in _listed(layout.root / "found" / kind):
            for note in _listed(layout.root / "found" / kind / name):
                folder = f"artifacts/{kind}/{name}/{note.removesuffix('.json')}"
                if note.endswith(".json") and folder not in present.folders and not present.hides(folder):
                    yield layout.root / "found" / kind / name / note, folder, "note about an artifact that is gone"


def _empty_names(layout: Layout, journal: Journal) -> None:
    """Remove the folders of names that have no artifact any more. A commit makes them anew, under the same lock."""
    names = [layout.artifacts / kind / name for kind in kinds.names() for name in _listed(layout.artifacts / kind)]
    empty = [path for path in names if not _listed(path)]
    if empty:
        with journal.locked():
            for path in empty:
                try:
                    path.rmdir()
                except OSError:
                    continue  # somebody's, or no longer empty


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _describe(path: Path, what: str = "") -> Stale | None:
    """A file or folder in words; None if it is gone."""
    try:
        newest = os.lstat(path).st_mtime
    except OSError:
        return None
    if not what:
        what = _draft_in_words(path)
    if path.is_dir() and not path.is_symlink():
        for root, _, names in os.walk(path):
            for name in ["", *names]:
                try:
                    newest = max(newest, os.lstat(os.path.join(root, name)).st_mtime)
                except OSError:
                    continue
        size = files.size_of(path)
    else:
        size = os.lstat(path).st_size if os.path.lexists(path) else 0
    return Stale(what, path, size, max(0.0, time.time() - newest))


def _draft_in_words(folder: Path) -> str:
    if folder.name.startswith(REMOVED_PREFIX):
        return "removed artifact"
    try:
        note = read_json(folder / "note.json")
        return f"draft of {note['kind']} {note['name']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "draft"
