"""Where pictures come from: the embedded world, a folder of pictures with captions, or a dataset on the Hub or on disk.

A source yields `Item`s one by one, in an order that depends on its content alone; the picture itself is loaded by
whoever draws it (a worker process), so that neither memory nor time is spent on it here. Nothing in a source is ever
written to.

    for item in open_source("photos").items():          # captions: metadata.jsonl, metadata.csv or NAME.txt
        print(item.key, item.split, item.caption)
"""

from __future__ import annotations

import csv
import json
import os
import re
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol

from PIL import Image

from conceptlib.concepts import world
from conceptlib.concepts.images import SUFFIXES, Reject
from conceptlib.errors import ConceptlibError
from conceptlib.store.hashing import digest, sha256_bytes, sha256_file

CAPTION_COLUMNS = ("text", "caption", "prompt")
IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp")
MISSING = Literal["skip", "keep"]
WORLD_ROWS = 3000

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True)
class Item:
    """One row of a source, before its picture is loaded.

    Args:
        key: the row's name, unique in its source; what its random streams and its split depend on.
        split: "train" or "test".
        data: encoded bytes, a file, a scene of the world, or why there is no picture.
        caption: None if there is none.
        seed: the row's number in the world; None for pictures that were not made from a seed.
        labels: the world's words by attribute; None for other sources.
    """

    key: str
    split: str
    data: bytes | Path | world.Scene | Reject
    caption: str | None = None
    seed: int | None = None
    labels: dict[str, str] | None = None

    def load(self, size: int) -> bytes | Path | Image.Image:
        """What `images.decode` takes; a scene is drawn at `size` px. Raises `Reject`."""
        if isinstance(self.data, Reject):
            raise self.data
        return world.render(self.data, size) if isinstance(self.data, world.Scene) else self.data


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


def open_source(
    ref: str,
    *,
    seed: int = 0,
    rows: int | None = None,
    test_share: float = 0.2,
    image_column: str | None = None,
    caption_column: str | None = None,
    split: str = "train",
    subset: str | None = None,
    missing_captions: MISSING = "skip",
) -> Source:
    """The source that `ref` names.

    Args:
        ref: "world"; a folder of pictures; a folder of Parquet files; a Hub dataset id (`org/name`, with `@revision` if
            need be).
        seed: of the world.
        rows: how many at most (world: exactly, 3000 if None); None for all.
        test_share: share of rows that go to the test split, 0 to 1: of a world its held-out stream, else by hash of the
            row's key.
        image_column, caption_column: names of columns (of the metadata file); None to look for the usual ones.
        split, subset: of a dataset.
        missing_captions: "skip" rejects pictures without a caption, "keep" gives them none.

    Raises:
        ConceptlibError: there is no such thing, or it holds no pictures.
    """
    if ref == "world":
        return WorldSource(seed, WORLD_ROWS if rows is None else rows, test_share)
    folder = Path(ref).expanduser()
    if folder.is_dir():
        if not any(_is_data_file(path) for path in _walk(folder)):
            return FolderSource(folder, rows, test_share, caption_column, missing_captions)
    elif folder.exists():
        raise ConceptlibError("the source is a file", where=ref, hint="give the folder that holds the pictures")
    elif not _HUB_ID.fullmatch(ref):
        hint = 'give "world", a folder of pictures, or a Hub dataset id (org/name)'
        raise ConceptlibError("there is no such source", where=ref, hint=hint)
    return HubSource(ref, rows, test_share, image_column, caption_column, split, subset, missing_captions)


class WorldSource:
    """Rows of `concepts.world`: the first stream is train, the held-out stream test.

    Args:
        seed: of the world.
        rows: of both splits together.
        test_share: share of them that is test, rounded to whole rows.
    """

    ignored = 0

    def __init__(self, seed: int, rows: int, test_share: float) -> None:
        self.total: int | None = rows
        self.seed, self.rows, self.tests = seed, rows, round(rows * test_share)

    def lock(self) -> dict[str, Any]:
        return {"kind": "world", "seed": self.seed, "rows": self.rows, "test": self.tests}

    def items(self) -> Iterator[Item]:
        for split, stream, count in (("train", "train", self.rows - self.tests), ("test", "held-out", self.tests)):
            for row in world.rows(self.seed, count, split=stream):
                yield Item(f"{split}-{row.index:08d}", split, row.scene, row.caption, row.index, row.labels)


