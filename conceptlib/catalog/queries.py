"""Questions to the catalog. Each brings the index up to date first."""

from __future__ import annotations

import datetime
import decimal
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from conceptlib.catalog import questions, schema
from conceptlib.catalog.index import current, damaged, layout_of
from conceptlib.errors import ConceptlibError, UsageError
from conceptlib.progress import Progress
from conceptlib.store.layout import Layout
from conceptlib.store.names import check_kind
from conceptlib.store.tags import tags_named

if TYPE_CHECKING:
    from conceptlib.store import Artifact, Store

_PREFIX = re.compile(r"[0-9a-f]{4,16}")


@dataclass(frozen=True)
class Table:
    """A result: column names, all different, and rows of JSON's types. Times are UTC, ISO 8601."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def dicts(self) -> list[dict[str, Any]]:
        """One mapping a row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Entry:
    """One artifact in a list.

    Args:
        newest: whether its name, among its kind, means this one.
        size: bytes. seconds: it took. created: UTC, ISO 8601.
        method: of erasure, a dataset's builder, a detector's adapter (an annotation set's too), an evaluation's suite.
        concepts: that were built in, looked for, erased, or measured.
        made_from: what it was made from in the first place, as `name@id`; None for what has no parent.
        tags: that mean it. parents: role to id.
    """

    kind: str
    name: str
    id: str
    newest: bool
    created: str
    size: int
    seconds: float
    method: str | None
    concepts: tuple[str, ...]
    made_from: str | None
    tags: tuple[str, ...]
    parents: dict[str, str]
    path: Path


@dataclass(frozen=True)
class Overview:
    """A list of artifacts, and what in the store cannot be read: folder to problem."""

    entries: tuple[Entry, ...]
    damaged: dict[str, str]


@dataclass(frozen=True)
class Relative:
    """An ancestor or descendant, ``depth`` steps away, reached by ``role`` from ``of``.

    ``kind`` and ``name`` are None when it is not in the store.
    """

    depth: int
    role: str
    id: str
    of: str
    kind: str | None
    name: str | None


@dataclass(frozen=True)
class Shown:
    """An artifact, what it was made from (``ancestors``) and what was made from it (``descendants``), depth first.

    ``scores``: those that it holds (an evaluation) or was given (a checkpoint).
    """

    artifact: Artifact
    ancestors: tuple[Relative, ...]
    descendants: tuple[Relative, ...]
    scores: tuple[dict[str, Any], ...]


def ls(
    kind: str | None = None, name: str | None = None, *, limit: int | None = None, store: Store | None = None
) -> list[Entry]:
    """The artifacts, newest last: in the order in which they were made, or found again by who asked for them.

    Args:
        kind: only this kind.
        name: only this name; ``*`` stands for any characters (``geom-erasing/*``).
        limit: only the newest so many.

    Raises:
        ConceptlibError: an unknown kind; the catalog is locked.
    """
    return list(overview(kind, name, limit=limit, store=store).entries)


