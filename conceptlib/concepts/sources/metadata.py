"""Captions from `metadata.jsonl`, `.csv` and `.parquet`, as `datasets` reads them beside an imagefolder.

A row that does not fit is a reject with its line: of the picture that it names, or, where it names none, by itself. A
file that cannot be read at all (another delimiter, another encoding) is an error, since none of its rows could be used.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from conceptlib.concepts.rejects import Reject, first_line
from conceptlib.concepts.safe import leads_out
from conceptlib.concepts.sources.base import Reading, key_of
from conceptlib.concepts.sources.text import CAPTION_COLUMNS, caption_text, encoding_of, not_utf8, parse_json
from conceptlib.errors import ConceptlibError

NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
MAX_METADATA_BYTES = 4 << 30
_MAX_LINE = 16 << 20
_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def is_metadata(name: str) -> bool:
    """By the name of the file alone."""
    return name in NAMES


@dataclass
class Metadata:
    """The captions of one metadata file, by normalised path below its folder (macOS writes é as two characters, others
    as one).

    Args:
        file: its bytes; read at once.
        path: of the file, below the source; the names in it are relative to its folder.
        where: how errors call it.
        reading: names the caption column and the encoding.

    Raises:
        ConceptlibError: none of its rows can be used: no such columns, another delimiter, another encoding.
    """

    file: BinaryIO
    path: PurePosixPath
    where: str
    reading: Reading
    captions: dict[str, str | Reject | None] = field(default_factory=dict, init=False)
    labels: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)
    """By the same paths, the values of the columns that are kept as labels."""
    extra: list[tuple[str, Reject]] = field(default_factory=list, init=False)
    """Rows that no picture can have: the key and the reject of each."""

    def __post_init__(self) -> None:
        self._lines: dict[str, int] = {}
        self._columns: dict[str, None] = {}
        self._refused: set[str] = set()
        for line, row in self._rows():
            self._add(line, row)
        known = CAPTION_COLUMNS if self.reading.caption_column is None else (self.reading.caption_column,)
        if self.captions and not self._columns.keys() & set(known):
            others = ", ".join(name for name in self._columns if name != "file_name") or "none"
            raise ConceptlibError(
                f"no row has a column {' or '.join(known)}",
                where=f"{self.where}:{min(self._lines.values())}",
                hint=f"say which holds the caption: caption_column=..., one of {others}",
            )
        if self.captions and (missing := [name for name in self.reading.labels if name not in self._columns]):
            others = ", ".join(name for name in self._columns if name != "file_name" and name not in known) or "none"
            raise ConceptlibError(
                f"no row has a column {missing[0]!r} to keep as a label",
                where=f"{self.where}:{min(self._lines.values())}",
                hint=f"labels= names some of: {others}",
            )
        self._open = dict.fromkeys(self.captions)
        self.file = io.BytesIO()

    def take(self, path: PurePosixPath) -> str | Reject | None:
        """The caption of a picture (its path below the source), "" for an empty one; a reject where its row does not
        fit; None if the file does not name it.
        """
        key = self._name(path)
        if key is None:
            return None
        self._open.pop(key, None)
        return self.captions[key] or ""

    def labels_of(self, path: PurePosixPath) -> dict[str, Any] | None:
        """The values of the label columns in a picture's row; None if the file does not name it."""
        key = self._name(path)
        return None if key is None else self.labels.get(key, {})

    def _name(self, path: PurePosixPath) -> str | None:
        """What the file calls a picture; None if it does not."""
        try:
            key = _normal(path.relative_to(self.path.parent).as_posix())
        except ValueError:
            return None
        return key if key in self.captions else None

    def unused(self) -> Iterator[tuple[str, Reject]]:
        """The key and the reject of every row that no picture took: the row does not fit, or names no picture."""
        yield from self.extra
        for name in self._open:
            detail = f"named in {self._at(self._lines[name])}, but no picture there; names are relative to its folder"
            found = self.captions[name]
            yield self._key(name), found if isinstance(found, Reject) else Reject("missing-file", detail)

    def _add(self, line: int, row: dict[str, Any] | Reject) -> None:
        if isinstance(row, Reject):
            self.extra.append((self._key(f"{self.path.name}:{line}"), row))
            return
        self._columns |= dict.fromkeys(str(name) for name in row if name is not None)
        name = row.get("file_name")
        if not isinstance(name, str) or not name.strip():
            reject = Reject("bad-row", f"{self._at(line)}: the row has no file_name")
            self.extra.append((self._key(f"{self.path.name}:{line}"), reject))
            return
        if leads_out(name.strip()) or "\0" in name:
            reject = Reject("refused", f"{self._at(line)}: the name leads out of the folder")
            called = key_of(name.strip())
            if called in self._refused:
                called += f"#{line}"
            self._refused.add(called)
            self.extra.append((called, reject))
            return
        key = _normal(name.strip().replace("\\", "/"))
        if key in self.captions:
            reject = Reject("duplicate", f"{self._at(line)}: {key_of(key)} is named in line {self._lines[key]} already")
            self.extra.append((f"{self._key(key)}#{line}", reject))
            return
        self._lines[key] = line
        self.captions[key] = self._caption(row, line)
        if self.reading.labels:
            self.labels[key] = {name: row.get(name) for name in self.reading.labels}

    def _caption(self, row: dict[str, Any], line: int) -> str | Reject | None:
        if extra := row.get(None):  # type: ignore[call-overload]  # what csv has beyond the header
            given = len(row) - 1 + len(extra)
            why = f"{given} fields, and the header has {len(row) - 1}: put a caption with commas in quotes"
            return Reject("bad-row", f"{self._at(line)}: {why}")
        wanted = self.reading.caption_column
        names = [name for name in (CAPTION_COLUMNS if wanted is None else (wanted,)) if name in row]
        try:
            return caption_text(row[names[0]], self.reading.encoding) if names else None
        except Reject as reject:
            return Reject(reject.reason, f"{self._at(line)}: {reject.detail}")

    def _key(self, name: str) -> str:
        return key_of(self.path.parent / name)

    def _at(self, line: int) -> str:
        return f"{self.path.name}:{line}"

    def _rows(self) -> Iterator[tuple[int, dict[str, Any] | Reject]]:
        if self.path.suffix == ".parquet":
            yield from self._table()
            return
        head = self.file.read(64 << 10)
        self.file.seek(0)
        encoding = encoding_of(head, self.reading.encoding)
        if encoding == "utf-8" and b"\0" in head:
            raise self._no_text(head)
        text = io.TextIOWrapper(self.file, encoding, newline="")
        try:
            yield from self._csv(text) if self.path.suffix == ".csv" else self._jsonl(text)
        except UnicodeError as error:
            if self.reading.encoding:
                raise self._unreadable(f"it is no {encoding}: {first_line(error)}", "say another encoding=") from error
            raise self._no_text(bytes(getattr(error, "object", head))) from error
        except (csv.Error, OSError) as error:
            raise self._unreadable(first_line(error), "a quote that is not closed?") from error

    def _csv(self, text: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, Any] | Reject]]:
        reader = csv.DictReader(text, strict=True)
        header = list(reader.fieldnames or ())
        if "file_name" not in header:
            raise self._no_names(header)
        for row in reader:
            yield reader.line_num, row

    def _jsonl(self, text: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, Any] | Reject]]:
        for number, line in enumerate(_lines(text), 1):
            if not line.strip():
                continue
            try:
                if len(line) >= _MAX_LINE:
                    raise Reject("too-large", f"the line has more than {_MAX_LINE} characters")
                row = parse_json(line)
                if not isinstance(row, dict):
                    raise Reject("bad-row", "the line is no JSON object")
            except Reject as reject:
                yield number, Reject(reject.reason, f"{self._at(number)}: {reject.detail}")
                continue
            yield number, row

    def _table(self) -> Iterator[tuple[int, dict[str, Any]]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.file) as table:
                wanted = ("file_name", *CAPTION_COLUMNS, self.reading.caption_column, *self.reading.labels)
                columns = [name for name in table.schema_arrow.names if name in wanted]
                if "file_name" not in columns:
                    raise self._no_names(table.schema_arrow.names)
                number = 0
                for batch in table.iter_batches(1000, columns=columns):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, row
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._unreadable(first_line(error), "write the table anew") from error

    def _no_names(self, header: Iterable[str]) -> ConceptlibError:
        names = [str(name) for name in header]
        joined = ",".join(names)
        for mark, called in _DELIMITERS.items():
            if "file_name" in [part.strip(' "') for part in joined.split(mark)]:
                return ConceptlibError(
                    f"its fields are separated by {called} ({mark!r}), and not by commas",
                    where=self.where,
                    hint="save it with commas, or as metadata.jsonl",
                )
        shown = ", ".join(names)[:200] or "none"
        return ConceptlibError(
            f"there is no column file_name; the header has: {shown}",
            where=f"{self.where}:1",
            hint="every row names its picture: file_name, relative to the folder of the metadata",
        )

    def _no_text(self, data: bytes) -> ConceptlibError:
        return ConceptlibError(not_utf8(data), where=self.where, hint="or save it as UTF-8")

    def _unreadable(self, why: str, hint: str) -> ConceptlibError:
        return ConceptlibError(f"the metadata cannot be read: {why}", where=self.where, hint=hint)


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", PurePosixPath(name).as_posix())


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Lines, none longer than `_MAX_LINE`: the rest of such a one is passed over."""
    while line := text.readline(_MAX_LINE):
        yield line
        while len(line) == _MAX_LINE and not line.endswith("\n"):
            line = text.readline(_MAX_LINE)
