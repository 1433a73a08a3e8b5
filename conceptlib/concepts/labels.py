"""Label columns: what a dataset knows of its pictures beside the caption, such as the artist, the season, a year.

Their names are free. What they hold is declared: a `class` (one of a set of words), a `number`, or a `text`. The
manifest of a dataset has the declaration under `info.label_columns`; of an older one it follows from the table.

    labels=[artist, season]                  on the command line: classes
    labels={artist: class, year: number}     of other kinds
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from conceptlib.concepts.rejects import Reject

Kind = Literal["class", "number", "text"]
KINDS: tuple[str, ...] = get_args(Kind)
Columns = Mapping[str, Kind]
"""Label columns in their order, with their kinds."""
RESERVED = frozenset(
    {"image_id", "image", "caption", "text", "objects", "image_sha256", "width", "height", "seed", "file_name", "split"}
)
"""Columns that every dataset has, or that an export of it has."""
MOST_VALUES = 1000
"""Of a class column that a manifest lists; of more it says how many there are at least."""
DECLARED = "label_columns"


@dataclass(frozen=True)
class Label:
    """A label column as a manifest declares it.

    Args:
        kind: of its values.
        values: of a class column each value with the number of pictures that have it; None: not listed.
    """

    kind: Kind
    values: Mapping[str, int] | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind} | ({"values": dict(self.values)} if self.values is not None else {})


def columns_of(given: Mapping[str, Any] | Sequence[str]) -> dict[str, Kind]:
    """The columns that an option or a keyword names: a list of classes, or a mapping to kinds.

    Raises:
        ValueError: a name that is no column's, or is taken; an unknown kind.
    """
    columns: dict[str, Kind] = dict(given) if isinstance(given, Mapping) else dict.fromkeys(given, "class")
    if not isinstance(given, Mapping) and len(columns) < len(given):
        raise ValueError("a label column is named twice")
    for name, kind in columns.items():
        if not name.strip() or not name.isprintable() or len(name) > 100:
            raise ValueError(f"{name!r} is no name of a column")
        if name in RESERVED:
            raise ValueError(f"every dataset has a column {name!r} of its own: rename the label in the source")
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of label: {', '.join(KINDS)}")
    return columns


def read_labels(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """The labels of a row of a source, None where it says nothing.

    Raises:
        Reject: a value that is none of its column's kind.
    """
    return {name: _read(row.get(name), name, kind) for name, kind in columns.items()}


def class_names(metadata: Mapping[bytes, bytes] | None, columns: Columns) -> dict[str, list[str]]:
    """The words of columns that `datasets` wrote as numbers (`ClassLabel`), by the metadata of an Arrow schema."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        found = {name: features.get(name, {}) for name in columns}
        return {name: list(one["names"]) for name, one in found.items() if one.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def named_classes(row: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The row, with the words of what `datasets` keeps as numbers.

    Raises:
        Reject: a number that stands for no word, or a value that could not be read.
    """
    told = dict(row)
    for name, value in row.items():
        if isinstance(value, Reject):
            raise Reject("bad-label", f"{name}: {value.detail}")
        if name in names and value is not None:
            if not isinstance(value, int) or not -1 <= value < len(names[name]):
                raise Reject("bad-label", f"{name}: {value!r} is none of its {len(names[name])} classes")
            told[name] = names[name][value] if value >= 0 else None  # -1: unknown
    return told


def _read(value: Any, name: str, kind: Kind) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bytes):
        value = _text(value, name)
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
    elif not isinstance(value, bool | int | float):
        raise Reject("bad-label", f"{name}: a {type(value).__name__} is no label")
    if kind != "number":
        return _word(value)
    try:
        number = float(value)
    except ValueError:
        raise Reject("bad-label", f"{name}: {str(value)[:60]!r} is no number") from None
    if not math.isfinite(number):
        raise Reject("bad-label", f"{name}: {number} is no number to count with")
    return number


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise Reject("bad-label", f"{name}: it is no UTF-8") from None


def _word(value: Any) -> str:
    """A class's or a text's value: numbers as people write them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def in_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The labels of a dataset's row: its columns that are nobody else's, in their order."""
    return {name: value for name, value in row.items() if name not in RESERVED}


def shown(value: Any) -> Any:
    """A label for people and other tools: whole numbers without a point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def kinds_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Kind]:
    """The label columns of rows from Python: numbers where all values are, classes else."""
    found: dict[str, set[type]] = {}
    for row in rows:
        for name, value in in_row(row).items():
            found.setdefault(name, set()).update(() if value is None else (type(value),))
    return {name: "number" if kinds and kinds <= {int, float} else "class" for name, kinds in found.items()}


def labels_of(info: Mapping[str, Any], columns: Columns) -> dict[str, Label]:
    """The label columns of a dataset, as its manifest declares them.

    Args:
        info: of the manifest.
        columns: those of the table, of which all that the manifest does not declare (it may be older) is told.
    """
    known = info.get(DECLARED)
    declared = {
        name: Label(one["kind"], one.get("values"))
        for name, one in (known.items() if isinstance(known, Mapping) else ())
        if isinstance(one, Mapping) and one.get("kind") in KINDS
    }
    return {name: declared.get(name, Label(kind)) for name, kind in columns.items()}