def overview(
    kind: str | None = None,
    name: str | None = None,
    *,
    limit: int | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Overview:
    """As ``ls``, with what cannot be read.

    Args:
        progress: called with ("index", artifacts done, artifacts in all) while many new ones are indexed.
    """
    if kind is not None:
        check_kind(kind)
    layout = layout_of(store)
    parameters = {"kind": kind, "name": name, "limit": limit if limit is not None else 2**62}
    with current(layout, progress) as connection:
        rows = _fetch(connection, questions.LIST, parameters).dicts()
        problems = damaged(connection)
    tags = _tags(layout, {(row["kind"], row["name"]) for row in rows})
    return Overview(tuple(_entry(row, tags, layout.root) for row in reversed(rows)), problems)


def _entry(row: dict[str, Any], tags: Mapping[tuple[str, str, str], list[str]], root: Path) -> Entry:
    key = (row["kind"], row["name"], row["id"])
    return Entry(
        *key,
        newest=row["newest"],
        created=f"{row['created']}+00:00",
        size=row["size"],
        seconds=row["seconds"],
        method=row["method"],
        concepts=tuple(one for one in row["concepts"] or () if one is not None),
        made_from=row["made_from"],
        tags=tuple(tags.get(key, ())),
        parents=row["parents"] or {},
        path=root / row["folder"],
    )


def _tags(layout: Layout, names: Collection[tuple[str, str]]) -> dict[tuple[str, str, str], list[str]]:
    """(kind, name, id) to its tags. A damaged tag is logged and left out."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for kind, name in names:
        for tag in tags_named(layout, kind, name):
            if tag.id is not None:
                found.setdefault((kind, name, tag.id), []).append(tag.tag)
    return found


def show(
    ref: str | os.PathLike[str] | Artifact,
    kind: str | None = None,
    *,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Shown:
    """One artifact and its lineage, up and down.

    Args:
        ref, kind: as for ``Store.get``. progress: as for ``overview``.

    Raises:
        NotFound: as ``Store.get``.
        ConceptlibError: the catalog is locked.
    """
    from conceptlib.store import Store

    store = store or Store()
    with current(store.layout, progress) as connection:
        artifact = store.get(_located(connection, store, ref, kind), kind)
        up = _edges(connection, questions.ANCESTORS, artifact.id)
        down = _edges(connection, questions.DESCENDANTS, artifact.id)
        # An artifact outside the store is not in the catalog, but says itself what it was made from.
        up.setdefault(artifact.id, list(artifact.parents.items()))
        reached = {
            one for edges in (up, down) for end, steps in edges.items() for one in (end, *(to for _, to in steps))
        }
        known = (
            "SELECT id, kind, name FROM artifacts WHERE id IN (SELECT unnest($ids)) ORDER BY seq NULLS LAST, created"
        )
        named = {one: (kind, name) for one, kind, name in _fetch(connection, known, {"ids": list(reached)}).rows}
        scores = _fetch(connection, questions.SCORES_OF, {"id": artifact.id})
    return Shown(artifact, _walk(artifact.id, up, named), _walk(artifact.id, down, named), tuple(scores.dicts()))


def _located(
    connection: duckdb.DuckDBPyConnection, store: Store, ref: str | os.PathLike[str] | Artifact, kind: str | None
) -> str | os.PathLike[str] | Artifact:
    """The folder of the one artifact whose id begins so, which the catalog knows at once; else ``ref`` itself."""
    if not isinstance(ref, str) or not _PREFIX.fullmatch(ref):
        return ref
    sql = "SELECT folder FROM artifacts WHERE starts_with(id, $ref) AND ($kind IS NULL OR kind = $kind)"
    found = _fetch(connection, sql, {"ref": ref, "kind": kind}).rows
    names = "SELECT count(*) FROM artifacts WHERE name = $ref"
    named = _fetch(connection, names, {"ref": ref}).rows[0][0]  # a name goes before an id
    return store.root / found[0][0] if len(found) == 1 and not named else ref


def _edges(connection: duckdb.DuckDBPyConnection, sql: str, start: str) -> dict[str, list[tuple[str, str]]]:
    """From each artifact that is reached from ``start``, the roles and ids of the next."""
    found: dict[str, list[tuple[str, str]]] = {}
    for one, role, other in _fetch(connection, sql, {"id": start}).rows:
        found.setdefault(one, []).append((role, other))
    return found


def _walk(
    start: str, edges: dict[str, list[tuple[str, str]]], named: dict[str, tuple[str, str]]
) -> tuple[Relative, ...]:
    """Depth first from ``start``; what was reached before is named again but not followed twice."""
    found: list[Relative] = []
    followed = {start}
    stack = [(1, role, one, start) for role, one in reversed(edges.get(start, []))]
    while stack:
        depth, role, one, of = stack.pop()
        kind, name = named.get(one, (None, None))
        found.append(Relative(depth, role, one, of, kind, name))
        if one not in followed:
            followed.add(one)
            stack.extend((depth + 1, role, other, one) for role, other in reversed(edges.get(one, [])))
    return tuple(found)


def query(sql: str, *, store: Store | None = None, progress: Progress | None = None) -> Table:
    """The result of a user's SQL, in DuckDB's dialect. It can read the catalog and nothing else: no files, no network.

    Tables: artifacts, parents, files, scores, damaged. Views: datasets, detectors, annotation_sets, checkpoints,
    evaluations, lineage (id, ancestor_id, depth).

    Raises:
        UsageError: an empty query.
        ConceptlibError: DuckDB refuses it, with its words; the catalog is locked.
    """
    if not sql.strip(" \t\r\n;"):
        raise UsageError(
            "an empty query", hint='conceptlib catalog query "SELECT kind, count(*) FROM artifacts GROUP BY kind"'
        )
    try:
        return run(store, sql, progress=progress)
    except duckdb.Error as error:
        raise ConceptlibError(
            f"DuckDB says: {error}".strip(),
            hint=f"tables and views: {', '.join(schema.public())}; `DESCRIBE scores` shows columns",
        ) from error


def run(
    store: Store | None, sql: str, parameters: dict[str, Any] | None = None, progress: Progress | None = None
) -> Table:
    """The result of our own SQL. Raises ``duckdb.Error``; ``ConceptlibError``: the catalog is locked."""
    with current(layout_of(store), progress) as connection:
        return _fetch(connection, sql, parameters)


def _fetch(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None) -> Table:
    result = connection.execute(sql, parameters)
    if result is None or result.description is None:
        return Table((), ())
    names = _distinct([column[0] for column in result.description])
    types = [str(column[1]) for column in result.description]
    convert = [
        (k, json.loads if kind == "JSON" else _plain) for k, kind in enumerate(types) if kind not in _AS_THEY_ARE
    ]
    rows = result.fetchall()
    if convert:  # most columns of most questions are what they should be already
        changed = [list(row) for row in rows]
        for k, one in convert:
            for row in changed:
                row[k] = None if row[k] is None else one(row[k])
        rows = [tuple(row) for row in changed]
    return Table(tuple(names), tuple(rows))


def _distinct(names: list[str]) -> list[str]:
    """``a, a, b`` as ``a, a_2, b``: a mapping must not lose a column."""
    found: list[str] = []
    for name in names:
        number, one = 2, name
        while one in found:
            one, number = f"{name}_{number}", number + 1
        found.append(one)
    return found


_AS_THEY_ARE = {
    *("VARCHAR", "VARCHAR[]", "BOOLEAN", "DOUBLE", "FLOAT"),
    *("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "UBIGINT", "UINTEGER"),
}
"""Types whose values in Python are JSON's."""


def _plain(value: Any) -> Any:
    """DuckDB's Python values as JSON's: times as ISO 8601, decimals as floats, bytes as hex."""
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
