"""The catalog's tables and views. A change here needs a new ``VERSION``: an index of another one is rebuilt."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any, Final

from conceptlib.store import kinds

VERSION: Final = 3

# Column types, in order. `folder` (relative to the store's root) says which artifact's row it is: an id may stand in
# two folders, when the same content was made under two names.
TABLES: Final[dict[str, dict[str, str]]] = {
    "artifacts": {
        "id": "VARCHAR",
        "kind": "VARCHAR",
        "name": "VARCHAR",
        "created": "TIMESTAMP",
        # The order in which artifacts were made, or found again; the highest of a kind and name is what that means.
        "seq": "BIGINT",
        "seconds": "DOUBLE",
        "size": "BIGINT",
        "file_count": "BIGINT",
        "key": "VARCHAR",
        "content": "VARCHAR",
        "lock": "JSON",
        "info": "JSON",
        "environment": "JSON",
        "folder": "VARCHAR",
    },
    "parents": {"id": "VARCHAR", "role": "VARCHAR", "parent_id": "VARCHAR", "folder": "VARCHAR"},
    "files": {
        "id": "VARCHAR",
        "path": "VARCHAR",
        "sha256": "VARCHAR",
        "size": "BIGINT",
        "volatile": "BOOLEAN",
        "folder": "VARCHAR",
    },
    # One row a score. From `concepts` to `guidance_scale` is what it was measured with: see `catalog.settings`.
    "scores": {
        "evaluation_id": "VARCHAR",
        "evaluation": "VARCHAR",
        "suite": "VARCHAR",
        "checkpoint_id": "VARCHAR",
        "subject": "VARCHAR",
        "metric": "VARCHAR",
        "value": "DOUBLE",
        "low": "DOUBLE",
        "high": "DOUBLE",
        "n": "BIGINT",
        "interval": "VARCHAR",
        "concepts": "VARCHAR[]",
        "detector": "VARCHAR",
        "detector_id": "VARCHAR",
        "threshold": "DOUBLE",
        "seed": "BIGINT",
        "steps": "BIGINT",
        "guidance_scale": "DOUBLE",
        "setting": "VARCHAR",
        "extra": "JSON",
        "folder": "VARCHAR",
    },
    # What cannot be read: a manifest, or an evaluation's scores.
    "damaged": {"problem": "VARCHAR", "folder": "VARCHAR"},
    # The artifacts' files, and the folders around them, as they were when they were read: how the next run knows what
    # changed (`catalog.look`).
    "indexed": {"mtime_ns": "BIGINT", "bytes": "BIGINT", "seq": "BIGINT", "place": "VARCHAR", "folder": "VARCHAR"},
    "places": {"place": "VARCHAR", "stamp": "VARCHAR"},
    "journal": {"position": "VARCHAR"},
}

OWN: Final = ("indexed", "places", "journal")
"""Tables for the catalog's own use."""

_LINEAGE: Final[dict[str, str]] = {
    # Every ancestor of every artifact, at its shortest distance. The bound only matters for damaged manifests: hashes
    # cannot form a circle.
    "lineage": """
        WITH RECURSIVE up(id, ancestor_id, depth) AS (
            SELECT DISTINCT id, parent_id, 1 FROM parents
            UNION
            SELECT up.id, p.parent_id, up.depth + 1 FROM up JOIN parents p ON p.id = up.ancestor_id WHERE up.depth < 64
        )
        SELECT id, ancestor_id, min(depth) AS depth FROM up GROUP BY ALL""",
}


def views() -> dict[str, str]:
    """The SQL of every view: one a kind of artifact that has one (`conceptlib.store.kinds`), and `lineage`."""
    return kinds.views() | _LINEAGE


def public() -> tuple[str, ...]:
    """What SQL may ask for."""
    return (*(table for table in TABLES if table not in OWN), *views())


def version() -> int:
    """Of the tables and views, those of the user's own kinds included: an index of another one is rebuilt."""
    if not kinds.of_users():
        return VERSION
    return VERSION + 1000 * (1 + zlib.crc32(json.dumps(kinds.views()).encode()) % 1_000_000)


