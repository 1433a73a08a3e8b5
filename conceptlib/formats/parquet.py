"""Parquet of the Hub: the dataset's shards with the boxes in them; `datasets.load_dataset(folder)`.

To the dataset's columns comes `objects`: `bbox` `[x, y, width, height]` in pixels, `category` (a `ClassLabel`) and
`score`. Shards keep their names and rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from conceptlib.concepts.tables import ShardWriter
from conceptlib.formats._job import Job, objects

ANNOTATIONS = "optional"


def write(job: Job, folder: Path) -> list[str]:
    """Write shard by shard."""
    for split in job.splits:
        for shard, samples in job.shards(split):
            schema = pq.read_schema(shard)
            if job.annotations is not None:
                schema = _with_objects(schema, job.categories)
            with ShardWriter(folder / "data" / shard.name, schema) as writer:
                for sample in samples:
                    row = dict(sample.row)
                    if job.annotations is not None:
                        found = objects(sample.found)
                        row["objects"] = found | {"category": [job.category(label) for label in found["category"]]}
                    writer.add(row)
    return []


def _with_objects(schema: pa.Schema, categories: Sequence[str]) -> pa.Schema:
    """The schema with the column `objects`, and its feature in the metadata that `datasets` reads."""
    kind = pa.struct(
        [
            ("bbox", pa.list_(pa.list_(pa.float32(), 4))),
            ("category", pa.list_(pa.int64())),
            ("score", pa.list_(pa.float32())),
        ]
    )
    known = json.loads((schema.metadata or {}).get(b"huggingface", b'{"info": {"features": {}}}'))
    known["info"]["features"]["objects"] = {
        "bbox": _list({"feature": _number(), "length": 4, "_type": "List"}),
        "category": _list({"names": list(categories), "_type": "ClassLabel"}),
        "score": _list(_number()),
    }
    return schema.append(pa.field("objects", kind)).with_metadata({"huggingface": json.dumps(known)})


def _list(feature: dict[str, object]) -> dict[str, object]:
    return {"feature": feature, "_type": "List"}


def _number() -> dict[str, object]:
    return {"dtype": "float32", "_type": "Value"}
