"""Parquet of the Hub: the dataset's shards with the boxes in them; `datasets.load_dataset(folder)`.

`image`, `text` (the caption, by the name that training scripts expect), `objects` - `bbox` `[x, y, width, height]` in
pixels, `category` (a `ClassLabel`) and `score` - and then the dataset's other columns. Shards keep their names and
rows. The data of a published dataset is this too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from conceptlib.concepts.tables import OBJECTS, TEXT, ShardWriter, with_features
from conceptlib.formats._job import Job, objects

ANNOTATIONS = "optional"


def write(job: Job, folder: Path) -> list[str]:
    """Write shard by shard."""
    for split in job.splits:
        for shard, samples in job.shards(split):
            with ShardWriter(folder / "data" / shard.name, _schema(shard, job)) as writer:
                for sample in samples:
                    row = dict(sample.row)
                    row[TEXT] = row.pop("caption")
                    if job.annotations is not None:
                        found = objects(sample.found)
                        row[OBJECTS] = found | {"category": [job.category(label) for label in found["category"]]}
                    writer.add(row)
    return []


def _schema(shard: Path, job: Job) -> pa.Schema:
    known = {field.name: field for field in pq.read_schema(shard)}
    others = [field for name, field in known.items() if name not in ("image", "caption", TEXT, OBJECTS)]
    schema = with_features(pa.schema([known["image"], pa.field(TEXT, pa.string()), *others]))
    return schema if job.annotations is None else _with_objects(schema, job.categories)


def _with_objects(schema: pa.Schema, categories: Sequence[str]) -> pa.Schema:
    """The schema with the column `objects`, and its feature in the metadata that `datasets` reads."""
    kind = pa.struct(
        [
            ("bbox", pa.list_(pa.list_(pa.float32(), 4))),
            ("category", pa.list_(pa.int64())),
            ("score", pa.list_(pa.float32())),
        ]
    )
    known = json.loads((schema.metadata or {})[b"huggingface"])
    feature = {
        "bbox": _list({"feature": _number(), "length": 4, "_type": "List"}),
        "category": _list({"names": list(categories), "_type": "ClassLabel"}),
        "score": _list(_number()),
    }
    features = list(known["info"]["features"].items())
    known["info"]["features"] = dict([*features[:2], (OBJECTS, feature), *features[2:]])
    return schema.insert(2, pa.field(OBJECTS, kind)).with_metadata({"huggingface": json.dumps(known)})


def _list(feature: dict[str, object]) -> dict[str, object]:
    return {"feature": feature, "_type": "List"}


def _number() -> dict[str, object]:
    return {"dtype": "float32", "_type": "Value"}
