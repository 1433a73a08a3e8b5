"""Datasets and annotation sets as Parquet: what is in a shard, written atomically and read one row group at a time.

A dataset (or `images`) artifact holds `data/<split>-00000-of-00004.parquet`, which `datasets.load_dataset(folder)`
opens as it is: the image column carries the `datasets.Image` feature in the schema's metadata. An annotation artifact
has a file of the same name for every file of its dataset, and a row for every image, empty lists where nothing was
found. Reading and writing need memory for one row group (at most `GROUP_ROWS` rows and about `GROUP_BYTES` of
pictures), however long the table is. Nothing here imports `datasets`.

    table = ImageTable(store.get("icd-qr", kind="dataset"))
    for row in table.rows("train"):
        image = table.decode(row)                      # PIL, RGB
"""

from __future__ import annotations

from conceptlib.concepts.tables.annotations import AnnotationTable as AnnotationTable
from conceptlib.concepts.tables.images import ImageTable as ImageTable
from conceptlib.concepts.tables.images import image_row as image_row
from conceptlib.concepts.tables.images import suffix_of as suffix_of
from conceptlib.concepts.tables.schema import OBJECTS as OBJECTS
from conceptlib.concepts.tables.schema import TEXT as TEXT
from conceptlib.concepts.tables.schema import annotation_schema as annotation_schema
from conceptlib.concepts.tables.schema import image_schema as image_schema
from conceptlib.concepts.tables.schema import with_features as with_features
from conceptlib.concepts.tables.table import HasPath as HasPath
from conceptlib.concepts.tables.table import Table as Table
from conceptlib.concepts.tables.table import shard_name as shard_name
from conceptlib.concepts.tables.writer import SHARD_BYTES as SHARD_BYTES
from conceptlib.concepts.tables.writer import ShardWriter as ShardWriter
