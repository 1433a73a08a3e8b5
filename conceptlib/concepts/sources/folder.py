"""A folder of pictures with captions beside them, or a single picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from conceptlib.concepts.rejects import Reject
from conceptlib.concepts.safe import MAX_TEXT_BYTES, Root, open_file, read_file
from conceptlib.concepts.sources.base import (
    Item,
    Listing,
    Reading,
    captioned,
    hash_files,
    is_picture,
    key_of,
    labelled,
    listings,
    require_rows,
    some_of_each,
)
from conceptlib.concepts.sources.metadata import MAX_METADATA_BYTES, Metadata, is_metadata
from conceptlib.concepts.sources.splits import is_layout, split_of_folder
from conceptlib.concepts.sources.text import TEXTS, caption_beside, fields_beside
from conceptlib.errors import ConceptlibError


@dataclass
class FolderSource:
    """A folder of pictures, as `datasets` calls it an imagefolder.

    Captions come from `metadata.jsonl`, `.csv` or `.parquet` of the picture's folder or of one above it (column
    `file_name` and a caption column), else from `NAME.txt`, `NAME.caption` or the caption column of `NAME.json` beside
    `NAME.png`. The row's key is the path below the folder; its split that of the folder above it that is called like
    one, where all pictures have such a folder, else by hash. Links that lead out, fifos and devices are rejects.
    Memory: one folder's file names, and the metadata files above it.

    Args:
        folder: the folder.
        reading: see there.
        only: the name of a picture in the folder: it alone is the source.

    Raises:
        ConceptlibError: no pictures; a metadata file that cannot be read, has no caption column.
    """

    folder: Path
    reading: Reading = field(default_factory=Reading)
    only: str | None = None
    total: int | None = field(default=None, init=False)
    ignored: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._root = Root(self.folder)
        self._kept = self._keeps_splits()
        self.total = require_rows(self.items(), self.reading.rows, self.folder, "folder")
        if self.only is None:
            self.ignored = sum(not self._is_read(path) for path, _ in self._files())

    def lock(self) -> dict[str, Any]:
        """Every file that is read, by path and sha256: the same pictures elsewhere are the same source."""
        files = [(path, reject) for path, reject in self._files() if self._is_read(path)]
        read = hash_files(self.folder, [path for path, reject in files if reject is None])
        refused = {key_of(path.relative_to(self.folder).as_posix()): why.detail for path, why in files if why}
        kept = {"splits": "keep"} if self._kept else {}
        return (
            {"kind": "folder", "sha256": read} | ({"refused": refused} if refused else {}) | kept | self.reading.lock()
        )

    def items(self) -> Iterator[Item]:
        """The rows; of a limited number of a source with splits some of each, see `splits.in_proportion`."""
        if self._kept and self.reading.rows is not None:
            return islice(some_of_each(self._items, self.reading.test_share), self.reading.rows)
        return islice(self._items(), self.reading.rows)

    def _keeps_splits(self) -> bool:
        if self.reading.splits is not None or self.only is not None:
            return self.reading.splits == "keep" and self.only is None
        return is_layout(split_of_folder(self._path(path)) for path, _ in self._files() if is_picture(path.name))

    def _files(self) -> Iterator[tuple[Path, Reject | None]]:
        """Every file, and why it is refused, if it is."""
        for path, found in listings(self.folder, self._root):
            if isinstance(found, Reject):
                continue
            if self.only is None or path == self.folder:
                yield from ((file, None) for file in found.files)
                yield from found.refused.items()
            if self.only is not None:
                return

    def _items(self) -> Iterator[Item]:
        above: list[Metadata] = []
        for folder, found in listings(self.folder, self._root):
            path = self._path(folder)
            while above and above[-1].path.parent not in (path, *path.parents):
                yield from self._left(above.pop())
            if isinstance(found, Reject):
                if folder == self.folder:
                    raise ConceptlibError(found.detail, where=str(folder))
                yield self._reject(key_of(path), found)
                continue
            if (table := self._table(found, path)) is not None:
                above.append(table)
            yield from self._pictures(found, above)
            if self.only is not None:
                return
            for link, reject in found.refused.items():
                if not is_picture(link.name) and "to a folder" in reject.detail:
                    yield self._reject(key_of(self._path(link)), reject)
        while above:
            yield from self._left(above.pop())

    def _table(self, found: Listing, folder: PurePosixPath) -> Metadata | None:
        tables = [path for path in (*found.files, *found.refused) if is_metadata(path.name)]
        if len(tables) > 1:
            names = " or ".join(sorted(path.name for path in tables))
            where = str(self.folder / folder)
            raise ConceptlibError(f"there are {len(tables)} metadata files", where=where, hint=f"keep {names}")
        if not tables:
            return None
        try:
            with open_file(tables[0], MAX_METADATA_BYTES, self._root) as file:
                return Metadata(file, folder / tables[0].name, str(tables[0]), self.reading)
        except Reject as reject:
            raise ConceptlibError(
                f"the metadata file is not read: {reject.detail}", where=str(tables[0]), hint="replace it by a file"
            ) from reject

    def _pictures(self, found: Listing, above: list[Metadata]) -> Iterator[Item]:
        beside = _by_stem([*found.files, *found.refused])
        for path in sorted([*found.files, *found.refused], key=lambda path: path.name):
            if is_picture(path.name) and self.only in (None, path.name):
                yield self._item(path, found.refused.get(path), above, beside.get(path.stem, {}))

    def _item(self, path: Path, reject: Reject | None, above: list[Metadata], beside: dict[str, Path]) -> Item:
        relative = self._path(path)
        data: Path | Reject = path if reject is None else Reject(reject.reason, f"{path.name}: {reject.detail}")
        if reject is None and path.is_symlink():
            data = self._root.resolve(path)
        item = self._placed(key_of(relative), data, split_of_folder(relative))
        found = [table.take(relative) for table in reversed(above)]  # their rows are accounted for with the picture

        def read(ending: str) -> bytes | None:
            text = beside.get(ending.lower())
            return None if text is None else read_file(text, MAX_TEXT_BYTES, self._root)

        def fields() -> Mapping[str, Any]:
            named = (table.labels_of(relative) for table in reversed(above))
            row = next((row for row in named if row is not None), None)
            return fields_beside(read, self.reading.encoding) if row is None else row

        item = captioned(item, lambda: self._caption(found, read), self.reading.missing_captions)
        return labelled(item, fields, self.reading.labels)

    def _caption(self, found: list[str | Reject | None], read: Callable[[str], bytes | None]) -> str | None:
        """Of the nearest metadata file that names the picture, else of the files beside it. Raises `Reject`."""
        nearest = next((text for text in found if text is not None), None)
        if isinstance(nearest, Reject):
            raise nearest
        return nearest or caption_beside(read, self.reading.caption_column, self.reading.encoding)

    def _left(self, table: Metadata) -> Iterator[Item]:
        """Rows of a metadata file that no picture took."""
        for key, reject in table.unused() if self.only is None else ():
            yield self._reject(key, reject)

    def _reject(self, key: str, reject: Reject) -> Item:
        split = split_of_folder(PurePosixPath(key)) if self._kept else None
        return Item(key, split or ("train" if self._kept else self.reading.split(key)), reject)

    def _placed(self, key: str, data: Path | Reject, own: str | None) -> Item:
        if not self._kept:
            return Item(key, self.reading.split(key), data)
        if own is None:
            detail = "it lies in none of the folders train, validation, test; splits=hash takes all pictures"
            return Item(key, "train", Reject("no-split", detail))
        return Item(key, own, data)

    def _path(self, path: Path) -> PurePosixPath:
        return PurePosixPath(path.relative_to(self.folder).as_posix())

    def _is_read(self, path: Path) -> bool:
        if self.only is not None and path.stem != Path(self.only).stem and not is_metadata(path.name):
            return False
        endings = {*TEXTS, "json", (self.reading.caption_column or "txt").lower()}
        wanted = path.name == self.only if self.only is not None else is_picture(path.name)
        return wanted or is_metadata(path.name) or path.suffix.lower()[1:] in endings


def _by_stem(paths: Iterable[Path]) -> dict[str, dict[str, Path]]:
    """Files by their names without the ending, and by the ending in lower case."""
    found: dict[str, dict[str, Path]] = {}
    for path in paths:
        if path.suffix and not is_picture(path.name):
            found.setdefault(path.stem, {}).setdefault(path.suffix.lower()[1:], path)
    return found
