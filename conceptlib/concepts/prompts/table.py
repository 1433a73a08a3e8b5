"""The artifact of a prompt dataset: one Parquet shard of the 14 columns, and questions to it.

table = PromptTable(store.get("i2p"))
for row in table.rows(): ...                   # dicts of the 14 columns, in the published order
count(table.shards())                          # rows by category, and what else is published
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptlib.concepts.prompts.columns import CATEGORIES, COLUMNS, PUBLISHED, SHORT, column_of
from conceptlib.concepts.tables import HasPath, ShardWriter, Table, shard_name, with_features
from conceptlib.errors import ConceptlibError
from conceptlib.sealed import NO_BAR, SEALED
from conceptlib.store import Artifact
from conceptlib.store.hashing import canonical_json

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SPLIT = "train"
VIEW = "prompts"
"""The one table that conditions see."""

NUMBERS = "case_numbers.json"
"""File of a subset: the rows' numbers in the dataset that they were taken from."""


def is_prompts(artifact: Artifact) -> bool:
    """Whether a dataset holds prompts and no pictures."""
    return artifact.kind == "dataset" and artifact.info.get("holds") == "prompts"


class PromptTable(Table):
    """The rows of a prompt dataset.

    Args:
        artifact: the artifact, or its folder.

    Raises:
        ConceptlibError: the folder has no shards, or they are not of I2P's columns.
    """

    def __init__(self, artifact: HasPath | Path | str) -> None:
        super().__init__(artifact)
        if self.schema.names != list(COLUMNS):
            raise ConceptlibError(
                "this dataset is not one of prompts",
                where=str(self.path),
                hint="`conceptlib build i2p` makes one, from the Hub or source=FILE.csv",
            )

    def case_numbers(self) -> Sequence[int]:
        """Each row's number in the whole dataset, counted from 0: what benchmarks call `case_number`."""
        path = self.path / NUMBERS
        if not path.is_file():
            return range(len(self))
        numbers: list[int] = json.loads(path.read_bytes())["case_number"]
        return numbers


class PromptWriter:
    """Writes the shard below `folder` and hashes what its rows say, whatever Parquet's bytes are.

    The file appears, whole, by `close`, which returns the digest; `abandon` leaves nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "data" / shard_name(SPLIT, 0, 1)
        self.count = 0
        self._shard = ShardWriter(self.path, _schema())
        self._hash = hashlib.sha256()

    def add(self, row: Mapping[str, Any]) -> None:
        """One more row, of the 14 columns in their types."""
        self._hash.update(canonical_json([row[column] for column in COLUMNS]) + b"\n")
        self._shard.add(row)
        self.count += 1

    def close(self) -> str:
        self._shard.close()
        return self._hash.hexdigest()

    def abandon(self) -> None:
        self._shard.abandon()


def write_prompts(folder: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write all rows; returns the digest of what they say."""
    writer = PromptWriter(folder)
    try:
        for row in rows:
            writer.add(row)
    except BaseException:
        writer.abandon()
        raise
    return writer.close()


def _schema() -> pa.Schema:
    import pyarrow as pa

    types = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
    return with_features(pa.schema([(column, types[kind]) for column, kind in COLUMNS.items()]))


@contextmanager
def sealed(paths: Sequence[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that knows the view `prompts` over the shards and can read and write nothing else.

    The view has the 14 columns; the short names `nudity`, `q16`, `inappropriate`, `toxicity`, `sd_safety`; a boolean a
    category (`sexual`, `self_harm`, ...); `case_number`, the row's number in the shard, counted from 0.
    """
    import duckdb

    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    # DuckDB reads * ? [ in a path as a pattern.
    patterns = [quoted("".join(f"[{char}]" if char in "*?[" else char for char in str(path))) for path in paths]
    labels = "regexp_split_to_array(trim(categories), '\\s*,\\s*')"
    names = [f"{column} AS {short}" for short, column in SHORT.items()]
    names += [f"list_contains({labels}, {quoted(one)}) AS {column_of(one)}" for one in CATEGORIES]
    select = ", ".join([*COLUMNS, *names, "file_row_number AS case_number"])
    late = ("enable_external_access", "lock_configuration")
    with duckdb.connect(":memory:", config={key: SEALED[key] for key in SEALED if key not in late}) as connection:
        allowed = ", ".join([*(quoted(str(path)) for path in paths), *patterns])  # it checks both
        connection.execute(NO_BAR)
        connection.execute(f"SET allowed_paths = [{allowed}]")
        connection.execute("SET enable_external_access = false")
        connection.execute(
            f"CREATE VIEW {VIEW} AS SELECT {select} FROM read_parquet([{', '.join(patterns)}], file_row_number = true)"
        )
        connection.execute("SET lock_configuration = true")
        yield connection


def count(paths: Sequence[Path]) -> dict[str, Any]:
    """What is known of a published I2P, counted: `prompts`, `categories` (rows of each; a row counts in all of its
    own), `hard_by_category`, `several_categories`, `distinct_prompts`, `hard`, `nudity_over_50`.
    """
    columns = [column_of(category) for category in CATEGORIES]
    sums = [f"count(*) FILTER ({column}), count(*) FILTER ({column} AND hard = 1)" for column in columns]
    sql = f"""SELECT count(*), count(*) FILTER (contains(categories, ',')), count(DISTINCT prompt),
        count(*) FILTER (hard = 1), count(*) FILTER (nudity > 50), {", ".join(sums)} FROM {VIEW}"""
    with sealed(paths) as connection:
        (row,) = connection.execute(sql).fetchall()
    rows, several, distinct, hard, nude = row[:5]
    return {
        "prompts": rows,
        "categories": dict(zip(CATEGORIES, row[5::2], strict=True)),
        "hard_by_category": dict(zip(CATEGORIES, row[6::2], strict=True)),
        "several_categories": several,
        "distinct_prompts": distinct,
        "hard": hard,
        "nudity_over_50": nude,
    }


def differences(counts: Mapping[str, Any]) -> list[str]:
    """In what the counts differ from those of the published I2P; empty if in nothing."""
    found = []
    for name, published in PUBLISHED.items():
        if isinstance(published, dict):
            pairs = [(f"{name} {one}", counts[name][one], number) for one, number in published.items()]
        else:
            pairs = [(name, counts[name], published)]
        found += [
            f"{what.replace('_', ' ')}: {own}, published {number}" for what, own, number in pairs if own != number
        ]
    return found
