"""Parquet and Arrow files on this machine: one, a folder of them, or what `Dataset.save_to_disk` wrote.

Read here and not by `datasets`: nothing in the folder (a README's `data_files:`, a path in a row) decides which files
of this machine are opened. A path in a row is relative to the folder and stays in it; an address is opened only if the
user named its scheme.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from conceptlib.concepts.labels import class_names, named_classes
from conceptlib.concepts.rejects import Reject, first_line
from conceptlib.concepts.safe import Root
from conceptlib.concepts.sources.base import (
    IMAGE_COLUMNS,
    Item,
    Listing,
    Reading,
    captioned,
    hash_files,
    key_of,
    labelled,
    listings,
    walk,
)
from conceptlib.concepts.sources.data_files import Files, is_data_file, split_files
from conceptlib.concepts.sources.metadata import is_metadata
from conceptlib.concepts.sources.pictures import Picture, fetch, pictures_of
from conceptlib.concepts.sources.splits import SPLITS, in_proportion, is_layout, known_split, tell_unread
from conceptlib.concepts.sources.text import CAPTION_COLUMNS, caption_text
from conceptlib.errors import ConceptlibError

MAX_RATIO = 200
_BATCH_BYTES = 64 << 20
_BATCH_ROWS = 64


@dataclass
class TableSource:
    """Tables with a column of pictures: bytes, paths, `datasets`' pairs of both, or lists of these.

    The row's key is its number, `row-00000000`; `train-00000000` and so on where several splits are kept, as they are
    by default where files are called after them. Columns: see `Reading`; a file without the picture's column is not
    read. Memory: a few rows.

    Args:
        path: a file or folder.
        reading: see there.
        split: the only one to read, its rows then going to train and test by hash; None: all where they are kept, else
            train.
        subset: a configuration of the folder's README.

    Raises:
        ConceptlibError: no such column, split or subset; no rows; a file that cannot be read.
    """

    path: Path
    reading: Reading = field(default_factory=Reading)
    split: str | None = None
    subset: str | None = None
    total: int | None = field(default=None, init=False)
    ignored: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.folder = self.path if self.path.is_dir() else self.path.parent
        # A file may be a link: the user named it.
        self._root = Root(self.folder if self.path.is_dir() else self.path.resolve().parent)
        self.files, self._kept = self._chosen()
        if self.split is None:
            tell_unread(str(self.path), {split: self._rows_in(paths) for split, paths in self._unread.items()})
        total = self._rows_in(self._paths())
        if total == 0:
            raise ConceptlibError("the table has no rows", where=str(self.path), hint="is it the right one?")
        most = self.reading.rows
        if self.reading.pictures == "first" and total is not None:
            self.total = total if most is None else min(most, total)
        if self.path.is_dir():
            self.ignored = sum(1 for _ in walk(self.folder)) - len(self._paths())

    def lock(self) -> dict[str, Any]:
        """The files of the table, and of the folder's others those that its rows name."""
        read = self._paths()
        named = {path for path in self._named() if path not in read}
        lock: dict[str, Any] = {"kind": "table", "sha256": hash_files(self.folder, read), "splits": sorted(self.files)}
        lock |= {"image": self.image, "caption": self.caption, "kept": self._kept}
        if named:
            lock["pictures"] = hash_files(Path(self._root.real), sorted(named))
        return (
            lock | {"schemes": list(self.reading.schemes), "pictures_of": self.reading.pictures} | self.reading.lock()
        )

    def items(self) -> Iterator[Item]:
        """The rows; of a limited number of a source with splits some of each, see `splits.in_proportion`."""
        streams = {split: self._items(split, paths) for split, paths in self.files.items()}
        if self._kept and self.reading.rows is not None:
            return islice(in_proportion(streams, self.reading.test_share), self.reading.rows)
        return islice((item for stream in (self._refused(), *streams.values()) for item in stream), self.reading.rows)

    def _chosen(self) -> tuple[Files, bool]:
        """The files to read, by split, and whether their splits are kept; finds the columns on the way."""
        found = split_files(self.folder, self.subset) if self.path.is_dir() else {"train": [self.path]}
        schemas = {path: _Table(path, self._root).schema for paths in found.values() for path in paths}
        self.image, self.caption = self._columns(list(schemas.values()))
        self._check_labels([name for schema in schemas.values() for name in schema.names])
        with_pictures = {
            split: [path for path in paths if self.image in schemas[path].names] for split, paths in found.items()
        }
        there = {split: paths for split, paths in with_pictures.items() if paths}
        chosen, kept = self._chosen_of(there)
        self._unread = {split: paths for split, paths in there.items() if split not in chosen}
        return chosen, kept

    def _chosen_of(self, there: Files) -> tuple[Files, bool]:
        policy = self.reading.splits
        if self.split is not None:
            kept = policy == "keep"
            return {known_split(self.split) if kept else self.split: self._one(there, self.split)}, kept
        known = {split: there[split] for split in SPLITS if split in there}
        if policy == "keep" or (policy is None and is_layout(known)):
            return known or {"train": self._one(there, "train")}, True
        return {"train": self._one(there, "train")}, False

    def _rows_in(self, paths: list[Path]) -> int | None:
        counts = [_Table(path, self._root).count() for path in paths]
        return None if None in counts else sum(filter(None, counts))

    def _one(self, there: Files, split: str) -> list[Path]:
        if split in there:
            return there[split]
        if not self.path.is_dir():
            return [self.path]
        raise ConceptlibError(
            f"there is no split {split!r}", where=str(self.path), hint=f"source_split is one of: {', '.join(there)}"
        )

    def _columns(self, schemas: list[pa.Schema]) -> tuple[str, str | None]:
        names = list(dict.fromkeys(name for schema in schemas for name in schema.names))
        wanted = self.reading
        image = self._column("image", wanted.image_column, IMAGE_COLUMNS, names)
        if image is None:
            hint = f"say which holds the pictures: image_column=..., one of {', '.join(names) or 'none'}"
            raise ConceptlibError("no column holds the pictures", where=str(self.path), hint=hint)
        return image, self._column("caption", wanted.caption_column, (*CAPTION_COLUMNS, "txt"), names)

    def _column(self, what: str, name: str | None, usual: tuple[str, ...], names: list[str]) -> str | None:
        if name is None:
            return next((column for column in usual if column in names), None)
        if name not in names:
            hint = f"{what}_column is one of: {', '.join(names) or 'none'}"
            raise ConceptlibError(f"there is no column {name!r}", where=str(self.path), hint=hint)
        return name

    def _check_labels(self, names: list[str]) -> None:
        if missing := [name for name in self.reading.labels if name not in names]:
            others = ", ".join(dict.fromkeys(name for name in names if name not in (self.image, self.caption)))
            raise ConceptlibError(
                f"there is no column {missing[0]!r} to keep as a label",
                where=str(self.path),
                hint=f"labels= names some of: {others or 'none'}",
            )

    def _paths(self) -> list[Path]:
        return [path for paths in self.files.values() for path in paths]

    def _items(self, split: str, paths: list[Path]) -> Iterator[Item]:
        stem = split if self._kept and len(self.files) > 1 else "row"
        number = 0
        for path in paths:
            table = _Table(path, self._root)
            names = class_names(table.schema.metadata, self.reading.labels)
            for image, caption, labels in table.rows(self.image, self.caption, list(self.reading.labels)):
                found = pictures_of(image, self.reading.pictures, partial(self._resolve, path))
                for k, picture in enumerate(found):
                    key = f"{stem}-{number:08d}" + (f".{k}" if k else "")
                    item = Item(key, split if self._kept else self.reading.split(key), picture)
                    item = captioned(item, partial(self._text, caption), self.reading.missing_captions)
                    yield labelled(item, partial(named_classes, labels, names), self.reading.labels)
                number += 1

    def _text(self, value: Any) -> str | None:
        if isinstance(value, Reject):
            raise value
        return caption_text(value, self.reading.encoding)

    def _refused(self) -> Iterator[Item]:
        """Files of the folder that would be read, were they files of the folder."""
        if not self.path.is_dir():
            return
        for _, found in listings(self.folder, self._root):
            for path, reject in found.refused.items() if isinstance(found, Listing) else ():
                if is_data_file(path):
                    key = key_of(path.relative_to(self.folder).as_posix())
                    yield Item(key, "train" if self._kept else self.reading.split(key), reject)

    def _resolve(self, table: Path, name: str) -> Picture:
        """The file of the folder that a row names: below the folder, or beside its table."""
        if "://" in name:
            return fetch(name, self.reading.schemes)
        path = Path(name.replace("\\", "/"))
        try:
            return self._root.check(self.folder / path)
        except Reject as reject:
            if reject.reason != "missing-file" or table.parent == self.folder:
                raise Reject(reject.reason, f"{key_of(name)[:200]}: {reject.detail}") from reject
            return self._root.check(table.parent / path)

    def _named(self) -> Iterator[Path]:
        """Files of the folder that rows name instead of holding a picture."""
        for path in self._paths():
            for name in _Table(path, self._root).names(self.image):
                if "://" not in name and not isinstance(found := self._quietly(path, name), Reject):
                    yield found

    def _quietly(self, table: Path, name: str) -> Path | Reject:
        try:
            found = self._resolve(table, name)
        except Reject as reject:
            return reject
        return found if isinstance(found, Path) else Reject("refused")