class FolderSource:
    """A folder of pictures, as `datasets` calls it an imagefolder.

    Captions come from `metadata.jsonl` or `metadata.csv` of the picture's folder or of one above it (column `file_name`
    and a caption column), else from `NAME.txt` beside `NAME.png`. The row's key is the path below the folder. Memory:
    one folder's file names, and the metadata files above it.

    Args:
        folder, rows, test_share, caption_column, missing_captions: see `open_source`.

    Raises:
        ConceptlibError: no pictures; a metadata file that cannot be read (with its line), has no caption column, names
            a file twice.
    """

    def __init__(
        self, folder: Path, rows: int | None, test_share: float, caption_column: str | None, missing_captions: MISSING
    ) -> None:
        self.folder, self.rows, self.test_share = folder, rows, test_share
        self.caption_column, self.missing_captions = caption_column, missing_captions
        count = sum(1 for _ in islice(self.items(), rows))
        if not count:
            raise ConceptlibError(
                "there are no pictures in the folder",
                where=str(folder),
                hint=f"files are known by their names: {', '.join(sorted(SUFFIXES))}",
            )
        self.total: int | None = count
        self.ignored = sum(not _is_read(path) for path in _walk(folder))

    def lock(self) -> dict[str, Any]:
        """Every file that is read, by path and sha256: the same pictures elsewhere are the same source."""
        paths = [path for path in _walk(self.folder) if _is_read(path)]
        return {"kind": "folder", "sha256": _hash_files(self.folder, paths)}

    def items(self) -> Iterator[Item]:
        return islice(self._items(self.folder, []), self.rows)

    def _items(self, folder: Path, above: list[_Metadata]) -> Iterator[Item]:
        files, folders = _listing(folder)
        tables = [path for path in files if _is_metadata(path)]
        if len(tables) > 1:
            raise ConceptlibError(
                "there are two metadata files", where=str(folder), hint="keep metadata.jsonl or metadata.csv"
            )
        if tables:
            above = [*above, _Metadata(tables[0], self.caption_column)]
        for path in files:
            if _is_picture(path):
                yield self._item(path, above)
        for child in folders:
            yield from self._items(child, above)
        if tables:
            for name in above[-1].unused():
                key = _key(PurePosixPath(folder.relative_to(self.folder).as_posix()) / name)
                yield Item(
                    key,
                    _split(key, self.test_share),
                    Reject("missing-file", f"named in {tables[0].name}, but no picture there"),
                )

    def _item(self, path: Path, above: list[_Metadata]) -> Item:
        key = _key(PurePosixPath(path.relative_to(self.folder).as_posix()))
        captions = (table.take(path) for table in reversed(above))
        caption = next((text for text in captions if text is not None), None)
        if not caption and path.with_suffix(".txt").is_file():
            caption = path.with_suffix(".txt").read_text("utf-8-sig", errors="replace").strip()
        return _captioned(Item(key, _split(key, self.test_share), path, caption), self.missing_captions)


