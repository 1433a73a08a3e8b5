"""Keep ``catalog.duckdb`` in step with the manifests.

DuckDB lets no other process open a file that one has open for writing, not even to read. So the file in use is never
written to: an update is made on a copy, under a lock, which then takes the file's place. Readers see the old or the new
index, whole, and never wait for a writer.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from filelock import FileLock, Timeout

from conceptlib.catalog import schema
from conceptlib.catalog.look import Look, look
from conceptlib.errors import ConceptlibError
from conceptlib.paths import home
from conceptlib.progress import Progress
from conceptlib.sealed import NO_BAR, SEALED
from conceptlib.store.files import fsync
from conceptlib.store.layout import Layout

if TYPE_CHECKING:
    from conceptlib.store import Store


PATIENCE = 30.0
"""Seconds to wait for another process that has the catalog locked."""

_BATCH = 500  # artifacts an insert: bounds the memory, not the speed

# Within a process DuckDB hands out one shared instance a path, which would outlive the file's replacement.
_one_reader = threading.RLock()

logger = logging.getLogger(__name__)


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
    return _report(layout_of(store), progress, from_nothing=True)


def refresh(store: Store | None = None, progress: Progress | None = None) -> IndexReport:
    """Bring the catalog up to date, reading only the manifests that came or changed. Writes nothing if none did.

    A catalog that is missing, damaged or of another release is built anew. Raises as ``reindex``.
    """
    return _report(layout_of(store), progress, from_nothing=False)


def layout_of(store: Store | None) -> Layout:
    """The folders of a store, the user's by default: its class is not loaded for a question that makes nothing."""
    root = home()
    if store is None and root.exists() and not root.is_dir():
        from conceptlib.store import Store as Raising

        return Raising(root).layout  # says what is wrong
    return store.layout if store is not None else Layout(root)


