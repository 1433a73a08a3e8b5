"""Throw away what interrupted work left: old drafts, removed artifacts, records of keys whose artifact is gone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from conceptlib.store import files
from conceptlib.store.layout import REMOVED_PREFIX, Layout


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
    """See ``Store.gc``. Committed artifacts are never touched."""
    removed: list[Stale] = []
    kept: list[Stale] = []
    if layout.drafts.is_dir() or layout.keys.is_dir():
        layout.locks.mkdir(exist_ok=True)
    for folder in sorted(layout.drafts.glob("*")):
        stale = _describe(folder)
        if folder.name.startswith(REMOVED_PREFIX):
            removed.append(stale)
            if not dry_run:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        # A draft that a process holds is in use, however old; with its lock taken nobody resumes it meanwhile.
        try:
            with FileLock(layout.lock_file(folder.name)).acquire(timeout=0):
                if stale.age < older_than.total_seconds():
                    kept.append(stale)
                    continue
                removed.append(stale)
                if not dry_run:
                    shutil.rmtree(folder, ignore_errors=True)
        except Timeout:
            kept.append(stale)
    for record in sorted(layout.keys.glob("*.json")):
        # Under the lock, since a commit writes its record a moment before its artifact appears.
        mutex = FileLock(layout.lock_file(record.stem))
        with contextlib.suppress(Timeout), mutex.acquire(timeout=0):
            if layout.find_key(record.stem) is None:
                status = record.stat()
                removed.append(
                    Stale(
                        "record of a key whose artifact is gone", record, status.st_size, time.time() - status.st_mtime
                    )
                )
                if not dry_run:
                    record.unlink()
    return GcReport(tuple(removed), tuple(kept), dry_run)


def _describe(folder: Path) -> Stale:
    try:
        note = json.loads((folder / "note.json").read_bytes())
        what = f"draft of {note['kind']} {note['name']}"
    except (OSError, ValueError, KeyError, TypeError):
        what = "removed artifact" if folder.name.startswith(REMOVED_PREFIX) else "draft"
    newest = 0.0
    for root, _, names in os.walk(folder):
        for name in ["", *names]:
            try:
                newest = max(newest, os.lstat(os.path.join(root, name)).st_mtime)
            except FileNotFoundError:
                continue
    return Stale(what, folder, files.size_of(folder), max(0.0, time.time() - newest))
