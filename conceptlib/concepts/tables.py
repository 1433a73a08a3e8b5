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

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from conceptlib.concepts.overlays import Mark, Part
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from conceptlib.store import Artifact
from conceptlib.store.files import atomic_path
from conceptlib.store.hashing import sha256_bytes

GROUP_ROWS = 100
GROUP_BYTES = 64 << 20
SHARD_BYTES = 500 << 20
LABELS = ("object", "colour", "background", "style")
TEXT, OBJECTS = "text", "objects"
"""Columns of a published dataset: the caption, by the name that training scripts expect, and the boxes."""

_PART = pa.struct([("kind", pa.string()), ("text", pa.string()), ("quad", pa.list_(pa.float32(), 8))])
_SHARD = re.compile(r"^(?P<split>[a-z][a-z0-9_]*)-(?P<index>\d{5})-of-(?P<total>\d{5})\.parquet$")
_SPLIT_ORDER = ("train", "validation", "test")


class HasPath(Protocol):
    """An artifact, or anything else with a folder."""

    @property
    def path(self) -> Path: ...


def shard_name(split: str, index: int, total: int) -> str:
    """`train-00000-of-00004.parquet`; `split` is lower-case letters, digits and underscores, `index` counts from 0."""
    return f"{split}-{index:05d}-of-{total:05d}.parquet"


