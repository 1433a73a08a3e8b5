"""Keep ``catalog.duckdb`` in step with the manifests.

DuckDB lets no other process open a file that one has open for writing, not even to read. So the file in use is never
written to: an update is made on a copy, under a lock, which then takes the file's place. Readers see the old or the new
index, whole, and never wait for a writer.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from conceptlib.catalog import schema
from conceptlib.catalog.records import Rows, rows_of
from conceptlib.errors import ConceptlibError
from conceptlib.store import Store
from conceptlib.store.files import fsync
from conceptlib.store.manifest import MANIFEST

Progress = Callable[[str, int, int], None]

PATIENCE = 30.0
"""Seconds to wait for another process that has the catalog locked."""

_BATCH = 500  # artifacts an insert: bounds the memory, not the speed

# SQL from the user sees the catalog and nothing else: no files, no extensions, no variables of this process.
SEALED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}

# Within a process DuckDB hands out one shared instance a path, which would outlive the file's replacement.
_one_reader = threading.RLock()

_Stamps = dict[str, tuple[int, int]]  # folder -> the manifest's mtime_ns and size


@dataclass(frozen=True)
class IndexReport:
    """What an update did: how many artifacts there are now, came or changed, and went.

    ``damaged``: the folders that cannot be read, and why. ``path``: the database.
    """

    artifacts: int
    added: int
    removed: int
    damaged: dict[str, str]
    path: Path


def reindex(store: Store | None = None, progress: Progress | None = None) -> IndexReport:
    """Build the catalog from nothing but the manifests. Deleting the database first changes nothing.

    Args:
        progress: called with ("index", artifacts done, artifacts in all).

    Raises:
        ConceptlibError: another process has kept the catalog locked for ``PATIENCE`` seconds.
    """
    return _report(store or Store(), progress, from_nothing=True)


def refresh(store: Store | None = None, progress: Progress | None = None) -> IndexReport:
    """Bring the catalog up to date, reading only the manifests that came or changed. Writes nothing if none did.

    A catalog that is missing, damaged or of another release is built anew. Raises as ``reindex``.
    """
    return _report(store or Store(), progress, from_nothing=False)


@contextmanager
def current(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only, sealed connection to the catalog, brought up to date. Raises as ``reindex``."""
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(connect(store))
            fresh = _stamps(connection) == _present(store)
        except duckdb.Error:
            fresh = False  # missing or damaged
        if not fresh:
            stack.close()
            _update(store, None, from_nothing=False)
            connection = stack.enter_context(connect(store))
        yield connection


@contextmanager
def connect(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only, sealed connection to the catalog as it is; ``refresh`` first.

    Raises:
        ConceptlibError: another program has had the file open for writing for ``PATIENCE`` seconds.
        duckdb.Error: the file is missing or damaged.
    """
    with _one_reader:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                connection = duckdb.connect(store.layout.catalog, read_only=True, config=SEALED)
                break
            except duckdb.IOException as error:
                # Ours never lock it; somebody may have opened it with DuckDB's own command line.
                if "set lock" not in str(error) and "being used by another process" not in str(error):
                    raise
                if time.monotonic() > deadline:
                    raise _busy(store.layout.catalog) from error
                time.sleep(0.05)
        try:
            yield connection
        finally:
            connection.close()


def _update(store: Store, progress: Progress | None, *, from_nothing: bool) -> tuple[int, int]:
    """Bring the file up to date; how many artifacts came or changed, and how many went."""
    try:
        store.layout.locks.mkdir(parents=True, exist_ok=True)
        with FileLock(store.layout.lock_file("catalog"), timeout=PATIENCE):
            # Read again: another process may have done it while we waited.
            known, present = None if from_nothing else _known(store), _present(store)
            before = known or {}
            gone = sorted(folder for folder, stamp in before.items() if present.get(folder) != stamp)
            new = {folder: stamp for folder, stamp in present.items() if before.get(folder) != stamp}
            if known is None or gone or new:
                _write(store, known is not None, gone, new, progress)
            return len(new), len(set(gone) - set(new))
    except Timeout as error:
        raise _busy(store.layout.catalog) from error


def _report(store: Store, progress: Progress | None, *, from_nothing: bool) -> IndexReport:
    added, removed = _update(store, progress, from_nothing=from_nothing)
    with current(store) as connection:
        count = connection.execute("SELECT count(*) FROM artifacts").fetchall()[0][0]
        damaged = connection.execute("SELECT folder, problem FROM damaged ORDER BY folder").fetchall()
    return IndexReport(int(count), added, removed, dict(damaged), store.layout.catalog)


def _present(store: Store) -> _Stamps:
    """Every artifact's folder and its manifest's stamp; (0, 0) where there is no manifest."""
    stamps = {}
    for folder in store.layout.folders():
        try:
            status = os.stat(folder / MANIFEST)
            stamp = (status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            if not folder.is_dir():
                continue  # removed this moment
            stamp = (0, 0)
        stamps[folder.relative_to(store.root).as_posix()] = stamp
    return stamps


def _known(store: Store) -> _Stamps | None:
    """The stamps at the last update; None if there is no usable catalog."""
    try:
        with connect(store) as connection:
            return _stamps(connection)
    except duckdb.Error:
        return None


def _stamps(connection: duckdb.DuckDBPyConnection) -> _Stamps | None:
    """The stamps at the last update; None if by another release. Raises ``duckdb.Error`` if it is no catalog."""
    if connection.execute("SELECT version FROM catalog_version").fetchall() != [(schema.VERSION,)]:
        return None
    rows = connection.execute("SELECT folder, mtime_ns, bytes FROM indexed").fetchall()
    return {folder: (mtime_ns, size) for folder, mtime_ns, size in rows}


def _write(store: Store, incremental: bool, gone: list[str], new: _Stamps, progress: Progress | None) -> None:
    """Make the next catalog beside the present one (from a copy of it, or empty), then put it in its place."""
    target = store.layout.catalog
    folder = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    folder.mkdir(parents=True)
    try:
        temporary = folder / target.name
        if incremental:
            shutil.copyfile(target, temporary)
        with duckdb.connect(temporary) as connection:
            if not incremental:
                for statement in schema.statements():
                    connection.execute(statement)
            connection.execute("BEGIN")
            for table in schema.TABLES:
                connection.execute(f"DELETE FROM {table} WHERE list_contains(?, folder)", [gone])
            _insert(connection, store, new, progress)
            connection.execute("COMMIT")
            connection.execute("CHECKPOINT")  # all in the one file that is moved, nothing in a log beside it
        fsync(temporary)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _insert(connection: duckdb.DuckDBPyConnection, store: Store, new: _Stamps, progress: Progress | None) -> None:
    folders = list(new)
    for start in range(0, len(folders), _BATCH):
        batch: Rows = {table: [] for table in schema.TABLES}
        for folder in folders[start : start + _BATCH]:
            for table, rows in rows_of(folder, store.root / folder).items():
                batch[table].extend(rows)
            batch["indexed"].append({"mtime_ns": new[folder][0], "bytes": new[folder][1], "folder": folder})
        for table, rows in batch.items():
            if rows:
                connection.execute(schema.insert(table), [json.dumps(rows)])
        if progress is not None:
            progress("index", min(start + _BATCH, len(folders)), len(folders))


def _busy(path: Path) -> ConceptlibError:
    return ConceptlibError(
        f"the catalog has been locked by another program for {PATIENCE:.0f} seconds",
        where=str(path),
        hint="close what has it open for writing, or delete it: it is built again from the manifests",
    )
