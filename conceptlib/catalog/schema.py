"""The catalog's tables and views. A change here needs a new ``VERSION``: an index of another one is rebuilt."""

from __future__ import annotations

from typing import Final

VERSION: Final = 1

# Column types, in order. `folder` (relative to the store's root) says which artifact's row it is: an id may stand in
# two folders, when the same content was made under two names.
TABLES: Final[dict[str, dict[str, str]]] = {
    "artifacts": {
        "id": "VARCHAR",
        "kind": "VARCHAR",
        "name": "VARCHAR",
        "created": "TIMESTAMP",
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
    "scores": {
        "evaluation_id": "VARCHAR",
        "evaluation": "VARCHAR",
        "checkpoint_id": "VARCHAR",
        "detector_id": "VARCHAR",
        "subject": "VARCHAR",
        "metric": "VARCHAR",
        "value": "DOUBLE",
        "low": "DOUBLE",
        "high": "DOUBLE",
        "n": "BIGINT",
        "interval": "VARCHAR",
        "extra": "JSON",
        "folder": "VARCHAR",
    },
    # What cannot be read: a manifest, or an evaluation's scores.
    "damaged": {"problem": "VARCHAR", "folder": "VARCHAR"},
    # The manifests as they were when they were read: how the next run knows what changed.
    "indexed": {"mtime_ns": "BIGINT", "bytes": "BIGINT", "folder": "VARCHAR"},
}

_COMMON = "id, name, created, seconds, size"
_PARENT = "(SELECT min(p.parent_id) FROM parents p WHERE p.folder = a.folder AND p.role = '{role}')"

VIEWS: Final[dict[str, str]] = {
    "datasets": f"""
        SELECT {_COMMON}, lock->>'$.spec.builder' AS builder, TRY_CAST(lock->>'$.spec.seed' AS BIGINT) AS seed,
            from_json(info->'$.concepts', '["VARCHAR"]') AS concepts, TRY_CAST(info->>'$.written' AS BIGINT) AS images,
            TRY_CAST(info->>'$.rejected' AS BIGINT) AS rejected,
            TRY_CAST(info->>'$.polluted_share' AS DOUBLE) AS polluted_share
        FROM artifacts WHERE kind = 'dataset'""",
    "detectors": f"""
        SELECT {_COMMON}, coalesce(lock->>'$.spec.adapter', lock->>'$.adapter') AS adapter,
            from_json(info->'$.labels', '["VARCHAR"]') AS labels, {_PARENT.format(role="dataset")} AS dataset_id
        FROM artifacts a WHERE kind = 'detector'""",
    "annotation_sets": f"""
        SELECT {_COMMON}, {_PARENT.format(role="dataset")} AS dataset_id,
            {_PARENT.format(role="detector")} AS detector_id, lock->'$.detector' AS detector,
            info->'$.boxes' AS boxes, info->'$.images_with' AS images_with
        FROM artifacts a WHERE kind = 'annotations'""",
    "checkpoints": f"""
        SELECT {_COMMON}, lock->>'$.recipe.method' AS method,
            from_json(lock->'$.recipe.concepts', '["VARCHAR"]') AS concepts,
            lock->>'$.base.ref' AS base, info->>'$.adapter' AS adapter,
            info->>'$.negative_prompt' AS negative_prompt,
            {_PARENT.format(role="dataset")} AS dataset_id, {_PARENT.format(role="annotations")} AS annotations_id
        FROM artifacts a WHERE kind = 'checkpoint'""",
    "evaluations": f"""
        SELECT {_COMMON}, info->>'$.suite' AS suite, {_PARENT.format(role="checkpoint")} AS checkpoint_id,
            {_PARENT.format(role="detector")} AS detector_id
        FROM artifacts a WHERE kind = 'evaluation'""",
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


def statements() -> list[str]:
    """The SQL that makes an empty catalog."""
    tables = [
        f"CREATE TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())})"
        for name, columns in TABLES.items()
    ]
    views = [f"CREATE VIEW {name} AS {sql}" for name, sql in VIEWS.items()]
    return [*tables, *views, f"CREATE TABLE catalog_version AS SELECT {VERSION}::INTEGER AS version"]


def insert(table: str) -> str:
    """The SQL that inserts a JSON list of rows, its one parameter.

    One statement for any number of rows: one a row would cost a millisecond each.
    """
    columns = TABLES[table]
    shape = ", ".join(f'"{column}": "{kind}"' for column, kind in columns.items())
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) "
        f"SELECT {', '.join(f'r.{column}' for column in columns)} "
        f"FROM (SELECT unnest(from_json(?::JSON, '[{{{shape}}}]')) AS r)"
    )