@contextmanager
def current(layout: Layout, progress: Progress | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A sealed connection to the catalog, brought up to date. Raises as ``reindex``."""
    with _updated(layout, progress, from_nothing=False) as update:
        yield update.connection


@contextmanager
def connect(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only, sealed connection to a catalog as it is.

    Raises:
        ConceptlibError: another program has had the file open for writing for ``PATIENCE`` seconds.
        duckdb.Error: the file is missing or damaged, or of another release.
    """
    with _one_reader:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                connection = duckdb.connect(path, read_only=True)
                break
            except duckdb.IOException as error:
                # Ours never lock it; somebody may have opened it with DuckDB's own command line.
                if "set lock" not in str(error) and "being used by another process" not in str(error):
                    raise
                if time.monotonic() > deadline:
                    raise _busy(path) from error
                time.sleep(0.05)
        try:
            if connection.execute("SELECT version FROM catalog_version").fetchall() != [(schema.version(),)]:
                raise duckdb.CatalogException("a catalog of another release")
            _seal(connection)
            yield connection
        finally:
            connection.close()


@dataclass(frozen=True)
class _Update:
    """An open catalog that is up to date; how many artifacts came or changed, and how many went."""

    connection: duckdb.DuckDBPyConnection
    added: int = 0
    removed: int = 0


@contextmanager
def _updated(layout: Layout, progress: Progress | None, *, from_nothing: bool) -> Iterator[_Update]:
    """The catalog, up to date. Nobody is waited for, and nothing is written, where nothing changed."""
    with ExitStack() as stack:
        connection = None if from_nothing else _fresh(layout, stack)
        if connection is not None:
            yield _Update(connection)
            return
        try:
            seen = _bring_up_to_date(layout, progress, from_nothing=from_nothing)
            connection = stack.enter_context(connect(layout.catalog))
        except (OSError, duckdb.Error) as error:
            seen, connection = stack.enter_context(_in_memory(layout, error, progress))
        yield _Update(connection, len(seen.new), len(set(seen.gone) - set(seen.new)))


def _fresh(layout: Layout, stack: ExitStack) -> duckdb.DuckDBPyConnection | None:
    """The catalog, if it is up to date; the stack closes it."""
    with ExitStack() as opened:
        try:
            connection = opened.enter_context(connect(layout.catalog))
            if not look(layout, connection).worth_writing:
                stack.push(opened.pop_all())
                return connection
        except duckdb.Error:
            pass  # missing or damaged
    return None


def _bring_up_to_date(layout: Layout, progress: Progress | None, *, from_nothing: bool) -> Look:
    """Write the next catalog, if there is something to write. Raises ``OSError`` or ``duckdb.Error`` if that fails."""
    path = layout.catalog
    try:
        layout.locks.mkdir(parents=True, exist_ok=True)
        with FileLock(layout.lock_file("catalog"), timeout=PATIENCE):
            # Look again: another process may have done it while we waited.
            known = not from_nothing
            try:
                with ExitStack() as stack:
                    seen = look(layout, stack.enter_context(connect(path)) if known else None)
            except duckdb.Error:
                known, seen = False, look(layout, None)
            if not known or seen.worth_writing:
                _replace(path, path if known else None, seen, progress)
            return seen
    except Timeout as error:
        raise _busy(path) from error


def _report(layout: Layout, progress: Progress | None, *, from_nothing: bool) -> IndexReport:
    with _updated(layout, progress, from_nothing=from_nothing) as update:
        count = update.connection.execute("SELECT count(*) FROM artifacts").fetchall()[0][0]
        return IndexReport(int(count), update.added, update.removed, damaged(update.connection), layout.catalog)


def damaged(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Folder to problem, of all that cannot be read."""
    sql = "SELECT folder, string_agg(problem, '; ' ORDER BY problem) FROM damaged GROUP BY folder ORDER BY folder"
    return dict(connection.execute(sql).fetchall())


def _replace(path: Path, before: Path | None, seen: Look, progress: Progress | None) -> None:
    """Make the next catalog beside the present one (from a copy of ``before``, or empty), and put it in its place."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed: we hold the lock
    folder = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
    folder.mkdir(parents=True)
    try:
        temporary = folder / path.name
        if before is not None:
            shutil.copyfile(before, temporary)
        with duckdb.connect(temporary) as connection:
            connection.execute(NO_BAR)
            _write(connection, path.parent, seen, progress, empty=before is None)
            connection.execute("CHECKPOINT")  # all in the one file that is moved, nothing in a log beside it
        fsync(temporary)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _in_memory(
    layout: Layout, error: Exception, progress: Progress | None
) -> Iterator[tuple[Look, duckdb.DuckDBPyConnection]]:
    """A catalog for one answer, where the store cannot be written to: its disk is full, or it is somebody else's."""
    path = layout.catalog
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    why = (
        "the disk is full" if full or "No space left" in str(error) else str(getattr(error, "strerror", None) or error)
    )
    logger.warning("%s cannot be written (%s): the catalog was made in memory, for this once", path, why)
    with duckdb.connect(":memory:") as connection:
        connection.execute(NO_BAR)
        try:
            with connect(path) as before:
                seen = look(layout, before)
            connection.execute("ATTACH '{}' AS before (READ_ONLY)".format(str(path).replace("'", "''")))
            connection.execute("COPY FROM DATABASE before TO memory")
            connection.execute("DETACH before")
            _write(connection, path.parent, seen, progress, empty=False)
        except duckdb.Error:
            seen = look(layout, None)
            _write(connection, path.parent, seen, progress, empty=True)
        _seal(connection)
        yield seen, connection


def _write(
    connection: duckdb.DuckDBPyConnection, root: Path, seen: Look, progress: Progress | None, *, empty: bool
) -> None:
    """Bring what was seen into a catalog."""
    if empty:
        for statement in schema.statements():
            connection.execute(statement)
    connection.execute("BEGIN")
    if seen.gone and not empty:
        for table in schema.INSERTS:
            connection.execute(f"DELETE FROM {table} WHERE folder IN (SELECT unnest(?))", [seen.gone])
    rows = [{"place": place, "stamp": stamp} for place, stamp in seen.places.items() if stamp is not None]
    connection.execute("DELETE FROM places WHERE place IN (SELECT unnest(?))", [list(seen.places)])
    _load(connection, "INSERT INTO places SELECT place, stamp FROM {}", schema.TABLES["places"], rows)
    connection.execute("DELETE FROM journal")
    connection.execute("INSERT INTO journal VALUES (?)", [seen.position])
    ranks = [{"folder": folder, "seq": seq} for folder, seq in seen.ranks.items() if folder not in seen.new]
    for table in ("artifacts", "indexed"):
        if seen.reset:
            connection.execute(f"UPDATE {table} SET seq = NULL")
        set_ranks = f"UPDATE {table} SET seq = r.seq FROM {{}} r WHERE r.folder = {table}.folder"
        _load(connection, set_ranks, {"folder": "VARCHAR", "seq": "BIGINT"}, ranks)
    connection.execute("COMMIT")
    folders = list(seen.new)
    for start in range(0, len(folders), _BATCH):
        _insert(connection, root, seen, folders[start : start + _BATCH])
        if progress is not None:
            progress("index", min(start + _BATCH, len(folders)), len(folders))


def _insert(connection: duckdb.DuckDBPyConnection, root: Path, seen: Look, folders: list[str]) -> None:
    from conceptlib.catalog.records import document_of, problem_document  # where nothing is new, nothing is parsed

    documents = [
        problem_document(folder, seen.problems[folder])
        if folder in seen.problems
        else document_of(folder, root / seen.paths[folder])
        for folder in folders
    ]
    stamped = []
    for folder, document in zip(folders, documents, strict=True):
        mtime_ns, size = seen.new[folder]
        seq = json.dumps(seen.ranks.get(folder))
        stamped.append(f'{{"mtime_ns": {mtime_ns}, "bytes": {size}, "seq": {seq}, "document": {document}}}')
    _read(connection, folders, stamped)
    connection.execute("BEGIN")
    for statement in schema.inserts():
        connection.execute(statement)
    connection.execute("COMMIT")


def _load(connection: duckdb.DuckDBPyConnection, sql: str, columns: dict[str, str], rows: list[dict[str, Any]]) -> None:
    """Run SQL on some rows; `{}` in it is the table of them."""
    if rows:
        source = f"(SELECT unnest(from_json(?::JSON, '{json.dumps([columns])}'), max_depth := 2))"
        connection.execute(sql.format(source), [json.dumps(rows)])


def _read(connection: duckdb.DuckDBPyConnection, folders: list[str], documents: list[str]) -> None:
    """Read documents into the table ``batch``. One that DuckDB does not take becomes a problem of its artifact."""
    from conceptlib.catalog.records import problem_document

    try:
        connection.execute(schema.READ, [f"[{','.join(documents)}]"])
    except (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException) as error:
        if len(documents) == 1:
            problem = problem_document(folders[0], f"DuckDB does not take it: {error}")
            documents[0] = f'{{"mtime_ns": 0, "bytes": 0, "document": {problem}}}'
        for folder, k in zip(folders, range(len(documents)), strict=True) if len(documents) > 1 else ():
            alone = documents[k : k + 1]
            _read(connection, [folder], alone)
            documents[k] = alone[0]
        connection.execute(schema.READ, [f"[{','.join(documents)}]"])


def _seal(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(NO_BAR)
    for name, value in SEALED.items():
        connection.execute(f"SET {name} = {value}")


def _busy(path: Path) -> ConceptlibError:
    return ConceptlibError(
        f"the catalog has been locked by another program for {PATIENCE:.0f} seconds",
        where=str(path),
        hint="close what has it open for writing, or delete it: it is built again from the manifests",
    )
