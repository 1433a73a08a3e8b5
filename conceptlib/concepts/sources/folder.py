"""A folder of pictures with captions beside them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from conceptlib.concepts.images import Reject
from conceptlib.concepts.sources.base import (
    Item,
    captioned,
    hash_files,
    is_picture,
    key_of,
    listing,
    require_rows,
    split_of,
    walk,
)
from conceptlib.concepts.sources.metadata import Metadata, is_metadata
from conceptlib.errors import ConceptlibError


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
        self, folder: Path, rows: int | None, test_share: float, caption_column: str | None, missing_captions: str
    ) -> None:
        self.folder, self.rows, self.test_share = folder, rows, test_share
        self.caption_column, self.missing_captions = caption_column, missing_captions
        self.total: int | None = require_rows(self.items(), rows, folder, "folder")
        self.ignored = sum(not _is_read(path) for path in walk(folder))

    def lock(self) -> dict[str, Any]:
        """Every file that is read, by path and sha256: the same pictures elsewhere are the same source."""
        paths = [path for path in walk(self.folder) if _is_read(path)]
        return {"kind": "folder", "sha256": hash_files(self.folder, paths)}

    def items(self) -> Iterator[Item]:
        return islice(self._items(self.folder, []), self.rows)

    def _items(self, folder: Path, above: list[Metadata]) -> Iterator[Item]:
        files, folders = listing(folder)
        tables = [path for path in files if is_metadata(path)]
        if len(tables) > 1:
            raise ConceptlibError(
                "there are two metadata files", where=str(folder), hint="keep metadata.jsonl or metadata.csv"
            )
        if tables:
            above = [*above, Metadata(tables[0], self.caption_column)]
        for path in files:
            if is_picture(path.name):
                yield self._item(path, above)
        for child in folders:
            yield from self._items(child, above)
        if tables:
            for name in above[-1].unused():
                key = key_of(PurePosixPath(folder.relative_to(self.folder).as_posix()) / name)
                yield Item(
                    key,
                    split_of(key, self.test_share),
                    Reject("missing-file", f"named in {tables[0].name}, but no picture there"),
                )

    def _item(self, path: Path, above: list[Metadata]) -> Item:
        key = key_of(PurePosixPath(path.relative_to(self.folder).as_posix()))
        captions = (table.take(path) for table in reversed(above))
        caption = next((text for text in captions if text is not None), None)
        if not caption and path.with_suffix(".txt").is_file():
            caption = path.with_suffix(".txt").read_text("utf-8-sig", errors="replace").strip()
        return captioned(Item(key, split_of(key, self.test_share), path, caption), self.missing_captions)


def _is_read(path: Path) -> bool:
    return is_picture(path.name) or is_metadata(path) or path.suffix.lower() == ".txt"