class HubSource:
    """A dataset with an image column, streamed: on the Hub, or a folder of Parquet or Arrow files.

    The row's key is its number. Args: see `open_source`.

    Raises:
        ConceptlibError: it cannot be reached or opened; it has no such column.
    """

    total: int | None = None
    ignored = 0

    def __init__(
        self,
        ref: str,
        rows: int | None,
        test_share: float,
        image_column: str | None,
        caption_column: str | None,
        split: str,
        subset: str | None,
        missing_captions: MISSING,
    ) -> None:
        self.local = Path(ref).expanduser() if Path(ref).expanduser().is_dir() else None
        self.ref, _, revision = (ref, "", "") if self.local else ref.partition("@")
        self.rows, self.test_share, self.split, self.subset = rows, test_share, split, subset
        self.image_column, self.caption_column, self.missing_captions = image_column, caption_column, missing_captions
        self.revision = None if self.local else self._commit(revision or None)

    def lock(self) -> dict[str, Any]:
        common = {"kind": "dataset", "split": self.split, "subset": self.subset}
        if self.local:
            return common | {"sha256": _hash_files(self.local, [p for p in _walk(self.local) if _is_data_file(p)])}
        return common | {"id": self.ref, "revision": self.revision}

    def items(self) -> Iterator[Item]:
        from datasets import Image as ImageFeature

        stream = self._load()
        columns = list(stream.column_names or [])
        image = self._column("image", self.image_column, IMAGE_COLUMNS, columns)
        caption = self._column("caption", self.caption_column, CAPTION_COLUMNS, columns)
        if image is None:
            hint = f"say which holds the pictures: image_column=..., one of {', '.join(columns)}"
            raise ConceptlibError("no column holds the pictures", where=self.ref, hint=hint)
        stream = stream.select_columns([c for c in (image, caption) if c]).cast_column(
            image, ImageFeature(decode=False)
        )
        for number, row in enumerate(islice(stream, self.rows)):
            key = f"row-{number:08d}"
            text = row[caption] if caption else None
            text = next(iter(text), None) if isinstance(text, list) else text  # several captions a picture: the first
            item = Item(
                key, _split(key, self.test_share), self._bytes(row[image]), None if text is None else str(text).strip()
            )
            yield _captioned(item, self.missing_captions)

    def _load(self) -> Any:
        from datasets import load_dataset

        try:
            if self.local:
                return load_dataset(str(self.local), self.subset, split=self.split, streaming=True)
            return load_dataset(self.ref, self.subset, split=self.split, streaming=True, revision=self.revision)
        except Exception as error:  # the library raises its own and the network's, of many kinds
            raise ConceptlibError(
                f"the dataset cannot be opened: {_reason(error)}",
                where=self.ref,
                hint=f"check its name, source_split={self.split}, source_subset, and `hf auth login` for a gated one",
            ) from error

    def _commit(self, revision: str | None) -> str:
        """The commit that a branch or tag means now: names move, and the lock must not."""
        from huggingface_hub import HfApi

        try:
            return str(HfApi().dataset_info(self.ref, revision=revision).sha)
        except Exception as error:
            raise ConceptlibError(
                f"the Hub does not answer for this dataset: {_reason(error)}",
                where=self.ref,
                hint="nor is it a folder; check its name, the network, HF_HUB_OFFLINE; if it is gated, `hf auth login`",
            ) from error

    def _column(self, what: str, name: str | None, usual: tuple[str, ...], columns: list[str]) -> str | None:
        if name is None:
            return next((c for c in usual if c in columns), None)
        if name not in columns:
            raise ConceptlibError(
                f"there is no column {name!r}",
                where=self.ref,
                hint=f"{what}_column is one of: {', '.join(columns) or 'none'}",
            )
        return name

    @staticmethod
    def _bytes(value: Any) -> bytes | Path | Reject:
        if isinstance(value, bytes):
            return value
        value = value if isinstance(value, dict) else {}
        if value.get("bytes"):
            return bytes(value["bytes"])
        path = str(value.get("path") or "")
        if "://" not in path:
            return Path(path) if path and Path(path).is_file() else Reject("missing-file", "the row holds no picture")
        import fsspec

        try:
            with fsspec.open(path, "rb") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return Reject("missing-file", path)


