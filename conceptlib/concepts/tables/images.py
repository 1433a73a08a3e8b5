"""Pictures with their captions and labels."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from conceptlib.concepts.labels import Columns, kinds_of
from conceptlib.concepts.tables.schema import image_schema
from conceptlib.concepts.tables.table import HasPath, Table
from conceptlib.concepts.tables.writer import ShardWriter
from conceptlib.errors import ConceptlibError
from conceptlib.store.hashing import sha256_bytes


def image_row(
    image_id: str,
    image: Image.Image | bytes,
    *,
    caption: str | None = None,
    seed: int | None = None,
    size: tuple[int, int] | None = None,
    **labels: str | float | None,
) -> dict[str, Any]:
    """A row for `ImageTable.write`.

    Args:
        image_id: unique in its artifact.
        image: a picture (stored as PNG), or the bytes of an encoded one.
        caption: None if there is none.
        seed: the seed that the picture was drawn or generated from.
        size: (width, height) of encoded bytes, where the caller knows it; read from the bytes otherwise.
        labels: values of the label columns, None for unknown: the same columns in every row of an artifact.
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
    def write(path: Path | str, rows: Iterable[Mapping[str, Any]], *, labels: Columns | None = None) -> int:
        """Write a shard atomically, as the rows come; returns how many there were.

        Args:
            path: the file; it appears only when it is whole.
            rows: `image_row(...)`, or dicts of the same keys.
            labels: the label columns; None: those of the first row. All shards of an artifact must agree.
        """
        iterator = iter(rows)
        first = next(iterator, None)
        if labels is None:
            labels = kinds_of([first] if first is not None else [])
        with ShardWriter(path, image_schema(labels)) as shard:
            if first is not None:
                shard.add(first)
            for row in iterator:
                shard.add(row)
        return shard.count


def suffix_of(data: bytes) -> str:
    """The ending of an encoded picture's file, by its first bytes: `.jpg`, `.webp` or `.png`."""
    if data.startswith(b"\xff\xd8"):
        return ".jpg"
    return ".webp" if data[8:12] == b"WEBP" else ".png"
