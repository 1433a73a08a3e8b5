"""The columns of a shard: of pictures, with the labels that a dataset has, and of annotations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from conceptlib.concepts.labels import Columns, Kind, columns_of

TEXT, OBJECTS = "text", "objects"
"""Columns of a published dataset: the caption, by the name that training scripts expect, and the boxes."""

_PART = pa.struct([("kind", pa.string()), ("text", pa.string()), ("quad", pa.list_(pa.float32(), 8))])
_LABELS: dict[Kind, pa.DataType] = {"class": pa.string(), "number": pa.float64(), "text": pa.string()}
_KIND = b"conceptlib.kind"


def image_schema(labels: Columns | Sequence[str] = ()) -> pa.Schema:
    """The schema of a dataset shard.

    labels: further columns, see `conceptlib.concepts.labels`; names alone are classes.
    """
    fields: list[Any] = [
        ("image_id", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("caption", pa.string()),
        ("image_sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("seed", pa.int64()),
        *(_label(name, kind) for name, kind in columns_of(labels).items()),
    ]
    return with_features(pa.schema(fields))


def label_kind(field: pa.Field) -> Kind:
    """What a label column of a shard holds."""
    if pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
        return "number"
    return "text" if (field.metadata or {}).get(_KIND) == b"text" else "class"


def _label(name: str, kind: Kind) -> pa.Field:
    # Classes are not marked: tables from before there were kinds have the same bytes.
    return pa.field(name, _LABELS[kind], metadata={_KIND: b"text"} if kind == "text" else None)


def annotation_schema() -> pa.Schema:
    """The schema of an annotation shard."""
    return with_features(
        pa.schema(
            [
                ("image_id", pa.string()),
                ("image_sha256", pa.string()),
                ("width", pa.int32()),
                ("height", pa.int32()),
                ("boxes", pa.list_(pa.list_(pa.float32(), 4))),
                ("scores", pa.list_(pa.float32())),
                ("labels", pa.list_(pa.string())),
                ("quads", pa.list_(pa.list_(pa.float32(), 8))),
                ("payloads", pa.list_(pa.string())),
                ("visible", pa.list_(pa.float32())),
                ("areas", pa.list_(pa.int32())),
                ("parts", pa.list_(pa.list_(_PART))),
            ]
        )
    )


def with_features(schema: pa.Schema) -> pa.Schema:
    """Add what `datasets.Features(...).arrow_schema` would: written by hand, since importing `datasets` takes
    seconds."""
    features = {field.name: _feature(field) for field in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _feature(field: pa.Field) -> dict[str, Any]:
    kind = field.type
    if pa.types.is_struct(kind) and kind != _PART:
        return {"_type": "Image"}
    if pa.types.is_struct(kind):
        return {part.name: _feature(part) for part in kind}
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_field), "length": kind.list_size, "_type": "List"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_field), "_type": "List"}
    return {"dtype": {"float": "float32", "double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}
