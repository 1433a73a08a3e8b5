"""What every source shares: its items, how a key decides a split, and what happens to pictures without captions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from PIL import Image

from conceptlib.concepts import world
from conceptlib.concepts.images import SUFFIXES, Reject
from conceptlib.concepts.picture_hashes import Hashes
from conceptlib.errors import ConceptlibError
from conceptlib.store.hashing import digest, sha256_bytes, sha256_file

CAPTION_COLUMNS = ("text", "caption", "prompt")
IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp")
_VARIANT = re.compile(r"~[0-9]+(\.\w+)?$")
MAX_FILE_BYTES = 256 << 20
"""A picture's file inside an archive is not read beyond this."""


@dataclass(frozen=True)
class Slice:
    """Encoded bytes of one picture in a file of many, on this machine: `length` of them from `start`. Whoever draws the
    picture reads them, so that a worker is not sent them.

    Args:
        pixels: mode and size (width, height) where the bytes are a header and then plain pixels, as in a PPM file.
        owner: what removes the file once nobody holds it; a worker's copy has none.
    """

    path: Path
    start: int
    length: int
    pixels: tuple[str, tuple[int, int]] | None = None
    owner: Any = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Slice, (self.path, self.start, self.length, self.pixels)

    def load(self) -> bytes | Image.Image:
        """What `images.decode` takes; plain pixels need no decoder. Raises `OSError`."""
        if self.pixels is None:
            return self.read()
        mode, size = self.pixels
        return Image.frombuffer(mode, size, self._last(size[0] * size[1] * len(mode)), "raw", mode, 0, 1)

    def _last(self, count: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.start + self.length - count)
            return file.read(count)

    def read(self) -> bytes:
        """All of them. Raises `OSError`."""
        return self._last(self.length)


@dataclass(frozen=True)
class Item:
    """One row of a source, before its picture is loaded.

    Args:
        key: the row's name, unique in its source; what its random streams and its split depend on.
        split: "train" or "test".
        data: encoded bytes, a file or a part of one, a scene of the world, or why there is no picture.
        caption: None if there is none.
        seed: the row's number in the world; None for pictures that were not made from a seed.
        labels: the world's words by attribute; None for other sources.
        machine_caption: the caption is a captioner's, not the source's.
        sha256: of the encoded bytes or the file, where the source has hashed it already; `content_sha256` tells it.
        hashes: what copies of it are found by, where the source has seen its pixels already.
    """

    key: str
    split: str
    data: bytes | Path | Slice | world.Scene | Reject
    caption: str | None = None
    seed: int | None = None
    labels: dict[str, str] | None = None
    machine_caption: bool = False
    sha256: str | None = None
    hashes: Hashes | None = None

    def load(self, size: int) -> bytes | Path | Image.Image:
        """What `images.decode` takes, a picture `fresh`; a scene is drawn at `size` px. Raises `Reject`."""
        if isinstance(self.data, Reject):
            raise self.data
        if isinstance(self.data, Slice):
            return self.data.load()
        return world.render(self.data, size) if isinstance(self.data, world.Scene) else self.data

    def content_sha256(self) -> str:
        """64 hex digits of the encoded bytes or the file. Raises `OSError`, and `TypeError` where there are none."""
        if self.sha256 is not None:
            return self.sha256
        if isinstance(self.data, bytes):
            return sha256_bytes(self.data)
        if isinstance(self.data, Slice):
            return sha256_bytes(self.data.read())
        if isinstance(self.data, Path):
            return sha256_file(self.data)
        raise TypeError(f"no encoded picture: {type(self.data).__name__}")

    def fingerprint(self) -> str:
        """64 hex digits of what the source gave: picture, caption, seed and labels. Neither the split nor what a
        captioner made of it counts.
        """
        data: Any
        if isinstance(self.data, Reject):
            data = ["reject", self.data.reason, self.data.detail]
        elif isinstance(self.data, world.Scene):
            data = ["scene", repr(self.data)]
        else:
            try:
                data = self.content_sha256()
            except OSError as error:
                data = ["unreadable", str(error.strerror)]
        return digest([data, None if self.machine_caption else self.caption, self.seed, self.labels])


