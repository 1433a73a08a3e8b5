"""What every source shares: its items, how a key decides a split, and what happens to pictures without captions."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol

from PIL import Image

from conceptlib.concepts.images import SUFFIXES, reads_heic
from conceptlib.concepts.labels import Columns, read_labels
from conceptlib.concepts.picture_hashes import Hashes
from conceptlib.concepts.rejects import Reject
from conceptlib.concepts.safe import Root
from conceptlib.concepts.sources.splits import SPLITS, SplitPolicy, in_proportion
from conceptlib.errors import ConceptlibError
from conceptlib.store.hashing import digest, sha256_bytes, sha256_file
from conceptlib.worlds.base import Drawn

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp")
_VARIANT = re.compile(r"~[0-9]+(\.\w+)?$")
READER = 2
"""Raised when a source of files comes to give other rows of the same files: it stands in their locks."""


@dataclass(frozen=True)
class Reading:
    """How a source is read.

    Args:
        rows: how many at most; None for all.
        test_share: share of rows that go to the test split, by hash of the row's key, where the source has no splits.
        image_column, caption_column: names of columns (of a table, of the tar's members); None: the usual ones.
        missing_captions: "skip" rejects pictures without a caption; anything else gives them none.
        splits: "keep" the source's own, "hash" the keys; None: keep where it is laid out in splits.
        encoding: of captions; None: UTF-8, or what their mark says.
        schemes: of the addresses that may be opened where a table names pictures (`https`).
        pictures: of a list of pictures in one row the "first", or "each" as a row.
        labels: columns that are kept as labels, see `conceptlib.concepts.labels`.
    """

    rows: int | None = None
    test_share: float = 0.2
    image_column: str | None = None
    caption_column: str | None = None
    missing_captions: str = "skip"
    splits: SplitPolicy | None = None
    encoding: str | None = None
    schemes: tuple[str, ...] = ()
    pictures: Literal["first", "each"] = "first"
    labels: Columns = field(default_factory=dict)

    def lock(self) -> dict[str, Any]:
        """What decides the rows of files beside them: what can be read here, and by which rules."""
        return {"reader": READER} | ({"heic": True} if reads_heic() else {})

    def split(self, key: str) -> str:
        """Of a row, by hash of its key."""
        return split_of(key, self.test_share)


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
        split: "train", "validation" or "test".
        data: encoded bytes, a file or a part of one, a scene that is drawn when needed, or why there is no picture.
        caption: None if there is none.
        seed: the row's number in the world; None for pictures that were not made from a seed.
        labels: values of the label columns; None for a source without.
        machine_caption: the caption is a captioner's, not the source's.
        sha256: of the encoded bytes or the file, where the source has hashed it already; `content_sha256` tells it.
        hashes: what copies of it are found by, where the source has seen its pixels already.
    """

    key: str
    split: str
    data: bytes | Path | Slice | Drawn | Reject
    caption: str | None = None
    seed: int | None = None
    labels: dict[str, Any] | None = None
    machine_caption: bool = False
    sha256: str | None = None
    hashes: Hashes | None = None

    def load(self, size: int) -> bytes | Path | Image.Image:
        """What `images.decode` takes, a picture `fresh`; a scene is drawn at `size` px. Raises `Reject`."""
        if isinstance(self.data, Reject):
            raise self.data
        if isinstance(self.data, Slice):
            return self.data.load()
        return self.data.draw(size) if isinstance(self.data, Drawn) else self.data

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
        elif isinstance(self.data, Drawn):
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


def captioned(item: Item, caption: Callable[[], str | None], missing: str) -> Item:
    """The item with its caption, as the policy for missing captions wants it: "skip" rejects an item without one, any
    other keeps it. A picture that cannot be had says that first; a caption that cannot be read rejects the item always.
    """
    if isinstance(item.data, Reject):
        return item
    try:
        text = caption()
    except Reject as reject:
        return replace(item, data=reject, caption=None)
    if not text and missing == "skip":
        return replace(item, data=Reject("no-caption", "there is no caption for it"), caption=None)
    return replace(item, caption=text or None)


def labelled(item: Item, row: Callable[[], Mapping[str, Any]], columns: Columns) -> Item:
    """The item with the labels of its row; rejected where one is no value of its column, or the row cannot be read."""
    if not columns or isinstance(item.data, Reject):
        return item
    try:
        return replace(item, labels=read_labels(row(), columns))
    except Reject as reject:
        return replace(item, data=reject, caption=None)


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


def some_of_each(make: Callable[[], Iterator[Item]], test_share: float) -> Iterator[Item]:
    """The items that `make` gives, those of the splits mixed as `splits.in_proportion` says."""
    streams = {split: filter(partial(_lies_in, split), make()) for split in SPLITS}
    return in_proportion(streams, test_share)


def _lies_in(split: str, item: Item) -> bool:
    return item.split == split


def split_of(key: str, test_share: float) -> str:
    """By the key alone: a picture stays in its split whatever is added to its folder."""
    return "test" if int(sha256_bytes(key.encode())[:13], 16) / 16**13 < test_share else "train"


def key_of(path: PurePosixPath | str) -> str:
    """A path as text that any file can hold: names that are no UTF-8 get escapes."""
    text = str(path)
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair that no file name can be
        return text.encode("utf-8", "backslashreplace").decode()


def is_picture(name: str) -> bool:
    """By the ending of a file's name."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


@dataclass(frozen=True)
class Listing:
    """What a folder holds, sorted by name, hidden entries left out.

    Args:
        files: regular files; linked ones that lie in the source.
        folders: folders. Linked ones may lead in circles and are not followed.
        refused: everything else, with the reason: links that lead out or to folders, fifos, devices.
    """

    files: list[Path]
    folders: list[Path]
    refused: dict[Path, Reject]


def listing(folder: Path, root: Root) -> Listing:
    """The entries of a folder below (or at) the root of a source. Raises `Reject` if it cannot be read."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise Reject("unreadable", f"the folder cannot be read: {error.strerror}") from error
    listed = Listing([], [], {})
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = folder / entry.name
        if entry.is_file(follow_symlinks=False):
            listed.files.append(path)
        elif entry.is_dir(follow_symlinks=False):
            listed.folders.append(path)
        else:
            try:
                root.check(path)
                listed.files.append(path)
            except Reject as reject:
                linked = entry.is_symlink() and reject.detail.startswith("it is a folder")
                listed.refused[path] = (
                    Reject("refused", "a link to a folder, which is not followed") if linked else reject
                )
    return listed


def listings(folder: Path, root: Root) -> Iterator[tuple[Path, Listing | Reject]]:
    """Every folder from this one down, parents first, in the order of their names, with what it holds or why it cannot
    be read."""
    waiting = [folder]
    while waiting:  # no recursion: folders may be a thousand deep
        path = waiting.pop()
        try:
            found = listing(path, root)
        except Reject as reject:
            yield path, reject
            continue
        waiting.extend(reversed(found.folders))
        yield path, found


def walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder, or itself if it is a file, in the order of `listings`."""
    if not folder.is_dir():
        yield folder
        return
    for _, found in listings(folder, Root(folder)):
        if isinstance(found, Listing):
            yield from found.files


def hash_files(folder: Path, paths: Iterable[Path]) -> str:
    """One digest of files by path and content; unreadable ones count by name."""

    def entry(path: Path) -> tuple[str, str]:
        key = key_of(path.relative_to(folder).as_posix())
        try:
            return key, sha256_file(path)
        except OSError:
            return key, "unreadable"

    with ThreadPoolExecutor(4) as pool:  # hashing releases the interpreter lock
        return digest(dict(pool.map(entry, paths)))


def require_rows(items: Iterator[Item], rows: int | None, where: object, what: str) -> int:
    """How many items there are, at most `rows`. Raises `ConceptlibError` if none."""
    count = sum(1 for _ in islice(items, rows))
    if not count:
        hint = f"files are known by their names: {', '.join(sorted(SUFFIXES))}"
        if isinstance(where, Path) and where.is_dir() and (archive := next(where.glob("*.zip"), None)):
            hint = f"a zip is a source by itself: source={archive}"
        raise ConceptlibError(f"there are no pictures in the {what}", where=str(where), hint=hint)
    return count