class _Metadata:
    """The captions of one metadata file, by normalised path below its folder (macOS writes é as two characters, others
    as one)."""

    def __init__(self, path: Path, column: str | None) -> None:
        self.path = path
        self.captions: dict[str, str] = {}
        self.open: dict[str, str] = {}
        for line, row in self._rows():
            name = row.get("file_name")
            if not isinstance(name, str) or not name.strip():
                raise ConceptlibError(
                    "the row has no file_name", where=f"{path}:{line}", hint="every row names its picture: file_name"
                )
            key = unicodedata.normalize("NFC", PurePosixPath(name.strip().replace("\\", "/")).as_posix())
            if key in self.captions:
                raise ConceptlibError(f"{name!r} is named twice", where=f"{path}:{line}", hint="keep one row a picture")
            caption = row.get(self._caption_column(row, column, line))
            self.captions[key] = "" if caption is None else str(caption).strip()
        self.open = dict.fromkeys(self.captions, "")

    def take(self, path: Path) -> str | None:
        """The caption of a picture below this file's folder; None if it does not name it."""
        key = unicodedata.normalize("NFC", path.relative_to(self.path.parent).as_posix())
        self.open.pop(key, None)
        return self.captions.get(key)

    def unused(self) -> list[str]:
        """Files that it names and nobody asked for."""
        return list(self.open)

    def _caption_column(self, row: dict[str, Any], column: str | None, line: int) -> str:
        names = CAPTION_COLUMNS if column is None else (column,)
        for name in names:
            if name in row:
                return name
        others = ", ".join(str(k) for k in row if k and k != "file_name")
        raise ConceptlibError(
            f"the row has no column {' or '.join(names)}",
            where=f"{self.path}:{line}",
            hint=f"say which holds the caption: caption_column=..., one of {others or 'none'}",
        )

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                if self.path.suffix == ".csv":
                    reader = csv.DictReader(file, strict=True)
                    for row in reader:
                        yield reader.line_num, row
                    return
                for line, text in enumerate(file, 1):
                    if text.strip():
                        row = json.loads(text)
                        if not isinstance(row, dict):
                            raise ConceptlibError("the line is no JSON object", where=f"{self.path}:{line}")
                        yield line, row
        except json.JSONDecodeError as error:
            raise ConceptlibError(
                f"the line is no JSON: {error.msg}", where=f"{self.path}:{line}", hint="one object a line"
            ) from error
        except (UnicodeDecodeError, csv.Error, OSError) as error:
            raise ConceptlibError(
                f"the metadata cannot be read: {error}", where=str(self.path), hint="it must be UTF-8"
            ) from error


def _reason(error: Exception) -> str:
    """The first line of somebody else's error."""
    return (str(error) or type(error).__name__).splitlines()[0]


def _captioned(item: Item, missing: MISSING) -> Item:
    """The item as the policy for missing captions wants it. A picture that cannot be had says that first."""
    if item.caption or isinstance(item.data, Reject):
        return item
    data = Reject("no-caption", "missing_captions=keep uses such pictures too") if missing == "skip" else item.data
    return Item(item.key, item.split, data, None, item.seed, item.labels)


def _split(key: str, test_share: float) -> str:
    """By the key alone: a picture stays in its split whatever is added to its folder."""
    return "test" if int(sha256_bytes(key.encode())[:13], 16) / 16**13 < test_share else "train"


def _key(path: PurePosixPath) -> str:
    """A path as text that any file can hold: names that are no UTF-8 get escapes."""
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _is_metadata(path: Path) -> bool:
    return path.name in ("metadata.jsonl", "metadata.csv")


def _is_read(path: Path) -> bool:
    return _is_picture(path) or _is_metadata(path) or path.suffix.lower() == ".txt"


def _is_data_file(path: Path) -> bool:
    return path.suffix in (".parquet", ".arrow")


def _listing(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders of a folder, sorted; hidden ones and linked folders (they may lead in circles) are left out."""
    try:
        entries = sorted(folder.iterdir(), key=lambda p: p.name)
    except OSError as error:
        raise ConceptlibError(f"the folder cannot be read: {error.strerror}", where=str(folder)) from error
    shown = [p for p in entries if not p.name.startswith(".")]
    return [p for p in shown if not p.is_dir()], [p for p in shown if p.is_dir() and not p.is_symlink()]


def _walk(folder: Path) -> Iterator[Path]:
    files, folders = _listing(folder)
    yield from files
    for child in folders:
        yield from _walk(child)


def _hash_files(folder: Path, paths: list[Path]) -> str:
    """One digest of files by path and content; unreadable ones count by name."""

    def entry(path: Path) -> tuple[str, str]:
        try:
            return _key(PurePosixPath(path.relative_to(folder).as_posix())), sha256_file(path)
        except OSError:
            return _key(PurePosixPath(path.relative_to(folder).as_posix())), "unreadable"

    with ThreadPoolExecutor(4) as pool:  # hashing releases the interpreter lock
        return digest(dict(pool.map(entry, paths)))
