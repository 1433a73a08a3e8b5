"""Questions to the catalog. Each brings the index up to date first."""

from __future__ import annotations

import datetime
import decimal
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from conceptlib.catalog import schema
from conceptlib.catalog.index import current
from conceptlib.errors import ConceptlibError, UsageError
from conceptlib.store import Artifact, Store
from conceptlib.store.names import check_kind


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
    """One artifact in a list. ``size`` in bytes, ``created`` in UTC (ISO 8601), ``parents`` role to id."""

    kind: str
    name: str
    id: str
    created: str
    size: int
    seconds: float
    parents: dict[str, str]
    path: Path


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
    """The artifacts, newest last.

    Args:
        kind: only this kind.
        name: only this name; ``*`` stands for any characters (``geom-erasing/*``).
        limit: only the newest so many.

    Raises:
        ConceptlibError: an unknown kind; the catalog is locked.
    """
    if kind is not None:
        check_kind(kind)
    sql = """
        SELECT kind, name, id, created, size, seconds, folder,
            (SELECT map(list(role ORDER BY role), list(parent_id ORDER BY role))
             FROM parents p WHERE p.folder = a.folder)
        FROM artifacts a
        WHERE ($kind IS NULL OR kind = $kind) AND ($name IS NULL OR name GLOB $name)
        ORDER BY created DESC, id DESC LIMIT $limit"""
    store = store or Store()
    found = _run(store, sql, {"kind": kind, "name": name, "limit": limit if limit is not None else 2**62}).rows
    return [
        Entry(kind, name, one, f"{created}+00:00", size, seconds, parents or {}, store.root / folder)
        for kind, name, one, created, size, seconds, folder, parents in reversed(found)
    ]


def show(ref: str | os.PathLike[str] | Artifact, kind: str | None = None, *, store: Store | None = None) -> Shown:
    """One artifact and its lineage, up and down.

    Args:
        ref, kind: as for ``Store.get``.

    Raises:
        NotFound: as ``Store.get``.
        ConceptlibError: the catalog is locked.
    """
    store = store or Store()
    artifact = store.get(ref, kind)
    with current(store) as connection:
        edges = _fetch(connection, "SELECT DISTINCT id, role, parent_id FROM parents ORDER BY ALL").rows
        known = _fetch(connection, "SELECT id, kind, name FROM artifacts ORDER BY created").rows
        scores = _fetch(
            connection,
            """SELECT evaluation, evaluation_id, subject, metric, value, low, high, n FROM scores
               WHERE evaluation_id = $id OR checkpoint_id = $id ORDER BY ALL""",
            {"id": artifact.id},
        )
    named = {one: (kind, name) for one, kind, name in known}
    up: dict[str, list[tuple[str, str]]] = {}
    down: dict[str, list[tuple[str, str]]] = {}
    for child, role, parent in edges:
        up.setdefault(child, []).append((role, parent))
        down.setdefault(parent, []).append((role, child))
    # An artifact outside the store is not in the catalog, but says itself what it was made from.
    up.setdefault(artifact.id, list(artifact.parents.items()))
    return Shown(artifact, _walk(artifact.id, up, named), _walk(artifact.id, down, named), tuple(scores.dicts()))


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


def query(sql: str, *, store: Store | None = None) -> Table:
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
        return _run(store or Store(), sql)
    except duckdb.Error as error:
        raise ConceptlibError(
            f"DuckDB says: {error}".strip(),
            hint=f"tables and views: {', '.join([*schema.TABLES, *schema.VIEWS])}; `DESCRIBE scores` shows columns",
        ) from error


def leaderboard(metric: str = "concept_rate", *, descending: bool = False, store: Store | None = None) -> Table:
    """The checkpoints by one metric, the best first; of several evaluations by one suite the newest counts.

    Args:
        metric: as in ``scores.json``.
        descending: the largest value first (for an accuracy).

    Returns:
        rank, checkpoint, checkpoint_id, suite, value, low, high, n, and ``base``: the base model's value beside it.

    Raises:
        ConceptlibError: no evaluation has such a metric, with those there are; the catalog is locked.
    """
    direction = "DESC" if descending else "ASC"
    sql = f"""
        WITH newest AS (
            SELECT e.id, e.suite, e.checkpoint_id FROM evaluations e WHERE e.checkpoint_id IS NOT NULL
            QUALIFY row_number() OVER (PARTITION BY e.checkpoint_id, e.name ORDER BY e.created DESC, e.id) = 1
        )
        SELECT row_number() OVER (ORDER BY s.value {direction} NULLS LAST, e.checkpoint_id) AS rank,
            (SELECT max_by(c.name, c.created) FROM checkpoints c WHERE c.id = e.checkpoint_id) AS checkpoint,
            e.checkpoint_id, e.suite, s.value, s.low, s.high, s.n,
            (SELECT any_value(b.value) FROM scores b
             WHERE b.evaluation_id = e.id AND b.subject = 'base' AND b.metric = s.metric) AS base
        FROM newest e JOIN (SELECT DISTINCT ON (evaluation_id) * FROM scores
                            WHERE subject = 'checkpoint' AND metric = $metric) s ON s.evaluation_id = e.id
        ORDER BY rank"""
    store = store or Store()
    table = _run(store, sql, {"metric": metric})
    if not table.rows:
        known = [
            row[0]
            for row in _run(store, "SELECT DISTINCT metric FROM scores WHERE subject = 'checkpoint' ORDER BY 1").rows
        ]
        raise ConceptlibError(
            f"no checkpoint has been scored by {metric!r}",
            hint=f"metrics: {', '.join(known)}" if known else "score one: conceptlib evaluate CHECKPOINT",
        )
    return table


def _run(store: Store, sql: str, parameters: dict[str, Any] | None = None) -> Table:
    with current(store) as connection:
        return _fetch(connection, sql, parameters)


def _fetch(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None) -> Table:
    result = connection.execute(sql, parameters)
    if result is None or result.description is None:
        return Table((), ())
    names = _distinct([column[0] for column in result.description])
    as_json = [str(column[1]) == "JSON" for column in result.description]
    rows = (
        tuple(
            json.loads(value) if parse and value is not None else _plain(value)
            for value, parse in zip(row, as_json, strict=True)
        )
        for row in result.fetchall()
    )
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
