"""Reading the shards of an artifact, one row group at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from conceptlib.concepts.labels import RESERVED, Kind
from conceptlib.concepts.tables.schema import OBJECTS, TEXT, label_kind
from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact

_SHARD = re.compile(r"^(?P<split>[a-z][a-z0-9_]*)-(?P<index>\d{5})-of-(?P<total>\d{5})\.parquet$")
_SPLIT_ORDER = ("train", "validation", "test")


class HasPath(Protocol):
    """An artifact, or anything else with a folder."""

    @property
    def path(self) -> Path: ...


def shard_name(split: str, index: int, total: int) -> str:
    """`train-00000-of-00004.parquet`; `split` is lower-case letters, digits and underscores, `index` counts from 0."""
    return f"{split}-{index:05d}-of-{total:05d}.parquet"


class Table:
    """The shards of an artifact, grouped by split: train, validation, test, then by name."""

    def __init__(self, artifact: HasPath | Path | str) -> None:
        self.path = Path(artifact) if isinstance(artifact, Path | str) else Path(artifact.path)
        self._shards: dict[str, list[Path]] = {}
        for path in sorted((self.path / "data").glob("*.parquet")):
            if match := _SHARD.match(path.name):
                self._shards.setdefault(match["split"], []).append(path)
        _refuse_missing(artifact, self.path)
        if not self._shards:
            raise ConceptlibError(
                "there are no Parquet shards (data/<split>-00000-of-00001.parquet)",
                where=str(self.path),
                hint="give a dataset, images or annotations artifact; `conceptlib catalog ls` lists them",
            )
        for split, paths in self._shards.items():
            match = _SHARD.match(paths[0].name)
            total = int(match["total"]) if match else 0
            if [p.name for p in paths] != [shard_name(split, i, total) for i in range(total)]:
                raise ConceptlibError(
                    f"split {split!r} has {len(paths)} of {total} shards",
                    where=str(self.path / "data"),
                    hint="the artifact is damaged: `conceptlib verify` tells what is missing; build it again",
                )

    @property
    def splits(self) -> list[str]:
        """The splits that have a shard: train, validation, test, then others by name."""
        order = {name: i for i, name in enumerate(_SPLIT_ORDER)}
        return sorted(self._shards, key=lambda s: (order.get(s, len(order)), s))

    def shards(self, split: str | None = None) -> list[Path]:
        """The files of one split in order, or of all splits; an unknown split raises `ConceptlibError`."""
        if split is None:
            return [path for name in self.splits for path in self._shards[name]]
        if split not in self._shards:
            raise ConceptlibError(
                f"there is no split {split!r}", where=str(self.path), hint=f"it has: {', '.join(self.splits)}"
            )
        return list(self._shards[split])

    @property
    def schema(self) -> pa.Schema:
        """The columns, as the first shard has them."""
        with _open(self.shards()[0]) as file:
            return file.schema_arrow

    @property
    def labels(self) -> dict[str, Kind]:
        """The label columns in their order: those that are no table's own."""
        return {field.name: label_kind(field) for field in self.schema if field.name not in RESERVED}

    def count(self, split: str | None = None) -> int:
        """How many rows a split (or the whole table) has, from the files' footers alone."""
        return sum(_open(path).metadata.num_rows for path in self.shards(split))

    def __len__(self) -> int:
        return self.count()

    def rows(self, split: str | None = None, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Every row in order, one row group in memory at a time.

        Args:
            split: one split; None for all.
            columns: only these (leave out `image` where no pixels are needed: it is most of the file). A column that
                the table does not have reads as None. The `text` of a published dataset reads as `caption`.

        Raises:
            ConceptlibError: no such split; a shard cannot be read.
        """
        for path in self.shards(split):
            yield from self.shard_rows(path, columns)

    @staticmethod
    def shard_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The rows of one file; see `rows`."""
        with _open(path) as file:
            names = file.schema_arrow.names
            ours = {name: name for name in names}
            if "image" in names and TEXT in names and "caption" not in names:  # published, or exported as Parquet
                ours[TEXT] = "caption"
                ours.pop(OBJECTS, None)  # the boxes are an annotation set's
            known = [name for name, own in ours.items() if columns is None or own in columns]
            blank = {} if columns is None else dict.fromkeys(columns)
            try:
                for group in range(file.num_row_groups):
                    for row in file.read_row_group(group, columns=known).to_pylist():
                        yield {**blank, **{ours[name]: value for name, value in row.items()}}
            except (pa.ArrowException, OSError) as error:
                raise _damaged(path, error) from error


def _refuse_missing(artifact: HasPath | Path | str, folder: Path) -> None:
    """Raise ConceptlibError where a shard that the manifest names is not there, or was cut. A split all of whose shards
    are gone leaves no other trace.
    """
    if not isinstance(artifact, Artifact):
        try:
            artifact = Artifact.open(folder)
        except (OSError, ConceptlibError):
            return  # a draft, or a folder of somebody else's: no manifest says what there was
    lost = [entry.path for entry in artifact.missing() if entry.path.startswith("data/")]
    if lost:
        raise ConceptlibError(
            f"{artifact.kind} {artifact.ref} is damaged: {len(lost)} of its shards are missing or cut ({lost[0]})",
            where=str(folder / "data"),
            hint="run the command that made it again, with the same settings: it makes these bytes again",
        )


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ConceptlibError:
    return ConceptlibError(
        f"the shard cannot be read: {error}",
        where=str(path),
        hint="`conceptlib verify` names what is damaged; build it again",
    )