def columns_of(folder: Path) -> set[str]:
    """All columns of a folder's tables; of those that cannot be read none."""
    found = set[str]()
    for path in walk(folder):
        if is_data_file(path) and not is_metadata(path.name):
            with contextlib.suppress(ConceptlibError):
                found |= set(_Table(path, Root(folder)).schema.names)
    return found


class _Table:
    """One file."""

    def __init__(self, path: Path, root: Root) -> None:
        self.path, self._root = path, root

    @property
    def schema(self) -> pa.Schema:
        with self._opened() as table:
            return table.schema_arrow if isinstance(table, pq.ParquetFile) else table.schema

    def count(self) -> int | None:
        """Rows, where the file says it without being read."""
        with self._opened() as table:
            return int(table.metadata.num_rows) if isinstance(table, pq.ParquetFile) else None

    def rows(
        self, image: str, caption: str | None, labels: Sequence[str] = ()
    ) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
        """A picture's, a caption's and the labels' values; a `Reject` stands for a text that is none of its column."""
        there = set(self.schema.names)
        kept = [name for name in labels if name in there]
        for batch in self._batches(list(dict.fromkeys([name for name in (image, caption) if name] + kept)), image):
            for row in range(batch.num_rows):
                text = _value(batch.column(caption)[row]) if caption else None
                yield _value(batch.column(image)[row]), text, {name: _value(batch.column(name)[row]) for name in kept}

    def names(self, image: str) -> Iterator[str]:
        """The paths in the column of pictures."""
        kind = self.schema.field(image).type
        if not any(pa.types.is_string(one) or pa.types.is_large_string(one) for one in _leaves(kind)):
            return
        for batch in self._batches([image], image):
            for value in batch.column(image):
                found = _value(value)
                for one in found if isinstance(found, list) else [found]:
                    one = one.get("path") if isinstance(one, dict) and not one.get("bytes") else one
                    if isinstance(one, str):
                        yield one

    def _batches(self, columns: list[str], image: str) -> Iterator[pa.RecordBatch]:
        with self._opened() as table:
            try:
                if not isinstance(table, pq.ParquetFile):
                    yield from (
                        (table.get_batch(k) for k in range(table.num_record_batches))
                        if isinstance(table, pa.ipc.RecordBatchFileReader)
                        else table
                    )
                    return
                for group in range(table.num_row_groups):
                    size = self._size(table, group, image)
                    # Pages may repeat one picture: a batch of them is larger than the file says.
                    rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(size, 1)))
                    yield from table.iter_batches(rows, row_groups=[group], columns=columns)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise self._damaged(error) from error

    def _size(self, table: pq.ParquetFile, group: int, image: str) -> int:
        footer = table.metadata.row_group(group)
        columns = [footer.column(k) for k in range(footer.num_columns)]
        mine = [column for column in columns if column.path_in_schema.split(".")[0] == image]
        unpacked, packed = (
            sum(getattr(column, name) for column in mine)
            for name in ("total_uncompressed_size", "total_compressed_size")
        )
        if unpacked > _BATCH_BYTES and unpacked > MAX_RATIO * max(packed, 1):
            raise ConceptlibError(
                f"the table is refused: it would unpack to over {MAX_RATIO} times its size",
                where=str(self.path),
                hint="such tables are made to do harm",
            )
        return int(unpacked)

    def _opened(self) -> Any:
        try:
            path = str(self._root.check(self.path))
        except Reject as reject:
            raise ConceptlibError(f"the table is not read: {reject.detail}", where=str(self.path)) from reject
        try:
            if self.path.suffix.lower() == ".parquet":
                return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
            try:
                return pa.ipc.open_stream(pa.memory_map(path))
            except pa.ArrowInvalid:
                return pa.ipc.open_file(pa.memory_map(path))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> ConceptlibError:
        hint = "copy or download it again"
        return ConceptlibError(f"the table cannot be read: {first_line(error)}", where=str(self.path), hint=hint)


def _leaves(kind: pa.DataType) -> Iterator[pa.DataType]:
    if kind.num_fields:
        for k in range(kind.num_fields):
            yield from _leaves(kind.field(k).type)
    elif pa.types.is_dictionary(kind):
        yield kind.value_type
    else:
        yield kind


def _value(scalar: pa.Scalar) -> Any:
    """In Python's own types. Text that is no UTF-8 comes as its bytes, what Python cannot hold as a `Reject`."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return bytes(scalar.as_buffer()) if hasattr(scalar, "as_buffer") else Reject("bad-caption", "it is no UTF-8")
    except (ValueError, OverflowError, pa.ArrowException) as error:
        return Reject("bad-caption", first_line(error))
