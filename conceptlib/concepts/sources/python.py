"""Anything that Python can loop over: a list, a generator, a torch or `datasets` dataset.

    build("icd-qr", source=((image, caption) for image, caption in mine))

What it yields is spooled to temporary files first, one row at a time: a generator can be read once, but the
lock (a hash of all it yielded, in order) must be known before the build starts, and a build may read its source twice.
Files and encoded bytes lie there as they are, pixels uncompressed (three bytes each), so that none is coded twice.
The same rows again are the same dataset; a stopped build goes on when the same rows come again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from conceptlib.concepts.images import Reject
from conceptlib.concepts.sources.base import IMAGE_COLUMNS, Item, caption_in, captioned, split_of
from conceptlib.errors import ConceptlibError
from conceptlib.store.hashing import digest, sha256_bytes

_KEYS = ("image_id", "key", "__key__", "id")


class IterableSource:
    """Rows from Python.

    Args:
        rows: each a mapping with an image column (`image`, `img`, `jpg`, `png`, `webp`), perhaps a caption column
            (`text`, `caption`, `prompt`) and a key (`image_id`, `key`, `__key__`, `id`); or a pair (image, caption); or
            an image. An image is a PIL picture, encoded bytes, a path, a uint8 array (height, width, 3), or a
            `datasets` dict of bytes and path. Without a key a row has its number.
        limit: rows to read at most; None for all. An endless iterable needs one.
        test_share, image_column, caption_column, missing_captions: see `open_source`.

    Raises:
        ConceptlibError: a row of another shape (with its number), a key that came before, or no rows.
    """

    ignored = 0

    def __init__(
        self,
        rows: Iterable[Any],
        limit: int | None,
        test_share: float,
        image_column: str | None,
        caption_column: str | None,
        missing_captions: str,
    ) -> None:
        self.test_share, self.missing_captions = test_share, missing_captions
        self.image_column, self.caption_column = image_column, caption_column
        self._folder = tempfile.TemporaryDirectory(prefix="conceptlib-rows-")  # removed with this object
        self._rows = Path(self._folder.name) / "rows.parquet"
        self._pictures = Path(self._folder.name) / "pictures"  # their bytes, end to end
        self.total: int | None = 0
        self._sha256 = self._write(islice(rows, limit))
        if not self.total:
            raise ConceptlibError(
                "the iterable yields nothing", where="source", hint="a generator can be read once only"
            )

    def lock(self) -> dict[str, Any]:
        """One hash over keys, pictures and captions, in their order."""
        return {"kind": "iterable", "sha256": self._sha256}

    def items(self) -> Iterator[Item]:
        from conceptlib.concepts.tables import ImageTable

        with self._pictures.open("rb") as pictures:
            for row in ImageTable.shard_rows(self._rows):
                data = pictures.read(row["length"]) or Reject("missing-file", row["missing"])
                split = split_of(row["image_id"], self.test_share)
                item = Item(row["image_id"], split, data, row["caption"], sha256=row["image_sha256"])
                yield captioned(item, self.missing_captions)

    def _write(self, rows: Iterable[Any]) -> str:
        import pyarrow as pa

        from conceptlib.concepts.tables import ShardWriter

        texts = dict.fromkeys(("image_id", "caption", "image_sha256", "missing"), pa.string())
        schema = pa.schema({**texts, "length": pa.int64()})
        running, seen = "", set[bytes]()
        with ShardWriter(self._rows, schema) as shard, self._pictures.open("wb") as pictures:
            for number, given in enumerate(rows):
                where = f"row {number} of the iterable"
                key, image, caption = self._parts(given, number, where)
                data = _encoded(image, where)
                short = bytes.fromhex(sha256_bytes(key.encode())[:16])
                if short in seen:
                    raise ConceptlibError(f"the key {key!r} came before", where=where, hint="keys are unique")
                seen.add(short)
                content, missing = (b"", data.detail) if isinstance(data, Reject) else (data, "")
                sha256 = sha256_bytes(content)
                pictures.write(content)
                told = {"caption": caption, "image_sha256": sha256, "missing": missing}
                shard.add({"image_id": key, "length": len(content), **told})
                running = digest([running, key, sha256, caption])
            self.total = shard.count
        return running

    def _parts(self, given: Any, number: int, where: str) -> tuple[str, Any, str | None]:
        key = f"row-{number:08d}"
        if isinstance(given, Mapping):
            names = IMAGE_COLUMNS if self.image_column is None else (self.image_column,)
            image = next((given[name] for name in names if given.get(name) is not None), None)
            if image is None:
                hint = f"say which holds it: image_column=..., one of {', '.join(map(str, given)) or 'none'}"
                raise ConceptlibError("the row has no picture", where=where, hint=hint)
            named = next((given[name] for name in _KEYS if given.get(name) is not None), key)
            return str(named), image, caption_in(given, self.caption_column)
        if isinstance(given, (tuple, list)):
            if len(given) != 2 or not (given[1] is None or isinstance(given[1], str)):
                raise ConceptlibError("the row is no pair (image, caption)", where=where, hint="or yield mappings")
            return key, given[0], (given[1] or "").strip() or None
        return key, given, None


def _encoded(image: Any, where: str) -> bytes | Reject:
    """A picture's encoded bytes: a file's and given ones as they are, plain pixels as PPM, others as PNG."""
    import io

    from PIL import Image

    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    if isinstance(image, (bytes, bytearray)):
        return bytes(image)
    if isinstance(image, (str, Path)):
        try:
            return Path(image).expanduser().read_bytes() or Reject("unreadable", "the file is empty")
        except OSError as error:
            return Reject("missing-file", f"{Path(image).name}: {error.strerror}")
    if hasattr(image, "__array__") and not isinstance(image, Image.Image):
        import numpy as np

        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
            raise ConceptlibError(
                f"the array is {pixels.dtype} {pixels.shape}", where=where, hint="uint8, (height, width, 3) is read"
            )
        image = Image.fromarray(pixels)
    if not isinstance(image, Image.Image):
        raise ConceptlibError(
            f"the picture is of type {type(image).__name__}",
            where=where,
            hint="PIL, bytes, a path or a uint8 array",
        )
    buffer = io.BytesIO()
    if image.mode in ("RGB", "L") and not image.info.keys() & {"icc_profile", "transparency"}:
        # As they are: to compress and to read a PNG three times takes longer than all that a build does to the picture.
        image.save(buffer, "PPM")
        return buffer.getvalue()
    try:
        image.save(buffer, "PNG", compress_level=1)
    except OSError:  # modes that PNG does not know: CMYK, YCbCr, F
        image.convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
