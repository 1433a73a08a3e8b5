"""Writing a shard row by row, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from conceptlib.errors import ConceptlibError
from conceptlib.store.files import atomic_path

GROUP_ROWS = 100
GROUP_BYTES = 64 << 20
SHARD_BYTES = 500 << 20


class ShardWriter:
    """Writes one shard row by row; the file appears, whole, by `close` or the end of the `with` block, else not at all.

    Args:
        path: the file.
        schema: `image_schema()` or `annotation_schema()`.

    `count` and `bytes` (of pictures) say what was added so far.
    """

    def __init__(self, path: Path | str, schema: pa.Schema) -> None:
        self.path = Path(path)
        self.count = 0
        self.bytes = 0
        self._schema = schema
        self._group: list[Mapping[str, Any]] = []
        self._group_bytes = 0
        self._whole = atomic_path(self.path)
        temporary = self._whole.__enter__()
        # Pictures are compressed already and never repeat: no dictionary, no min/max statistics, no compression.
        nested = pa.types.is_list, pa.types.is_struct
        small = [field.name for field in schema if not any(test(field.type) for test in nested)]
        pictures = {"image.bytes": "none", "image.path": "snappy"}
        compression = pictures | dict.fromkeys(small, "snappy") if "image" in schema.names else "snappy"
        self._writer = pq.ParquetWriter(
            temporary, schema, compression=compression, use_dictionary=small, write_statistics=small
        )

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close() if error is None else self.abandon()

    def close(self) -> None:
        """Finish the file."""
        try:
            if self._group or not self.count:
                self._flush()
        except BaseException:
            self.abandon()
            raise
        self._writer.close()
        self._whole.__exit__(None, None, None)

    def abandon(self) -> None:
        """Drop what was written; `path` stays as it was."""
        self._writer.close()
        error = InterruptedError("the shard was not finished")
        self._whole.__exit__(InterruptedError, error, None)

    def add(self, row: Mapping[str, Any]) -> None:
        """One more row: a dict of the schema's columns; missing ones are null, unknown ones raise `ConceptlibError`."""
        if extra := row.keys() - set(self._schema.names):
            raise ConceptlibError(f"the table has no column {', '.join(sorted(extra))}", where=str(self.path))
        size = len(row["image"]["bytes"]) if "image" in row else 0
        self._group.append(row)
        self.count, self.bytes, self._group_bytes = self.count + 1, self.bytes + size, self._group_bytes + size
        if len(self._group) >= GROUP_ROWS or self._group_bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        try:
            self._writer.write_table(pa.Table.from_pylist(self._group, schema=self._schema))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ConceptlibError(f"a row does not fit the table: {error}", where=str(self.path)) from error
        self._group, self._group_bytes = [], 0
