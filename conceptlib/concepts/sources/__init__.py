"""Where pictures come from: the embedded world, folders, Parquet, WebDataset tars, zips, the Hub, Python.

A source yields `Item`s one by one, in an order that depends on its content alone; the picture itself is loaded by
whoever draws it (a worker process), so that neither memory nor time is spent on it here. Nothing in a source is ever
written to, and no archive is ever unpacked to disk. Captions are kept as they are, whatever their language.

    for item in open_source("photos").items():          # captions: metadata.jsonl, metadata.csv or NAME.txt
        print(item.key, item.split, item.caption)

One file a source; `open_source` chooses by what a name stands for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conceptlib.concepts.sources.archive import ZipSource
from conceptlib.concepts.sources.base import Item, Source, is_picture, walk
from conceptlib.concepts.sources.folder import FolderSource
from conceptlib.concepts.sources.hub import HubSource, is_data_file
from conceptlib.concepts.sources.python import IterableSource
from conceptlib.concepts.sources.tar import TarSource, is_tar
from conceptlib.concepts.sources.world import WORLD_ROWS, WorldSource
from conceptlib.errors import ConceptlibError

__all__ = [
    "FolderSource",
    "HubSource",
    "Item",
    "IterableSource",
    "Source",
    "TarSource",
    "WorldSource",
    "ZipSource",
    "open_source",
]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


def open_source(
    ref: str | Iterable[Any],
    *,
    seed: int = 0,
    rows: int | None = None,
    test_share: float = 0.2,
    image_column: str | None = None,
    caption_column: str | None = None,
    split: str = "train",
    subset: str | None = None,
    missing_captions: str = "skip",
    hashed: bool = False,
) -> Source:
    """The source that `ref` names.

    Args:
        ref: "world"; a folder of pictures; a folder of Parquet or Arrow files, or one such file; a WebDataset tar or a
            folder of them; a zip of pictures; a Hub dataset id (`org/name`, with `@revision` if need be); or an
            iterable of rows (see `IterableSource`).
        seed: of the world.
        rows: how many at most (world: exactly, 3000 if None); None for all.
        test_share: share of rows that go to the test split, 0 to 1: of a world its held-out stream, else by hash of the
            row's key.
        image_column, caption_column: names of columns (of the metadata file, of the tar's members); None to look for
            the usual ones.
        split, subset: of a dataset.
        missing_captions: "skip" rejects pictures without a caption; anything else gives them none.
        hashed: whether copies will be looked for: pictures that come decoded are then hashed while they are at hand.

    Raises:
        ConceptlibError: there is no such thing, or it holds no pictures.
    """
    if not isinstance(ref, str):
        return IterableSource(ref, rows, test_share, image_column, caption_column, missing_captions, hashed)
    if ref == "world":
        return WorldSource(seed, WORLD_ROWS if rows is None else rows, test_share)
    path = Path(ref).expanduser()
    kinds = _kinds(path)
    if "data" in kinds or not path.exists():
        if not path.exists() and not _HUB_ID.fullmatch(ref):
            hint = "source=world, a folder of pictures, a tar or zip of them, or a Hub dataset id (org/name)"
            raise ConceptlibError("there is no such source", where=ref, hint=hint)
        return HubSource(ref, rows, test_share, image_column, caption_column, split, subset, missing_captions)
    if kinds == {"tar"}:
        return TarSource(path, rows, test_share, image_column, caption_column, missing_captions)
    if path.is_dir():
        return FolderSource(path, rows, test_share, caption_column, missing_captions)
    if path.suffix.lower() == ".zip":
        return ZipSource(path, rows, test_share, missing_captions)
    raise ConceptlibError("the source is a file", where=ref, hint="give the folder that holds the pictures")


def _kinds(path: Path) -> set[str]:
    """What a folder holds, or a file is: "data" (Parquet, Arrow), "tar", "picture"."""
    if not path.exists():
        return set()
    files = walk(path) if path.is_dir() else iter([path])
    tests = {"data": is_data_file, "tar": is_tar, "picture": lambda file: is_picture(file.name)}
    return {kind for file in files for kind, test in tests.items() if test(file)}
