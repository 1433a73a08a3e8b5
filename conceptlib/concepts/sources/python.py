"""Anything that Python can loop over: a list, a generator, a torch or `datasets` dataset.

    build("icd-qr", source=((image, caption) for image, caption in mine))

What it yields is spooled to temporary files first, one row at a time: a generator can be read once, but the
lock (a hash of all it yielded, in order) must be known before the build starts, and a build may read its source twice.
Files and encoded bytes lie there as they are, pixels uncompressed (three bytes each), so that none is coded twice; a
picture that was opened from a file is turned upright as the file would be.
The same rows again are the same dataset; a stopped build goes on when the same rows come again.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from PIL import Image

from conceptlib.concepts.images import MAX_PIXELS, upright
from conceptlib.concepts.labels import Columns, read_labels
from conceptlib.concepts.picture_hashes import Hashes, small_hashes
from conceptlib.concepts.rejects import Reject, first_line
from conceptlib.concepts.safe import read_file
from conceptlib.concepts.sources.base import IMAGE_COLUMNS, Item, Slice, captioned, key_of, labelled, split_of
from conceptlib.concepts.sources.text import caption_in, caption_text
from conceptlib.errors import ConceptlibError
from conceptlib.store.hashing import HashingWriter, digest, sha256_bytes

_KEYS = ("image_id", "key", "__key__", "id")


class IterableSource:
    """Rows from Python.

    Args:
        rows: each a mapping with an image column (`image`, `img`, `jpg`, `png`, `webp`), perhaps a caption column
            (`text`, `caption`, `prompt`) and a key (`image_id`, `key`, `__key__`, `id`); or a pair (image, caption); or
            an image. An image is a PIL picture, encoded bytes, a path, a uint8 array (height, width, 3), or a
            `datasets` dict of bytes and path. Without a key a row has its number.
        limit: rows to read at most; None for all. An endless iterable needs one.
        test_share, image_column, caption_column, missing_captions, hashed, encoding: see `open_source`.
        labels: columns of the mappings that are kept, see `conceptlib.concepts.labels`.

    Raises:
        ConceptlibError: a row of another shape (with its number), a key that came before, no rows, or no room for them.
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
        hashed: bool = False,
        encoding: str | None = None,
        labels: Columns | None = None,
    ) -> None:
        self.encoding, self.labels = encoding, dict(labels or {})
        self.test_share, self.missing_captions, self.hashed = test_share, missing_captions, hashed
        self.image_column, self.caption_column = image_column, caption_column
        self._folder = tempfile.TemporaryDirectory(prefix="conceptlib-rows-")  # removed with this object and its items
        self._rows = Path(self._folder.name) / "rows.parquet"
        self._pictures = Path(self._folder.name) / "pictures"  # their bytes, end to end
        self.total: int | None = 0
        self._sha256 = self._write(islice(rows, limit))
        if not self.total:
            raise ConceptlibError(
                "the iterable yields nothing", where="source", hint="a generator can be read once only"
            )

    def lock(self) -> dict[str, Any]:
        """One hash over keys, pictures, captions and labels, in their order."""
        return {"kind": "iterable", "sha256": self._sha256}

    def items(self) -> Iterator[Item]:
        from conceptlib.concepts.tables import ImageTable

        start = 0
        for row in ImageTable.shard_rows(self._rows):
            pixels = (row["mode"], (row["width"], row["height"])) if row["mode"] else None
            data: Slice | Reject = Slice(self._pictures, start, row["length"], pixels, self._folder)
            start += row["length"]
            if row["reason"] is not None:
                data = Reject(row["reason"], row["detail"])
            hashes = Hashes(row["exact"], row["near"], row["sketch"]) if row["exact"] is not None else None
            split = split_of(row["image_id"], self.test_share)
            item = Item(row["image_id"], split, data, sha256=row["image_sha256"], hashes=hashes)
            item = captioned(item, partial(row.get, "caption"), self.missing_captions)
            yield labelled(item, partial(json.loads, row["labels"] or "{}"), self.labels)

    def _write(self, rows: Iterable[Any]) -> str:
        import pyarrow as pa

        from conceptlib.concepts.tables import ShardWriter

        texts = dict.fromkeys(
            ("image_id", "caption", "image_sha256", "reason", "detail", "mode", "labels"), pa.string()
        )
        numbers = {"length": pa.int64(), "width": pa.int32(), "height": pa.int32()}
        schema = pa.schema({**texts, **numbers, "exact": pa.uint64(), "near": pa.uint64(), "sketch": pa.binary()})
        running, seen = "", set[bytes]()
        with ShardWriter(self._rows, schema) as shard, self._pictures.open("wb", buffering=0) as pictures:
            for number, given in enumerate(rows):
                where = f"row {number} of the iterable"
                key, image, caption = self._parts(given, number, where)
                short = bytes.fromhex(sha256_bytes(key.encode())[:16])
                if short in seen:
                    raise ConceptlibError(f"the key {key!r} came before", where=where, hint="keys are unique")
                seen.add(short)
                try:
                    told = self._spool(image, where, pictures)
                except OSError as error:
                    hint = "set TMPDIR to a folder with room: a decoded picture of 512 px takes 0.8 MB"
                    raise ConceptlibError(
                        f"the rows from Python cannot be kept: {error.strerror or error}",
                        where=self._folder.name,
                        hint=hint,
                    ) from error
                shown: Any = caption
                if isinstance(caption, Reject):
                    told = {"reason": caption.reason, "detail": caption.detail} | told
                    shown = {"rejected": caption.detail}
                text = None if isinstance(caption, Reject) else caption
                labels = self._labels(given, told)
                shard.add({"image_id": key, "caption": text, "labels": json.dumps(labels), **told})
                running = digest([running, key, told["image_sha256"], shown, *([labels] if self.labels else [])])
            self.total = shard.count
        return running

    def _labels(self, given: Any, told: dict[str, Any]) -> dict[str, Any]:
        """The row's labels; where one does not fit its column, `told` says why the row is rejected."""
        row = given if isinstance(given, Mapping) else {}
        try:
            return read_labels({name: _plain(row.get(name)) for name in self.labels}, self.labels)
        except Reject as reject:
            if told.get("reason") is None:
                told |= {"reason": reject.reason, "detail": reject.detail}
            return {}

    def _spool(self, image: Any, where: str, pictures: BinaryIO) -> dict[str, Any]:
        """Append a picture to the spool: a file and given bytes as they are, plain pixels as PPM, others as PNG."""
        content = HashingWriter(pictures)
        told: dict[str, Any] = {}
        given = _given(image, where)
        if isinstance(given, Reject):
            told |= {"reason": given.reason, "detail": given.detail}
        elif isinstance(given, bytes):
            content.write(given)
        elif given.mode in ("RGB", "L") and not given.info.keys() & {"icc_profile", "transparency"}:
            # As they are: to compress and to read a PNG takes longer than all that a build does to the picture.
            given.save(cast(BinaryIO, content), "PPM")  # of a file it needs `write`
            told |= {"mode": given.mode, "width": given.width, "height": given.height}
            if self.hashed and given.width * given.height <= MAX_PIXELS:
                told |= vars(small_hashes(given if given.mode == "RGB" else given.convert("RGB"), content.sha256()))
        else:
            content.write(_png(given))
        return told | {"image_sha256": content.sha256(), "length": content.count}

    def _parts(self, given: Any, number: int, where: str) -> tuple[str, Any, str | Reject | None]:
        key = f"row-{number:08d}"
        if isinstance(given, Mapping):
            names = IMAGE_COLUMNS if self.image_column is None else (self.image_column,)
            there = [name for name in names if name in given]
            if not there:
                hint = f"say which holds it: image_column=..., one of {', '.join(map(str, given)) or 'none'}"
                raise ConceptlibError("the row has no picture", where=where, hint=hint)
            image = next((given[name] for name in there if given[name] is not None), None)
            named = next((given[name] for name in _KEYS if given.get(name) is not None), key)
            return key_of(str(named)), image, _caption(lambda: caption_in(given, self.caption_column, self.encoding))
        if isinstance(given, (tuple, list)):
            if len(given) != 2:
                raise ConceptlibError("the row is no pair (image, caption)", where=where, hint="or yield mappings")
            return key, given[0], _caption(lambda: caption_text(given[1], self.encoding))
        return key, given, None