_ARTIFACT = [name for name in TABLES["artifacts"] if name not in ("id", "seq", "folder")]
_SETTINGS = ("suite", "checkpoint_id", "seed", "steps", "guidance_scale")
_BY_SCORE = [name for name in TABLES["scores"] if name not in ("evaluation_id", "evaluation", "folder", *_SETTINGS)]


def _struct(columns: Mapping[str, str], *, lists: bool = False) -> dict[str, Any]:
    """The shape of a JSON object as `from_json` wants it. ``lists``: of lists, where names do not stand in each row."""
    shape = {name: [kind.removesuffix("[]")] if kind.endswith("[]") else kind for name, kind in columns.items()}
    return {name: [kind] for name, kind in shape.items()} if lists else shape


DOCUMENT: Final[dict[str, Any]] = {
    "folder": "VARCHAR",
    "id": "VARCHAR",
    "artifact": _struct({name: TABLES["artifacts"][name] for name in _ARTIFACT}),
    "parents": [_struct({name: TABLES["parents"][name] for name in ("role", "parent_id")})],
    "files": _struct({name: TABLES["files"][name] for name in ("path", "sha256", "size", "volatile")}, lists=True),
    "scores": _struct({name: TABLES["scores"][name] for name in _BY_SCORE}, lists=True),
    "settings": _struct({name: TABLES["scores"][name] for name in _SETTINGS}),
    "problems": ["VARCHAR"],
}
"""What `records.document_of` gives for one artifact. All but `folder` may be missing."""

_BATCH = {"mtime_ns": "BIGINT", "bytes": "BIGINT", "seq": "BIGINT", "document": DOCUMENT}

# One statement for any number of artifacts: one a row would cost a millisecond each.
READ: Final = f"""
    CREATE OR REPLACE TEMP TABLE batch AS SELECT mtime_ns, bytes, seq, unnest(document)
    FROM (SELECT unnest(from_json(?::JSON, '{json.dumps([_BATCH])}'), max_depth := 2))"""

INSERTS: Final[dict[str, tuple[str, str]]] = {
    "artifacts": (
        ", ".join(["id", "seq", *_ARTIFACT, "folder"]),
        f"SELECT id, seq, {', '.join(f'artifact.{name}' for name in _ARTIFACT)}, folder FROM batch "
        "WHERE artifact IS NOT NULL",
    ),
    "parents": (
        "id, role, parent_id, folder",
        "SELECT id, p.role, p.parent_id, folder FROM (SELECT id, folder, unnest(parents) AS p FROM batch)",
    ),
    "files": (
        "id, path, sha256, size, volatile, folder",
        "SELECT id, unnest(files.path), unnest(files.sha256), unnest(files.size), unnest(files.volatile), folder "
        "FROM batch",
    ),
    "scores": (
        ", ".join(["evaluation_id", "evaluation", *_SETTINGS, *_BY_SCORE, "folder"]),
        f"SELECT id, artifact.name, {', '.join(f'settings.{name}' for name in _SETTINGS)}, "
        f"{', '.join(f'unnest(scores.{name})' for name in _BY_SCORE)}, folder FROM batch WHERE scores IS NOT NULL",
    ),
    "damaged": ("problem, folder", "SELECT unnest(problems), folder FROM batch"),
    "indexed": (
        "mtime_ns, bytes, seq, place, folder",
        "SELECT mtime_ns, bytes, seq, regexp_extract(folder, '^(.*)/', 1), folder FROM batch",
    ),
}


def statements() -> list[str]:
    """The SQL that makes an empty catalog."""
    tables = [
        f"CREATE TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())})"
        for name, columns in TABLES.items()
    ]
    made = [f"CREATE VIEW {name} AS {sql}" for name, sql in views().items()]
    return [*tables, *made, f"CREATE TABLE catalog_version AS SELECT {version()}::INTEGER AS version"]


def inserts() -> list[str]:
    """The SQL that brings a batch (`READ`) into the tables."""
    return [f"INSERT INTO {table} ({columns}) {rows}" for table, (columns, rows) in INSERTS.items()]