def image_schema(labels: bool = False) -> pa.Schema:
    """The schema of a dataset shard; with `labels`, also the world's object, colour, background and style."""
    fields = [
        ("image_id", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("caption", pa.string()),
        ("image_sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("seed", pa.int64()),
        *((name, pa.string()) for name in (LABELS if labels else ())),
    ]
    return with_features(pa.schema(fields))


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


def image_row(
    image_id: str,
    image: Image.Image | bytes,
    *,
    caption: str | None = None,
    seed: int | None = None,
    size: tuple[int, int] | None = None,
    **labels: str | None,
) -> dict[str, Any]:
    """A row for `ImageTable.write`.

    Args:
        image_id: unique in its artifact.
        image: a picture (stored as PNG), or the bytes of an encoded one.
        caption: None if there is none.
        seed: the seed that the picture was drawn or generated from.
        size: (width, height) of encoded bytes, where the caller knows it; read from the bytes otherwise.
        labels: `object`, `colour`, `background`, `style`; None for unknown. Give all four, or none where the picture
            has no such words.
    """
    if isinstance(image, Image.Image):
        size = image.size
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=3)
        image = buffer.getvalue()
    if size is None:
        with Image.open(io.BytesIO(image)) as opened:
            size = opened.size
    row = {
        "image_id": image_id,
        "image": {"bytes": image, "path": image_id.replace("/", "-") + suffix_of(image)},
        "caption": caption,
        "image_sha256": sha256_bytes(image),
        "width": size[0],
        "height": size[1],
        "seed": seed,
    }
    return row | labels


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


class ImageTable(Table):
    """The pictures and captions of a `dataset` or `images` artifact.

    Args:
        artifact: the artifact, or its folder.

    Raises:
        ConceptlibError: the folder has no shards, or not all of them, or they hold no pictures.
    """

    def __init__(self, artifact: HasPath | Path | str) -> None:
        super().__init__(artifact)
        if "image" not in self.schema.names:
            raise ConceptlibError(
                "this dataset holds no pictures",
                where=str(self.path),
                hint="a dataset of pictures is needed here; `conceptlib datasets show` tells what is in this one",
            )

    def decode(self, row: Mapping[str, Any]) -> Image.Image:
        """The row's picture, decoded, as RGB (width x height of the row)."""
        try:
            with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
                return image.convert("RGB")
        except Exception as error:  # decoders raise nearly everything on damaged bytes
            raise ConceptlibError(
                f"image {row.get('image_id')!r} cannot be decoded: {error}",
                where=str(self.path),
                hint="`conceptlib verify` tells whether the file is damaged",
            ) from error

    @staticmethod
    def write(path: Path | str, rows: Iterable[Mapping[str, Any]], *, labels: bool | None = None) -> int:
        """Write a shard atomically, as the rows come; returns how many there were.

        Args:
            path: the file; it appears only when it is whole.
            rows: `image_row(...)`, or dicts of the same keys.
            labels: whether to have the label columns; None: if the first row has one of them. All shards of an artifact
                must agree.
        """
        iterator = iter(rows)
        first = next(iterator, None)
        if labels is None:
            labels = first is not None and any(name in first for name in LABELS)
        with ShardWriter(path, image_schema(labels)) as shard:
            if first is not None:
                shard.add(first)
            for row in iterator:
                shard.add(row)
        return shard.count


class AnnotationTable(Table):
    """The boxes of an `annotations` artifact.

    Args:
        artifact: the artifact, or its folder.

    Raises:
        ConceptlibError: the folder has no shards, or not all of them.
    """

    @staticmethod
    def row(image: Mapping[str, Any], detections: Detections, marks: Sequence[Mark] = ()) -> dict[str, Any]:
        """A row for `write`: what was found in the image of a dataset row (its id, sha256, width and height are taken
        over).

        marks: where the overlays' own marks are known, one a detection: their areas and parts.
        """
        found = detections
        exact = bool(marks) or not len(found)
        return {
            "image_id": image["image_id"],
            "image_sha256": image["image_sha256"],
            "width": image["width"],
            "height": image["height"],
            "boxes": found.boxes.tolist(),
            "scores": found.scores.tolist(),
            "labels": list(found.labels),
            "quads": None if found.quads is None else found.quads.reshape(-1, 8).tolist(),
            "payloads": None if found.payloads is None else list(found.payloads),
            "visible": None if found.visible is None else found.visible.tolist(),
            "areas": [mark.area for mark in marks] if exact else None,
            "parts": [[_part(part) for part in mark.parts] for mark in marks] if exact else None,
        }

    @staticmethod
    def write(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Write a shard atomically, as the rows come (see `row`); returns how many there were."""
        with ShardWriter(path, annotation_schema()) as shard:
            for row in rows:
                shard.add(row)
        return shard.count

    @staticmethod
    def detections(row: Mapping[str, Any]) -> Detections:
        """The row's boxes: float32 xyxy in pixels of the stored picture."""
        quads, payloads, visible = row.get("quads"), row.get("payloads"), row.get("visible")
        return Detections(
            boxes=np.asarray(row["boxes"], np.float32).reshape(-1, 4),
            scores=np.asarray(row["scores"], np.float32),
            labels=tuple(row["labels"]),
            quads=None if quads is None else np.asarray(quads, np.float32).reshape(-1, 4, 2),
            payloads=None if payloads is None else tuple(payloads),
            visible=None if visible is None else np.asarray(visible, np.float32),
        )

    @staticmethod
    def parts(row: Mapping[str, Any]) -> list[tuple[Part, ...]]:
        """The row's parts (lines, words, repeats), a tuple a detection: empty ones where none are known."""
        return [
            tuple(
                Part(part["kind"], part["text"], np.asarray(part["quad"], np.float32).reshape(4, 2)) for part in parts
            )
            for parts in row.get("parts") or [()] * len(row["boxes"])
        ]

    def by_image(self, split: str | None = None) -> dict[str, Detections]:
        """Detections by image id, of one split or all. Raises `ConceptlibError` if an id comes twice."""
        found: dict[str, Detections] = {}
        for row in self.rows(split):
            if row["image_id"] in found:
                raise ConceptlibError(f"image id {row['image_id']!r} comes twice", where=str(self.path))
            found[row["image_id"]] = self.detections(row)
        return found


def _part(part: Part) -> dict[str, Any]:
    return {"kind": part.kind, "text": part.text, "quad": part.quad.reshape(8).tolist()}


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


def suffix_of(data: bytes) -> str:
    """The ending of an encoded picture's file, by its first bytes: `.jpg`, `.webp` or `.png`."""
    if data.startswith(b"\xff\xd8"):
        return ".jpg"
    return ".webp" if data[8:12] == b"WEBP" else ".png"


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