class Source(Protocol):
    """Something that rows come from."""

    total: int | None
    """How many rows there are; None if nobody knows before the end."""
    ignored: int
    """How many files are there that are no pictures by their names."""

    def lock(self) -> dict[str, Any]:
        """What decides its rows: the same lock, the same rows."""
        ...

    def items(self) -> Iterator[Item]:
        """The rows, from the first; may be called again."""
        ...


def captioned(item: Item, missing: str) -> Item:
    """The item as the policy for missing captions wants it: "skip" rejects it, any other keeps it. A picture that
    cannot be had says that first.
    """
    if item.caption or isinstance(item.data, Reject):
        return item
    if missing == "skip":
        return replace(item, data=Reject("no-caption", "there is no caption for it"), caption=None)
    return replace(item, caption=None)


def variants(items: Iterable[Item], count: int) -> Iterator[Item]:
    """Each item so many times, under its own key `a.png` and then `a~1.png`, `a~2.png`, ...: rows that differ in all
    that depends on the key, and lie in one split. Of what is no picture, one.

    Raises:
        ConceptlibError: a key that looks like another's variant.
    """
    for item in items:
        if count > 1 and _VARIANT.search(item.key):
            raise ConceptlibError(
                "the row's key looks like a variant's", where=item.key, hint="rename the picture, or take variants=1"
            )
        yield item
        ending = PurePosixPath(item.key).suffix if is_picture(item.key) else ""
        stem = item.key[: len(item.key) - len(ending)]
        for number in range(1, 1 if isinstance(item.data, Reject) else count):
            yield replace(item, key=f"{stem}~{number}{ending}")


def original(key: str) -> str:
    """The key of the picture that a row shows: `a.png` of `a~2.png`. Keys that are no variant's stay."""
    return _VARIANT.sub(r"\1", key)


def split_of(key: str, test_share: float) -> str:
    """By the key alone: a picture stays in its split whatever is added to its folder."""
    return "test" if int(sha256_bytes(key.encode())[:13], 16) / 16**13 < test_share else "train"


def key_of(path: PurePosixPath) -> str:
    """A path as text that any file can hold: names that are no UTF-8 get escapes."""
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")


def is_picture(name: str) -> bool:
    """By the ending of a file's name."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def caption_in(fields: Mapping[str, Any], column: str | None) -> str | None:
    """The caption among named fields: of `column`, else of the first usual one that is there and not empty."""
    for name in CAPTION_COLUMNS if column is None else (column,):
        value = fields.get(name)
        value = next(iter(value), None) if isinstance(value, list) else value  # several a picture: the first
        if value is not None and str(value).strip():
            return str(value).strip()
    return None


def first_line(error: Exception) -> str:
    """The first line of somebody else's error."""
    return (str(error) or type(error).__name__).splitlines()[0]


def listing(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders of a folder, sorted; hidden ones and linked folders (they may lead in circles) are left out."""
    try:
        entries = sorted(folder.iterdir(), key=lambda p: p.name)
    except OSError as error:
        raise ConceptlibError(f"the folder cannot be read: {error.strerror}", where=str(folder)) from error
    shown = [p for p in entries if not p.name.startswith(".")]
    return [p for p in shown if not p.is_dir()], [p for p in shown if p.is_dir() and not p.is_symlink()]


def walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in the order of `listing`."""
    files, folders = listing(folder)
    yield from files
    for child in folders:
        yield from walk(child)


def hash_files(folder: Path, paths: Iterable[Path]) -> str:
    """One digest of files by path and content; unreadable ones count by name."""

    def entry(path: Path) -> tuple[str, str]:
        try:
            return key_of(PurePosixPath(path.relative_to(folder).as_posix())), sha256_file(path)
        except OSError:
            return key_of(PurePosixPath(path.relative_to(folder).as_posix())), "unreadable"

    with ThreadPoolExecutor(4) as pool:  # hashing releases the interpreter lock
        return digest(dict(pool.map(entry, paths)))


def require_rows(items: Iterator[Item], rows: int | None, where: object, what: str) -> int:
    """How many items there are, at most `rows`. Raises `ConceptlibError` if none."""
    count = sum(1 for _ in islice(items, rows))
    if not count:
        hint = f"files are known by their names: {', '.join(sorted(SUFFIXES))}"
        raise ConceptlibError(f"there are no pictures in the {what}", where=str(where), hint=hint)
    return count
