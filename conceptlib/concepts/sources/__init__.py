"""Where pictures come from: the embedded world, folders, Parquet, WebDataset tars, zips, the Hub, Python.

A source yields `Item`s one by one, in an order that depends on its content alone; the picture itself is loaded by
whoever draws it (a worker process), so that neither memory nor time is spent on it here. Nothing in a source is ever
written to, and no archive is ever unpacked to disk. Captions are kept as they are, whatever their language.

    for item in open_source("photos").items():          # captions: metadata.jsonl, .csv, .parquet, or NAME.txt
        print(item.key, item.split, item.caption)

One file a source; `open_source` chooses by what a name stands for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from conceptlib.concepts.labels import Columns
from conceptlib.concepts.rejects import Reject
from conceptlib.concepts.safe import Root
from conceptlib.concepts.sources.archive import ZipSource
from conceptlib.concepts.sources.base import IMAGE_COLUMNS, Item, Reading, Source, is_picture, walk
from conceptlib.concepts.sources.data_files import is_data_file, is_saved
from conceptlib.concepts.sources.folder import FolderSource
from conceptlib.concepts.sources.hub import HubSource
from conceptlib.concepts.sources.metadata import is_metadata
from conceptlib.concepts.sources.python import IterableSource
from conceptlib.concepts.sources.splits import SplitPolicy
from conceptlib.concepts.sources.table import TableSource, columns_of
from conceptlib.concepts.sources.tar import TarSource, is_tar
from conceptlib.concepts.sources.world import WORLD_ROWS, WorldSource
from conceptlib.errors import ConceptlibError
from conceptlib.worlds import of_source

__all__ = [
    "FolderSource",
    "HubSource",
    "Item",
    "IterableSource",
    "Reading",
    "Source",
    "TableSource",
    "TarSource",
    "WorldSource",
    "ZipSource",
    "open_source",
]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_WHAT = "source=world, a picture or a folder of them, Parquet files, a tar or zip, or a Hub dataset id (org/name)"


def open_source(
    ref: str | Iterable[Any],
    *,
    seed: int = 0,
    rows: int | None = None,
    test_share: float = 0.2,
    image_column: str | None = None,
    caption_column: str | None = None,
    split: str | None = None,
    subset: str | None = None,
    missing_captions: str = "skip",
    hashed: bool = False,
    splits: SplitPolicy | None = None,
    encoding: str | None = None,
    schemes: tuple[str, ...] = (),
    pictures: Literal["first", "each"] = "first",
    labels: Columns | None = None,
) -> Source:
    """The source that `ref` names.

    Args:
        ref: "world", or "world:NAME" for another than the embedded one; a picture or a folder of pictures; a folder of
            Parquet or Arrow files, or one such file; a WebDataset tar or a folder of them; a zip of pictures; a Hub
            dataset id (`org/name`, with `@revision` if need be); or an iterable of rows (see `IterableSource`).
        seed: of the world.
        rows: how many at most (world: exactly, 3000 if None); None for all.
        test_share: share of rows that go to the test split, 0 to 1: of a world its held-out stream, else by hash of the
            row's key.
        image_column, caption_column: names of columns (of the metadata file, of the tar's members); None to look for
            the usual ones.
        split, subset: of a dataset, the only ones to read; None: see `TableSource`.
        missing_captions: "skip" rejects pictures without a caption; anything else gives them none.
        hashed: whether copies will be looked for: pictures that come decoded are then hashed while they are at hand.
        splits, encoding, schemes, pictures, labels: see `Reading`; a world has its own labels.

    Raises:
        ConceptlibError: there is no such thing, it holds no pictures, or it is refused.
    """
    reading = Reading(
        rows,
        test_share,
        image_column,
        caption_column,
        missing_captions,
        splits,
        encoding,
        schemes,
        pictures,
        labels or {},
    )
    if not isinstance(ref, str):
        return IterableSource(
            ref, rows, test_share, image_column, caption_column, missing_captions, hashed, encoding, labels
        )
    if (named := of_source(ref)) is not None:
        if labels:
            raise ConceptlibError("a world has its own labels", where="labels", hint="leave `labels` out")
        return WorldSource(seed, WORLD_ROWS if rows is None else rows, test_share, named)
    path = Path(ref).expanduser()
    if "\0" in ref or not path.exists():
        if not _HUB_ID.fullmatch(ref):
            raise ConceptlibError("there is no such source", where=ref, hint=_WHAT)
        return HubSource(ref, reading, split, subset)
    if path.is_dir():
        return _of_folder(path, reading, split, subset)
    try:
        Root(path.parent.resolve()).check(path.resolve())
    except Reject as reject:
        raise ConceptlibError(f"the source is not read: {reject.detail}", where=ref, hint=_WHAT) from reject
    if is_tar(path):
        return TarSource(path, reading)
    if is_data_file(path):
        return TableSource(path, reading, split, subset)
    if path.suffix.lower() == ".zip":
        return ZipSource(path, reading)
    if is_picture(path.name):
        real = path.resolve() if path.is_symlink() else path  # a link that the user named may lead anywhere
        return FolderSource(real.parent, reading, only=real.name)
    raise ConceptlibError("the source is a file that is not read", where=ref, hint=_WHAT)


def _of_folder(path: Path, reading: Reading, split: str | None, subset: str | None) -> Source:
    """By what the folder holds. A table counts if it has a column of pictures: img2dataset and others lay tables of
    statistics and embeddings beside the pictures.
    """
    if is_saved(path):
        return TableSource(path, reading, split, subset)
    tests = {"table": is_data_file, "tar": is_tar, "picture": lambda file: is_picture(file.name)}
    kinds: set[str] = set()
    for file in walk(path):
        kinds |= {kind for kind, test in tests.items() if test(file) and not is_metadata(file.name)}
    wanted = IMAGE_COLUMNS if reading.image_column is None else (reading.image_column,)
    if "table" in kinds and (kinds == {"table"} or any(map(columns_of(path).__contains__, wanted))):
        return TableSource(path, reading, split, subset)
    if "tar" in kinds and "picture" not in kinds:
        return TarSource(path, reading)
    return FolderSource(path, reading)