def _plain(value: Any) -> Any:
    """A number of NumPy or torch as Python's own."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def _caption(make: Callable[[], str | None]) -> str | Reject | None:
    try:
        return make()
    except Reject as reject:
        return reject


def _given(image: Any, where: str) -> Image.Image | bytes | Reject:
    """A row's picture: upright pixels, or a file's or the given encoded bytes."""
    if isinstance(image, (list, tuple)):
        image = next((one for one in image if one is not None), None)  # of several pictures the first
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    if image is None:
        return Reject("missing-file", "the row holds no picture")
    if isinstance(image, (bytes, bytearray)):
        return bytes(image) or Reject("unreadable", "the file is empty")
    if isinstance(image, (str, Path)):
        try:
            return read_file(Path(image).expanduser()) or Reject("unreadable", "the file is empty")
        except Reject as reject:
            return Reject(reject.reason, f"{key_of(Path(image).name)}: {reject.detail}")
    if hasattr(image, "__array__") and not isinstance(image, Image.Image):
        import numpy as np

        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
            raise ConceptlibError(
                f"the array is {pixels.dtype} {pixels.shape}", where=where, hint="uint8, (height, width, 3) is read"
            )
        try:
            image = Image.fromarray(pixels)
        except (TypeError, ValueError) as error:
            hint = "uint8, (height, width, 3) is read"
            raise ConceptlibError(f"the array is uint8 {pixels.shape}", where=where, hint=hint) from error
    if not isinstance(image, Image.Image):
        raise ConceptlibError(
            f"the picture is of type {type(image).__name__}",
            where=where,
            hint="PIL, bytes, a path or a uint8 array",
        )
    if 0 in image.size:
        return Reject("tiny", f"{image.width}x{image.height} px")
    try:
        image.load()
    except Exception as error:  # decoders raise nearly everything on damaged files
        return Reject("damaged", first_line(error))
    return upright(image)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    try:
        image.save(buffer, "PNG", compress_level=1)
    except OSError:  # modes that PNG does not know: CMYK, YCbCr, F
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
