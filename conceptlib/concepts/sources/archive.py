"""Zip archives of pictures, read member by member. Nothing is ever unpacked to disk.

An archive is judged by its table of contents before a byte is decompressed, and each member by what comes out of it:
names that lead out of the archive, links, encryption, too many files, too many bytes and absurd compression ratios are
refused.
"""

from __future__ import annotations

import io
import stat
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from conceptlib.concepts.rejects import Reject, first_line
from conceptlib.concepts.safe import MAX_FILE_BYTES, MAX_TEXT_BYTES, leads_out, open_file
from conceptlib.concepts.sources.base import Item, Reading, captioned, is_picture, key_of, labelled, some_of_each
from conceptlib.concepts.sources.metadata import Metadata, is_metadata
from conceptlib.concepts.sources.splits import is_layout, split_of_folder
from conceptlib.concepts.sources.text import TEXTS, caption_beside, fields_beside
from conceptlib.errors import ConceptlibError
from conceptlib.progress import Progress
from conceptlib.store.hashing import sha256_file


@dataclass(frozen=True)
class Limits:
    """What an archive may be at most.

    Args:
        files: members.
        bytes: of all members, unpacked.
        file_bytes: of one member.
        ratio: unpacked to packed bytes of one member above 1 MiB. Pictures are compressed already; zeros give 1000.
    """

    files: int = 1_000_000
    bytes: int = 200 << 30
    file_bytes: int = MAX_FILE_BYTES
    ratio: float = 200.0


class ZipSource:
    """The pictures of a zip archive. Captions and splits come from the same names as in a folder: `metadata.jsonl`,
    `.csv` or `.parquet`, else `NAME.txt`, `.caption` or `.json` beside `NAME.png`. The key is the path inside, with
    forward slashes.

    Args:
        path: the archive.
        reading: see there.
        limits: see `Limits`.
        sha256: of the archive, where the caller has computed it.

    Raises:
        ConceptlibError: no zip, no pictures, one that is refused (see the module), or metadata that cannot be read.
    """

    def __init__(
        self, path: Path, reading: Reading | None = None, limits: Limits | None = None, sha256: str | None = None
    ) -> None:
        self.path, self.reading, self.limits = path, reading or Reading(), limits or Limits()
        self.names = self._check()
        pictures = [PurePosixPath(name) for name in self.names if is_picture(name)]
        if not pictures:
            raise ConceptlibError("there are no pictures in the archive", where=str(path), hint="is it the right one?")
        self._kept = self.reading.splits == "keep" or (
            self.reading.splits is None and is_layout(map(split_of_folder, pictures))
        )
        self.total: int | None = min(self.reading.rows or len(pictures), len(pictures))
        with self._open() as archive:
            self._tables(archive)  # says at once what is wrong with them
        stems = {name.with_suffix("") for name in pictures}
        endings = {*TEXTS, "json", (self.reading.caption_column or "txt").lower()}
        texts = sum(_ending(name) in endings and PurePosixPath(name).with_suffix("") in stems for name in self.names)
        tables = sum(is_metadata(PurePosixPath(name).name) for name in self.names)
        self.ignored = len(self.names) - len(pictures) - texts - tables
        self._sha256 = sha256

    def lock(self) -> dict[str, Any]:
        """The archive's sha256."""
        self._sha256 = self._sha256 or sha256_file(self.path)
        return (
            {"kind": "zip", "sha256": self._sha256} | ({"splits": "keep"} if self._kept else {}) | self.reading.lock()
        )

    def items(self) -> Iterator[Item]:
        """The rows; of a limited number of a source with splits some of each, see `splits.in_proportion`."""
        if self._kept and self.reading.rows is not None:
            return islice(some_of_each(self._items, self.reading.test_share), self.reading.rows)
        return islice(self._items(), self.reading.rows)

    def _items(self) -> Iterator[Item]:
        beside = {PurePosixPath(n).with_suffix("").as_posix() + "." + _ending(n): n for n in self.names}
        with self._open() as archive:
            tables = self._tables(archive)
            for name in self.names:
                if is_picture(name):
                    yield self._item(archive, name, tables, beside)
            for table in tables:
                for key, reject in table.unused():
                    split = split_of_folder(PurePosixPath(key)) or "train" if self._kept else self.reading.split(key)
                    yield Item(key, split, reject)

    def _tables(self, archive: zipfile.ZipFile) -> list[Metadata]:
        """The archive's metadata files, the nearest to a picture first."""
        paths = [PurePosixPath(name) for name in self.names if is_metadata(PurePosixPath(name).name)]
        folders = [path.parent for path in paths]
        if twice := next((folder for folder in folders if folders.count(folder) > 1), None):
            raise ConceptlibError(
                "there are two metadata files",
                where=f"{self.path}: {twice}",
                hint="keep metadata.jsonl or metadata.csv",
            )
        tables = []
        for path in sorted(paths, key=lambda path: -len(path.parts)):
            where = f"{self.path}: {path}"
            try:
                data = io.BytesIO(self._read(archive, path.as_posix()))
            except Reject as reject:
                raise ConceptlibError(f"the metadata file is not read: {reject.detail}", where=where) from reject
            tables.append(Metadata(data, path, where, self.reading))
        return tables

    def _item(self, archive: zipfile.ZipFile, name: str, tables: list[Metadata], beside: dict[str, str]) -> Item:
        path = PurePosixPath(name)
        key = key_of(path)
        found = [text for table in tables if (text := table.take(path)) is not None]
        split = split_of_folder(path) if self._kept else self.reading.split(key)
        if split is None:
            detail = "it lies in none of the folders train, validation, test; splits=hash takes all pictures"
            return Item(key, "train", Reject("no-split", detail))
        try:
            data: bytes | Reject = self._read(archive, name)
        except Reject as reject:
            data = reject

        def caption() -> str | None:
            if found and isinstance(found[0], Reject):
                raise found[0]
            if found and isinstance(found[0], str) and found[0]:
                return found[0]
            return caption_beside(read, self.reading.caption_column, self.reading.encoding)

        def read(ending: str) -> bytes | None:
            text = beside.get(f"{path.with_suffix('').as_posix()}.{ending.lower()}")
            return None if text is None else self._read(archive, text, MAX_TEXT_BYTES)

        def fields() -> Mapping[str, Any]:
            row = next((row for table in tables if (row := table.labels_of(path)) is not None), None)
            return fields_beside(read, self.reading.encoding) if row is None else row

        item = captioned(Item(key, split, data), caption, self.reading.missing_captions)
        return labelled(item, fields, self.reading.labels)

    def _read(self, archive: zipfile.ZipFile, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """A member's bytes, no more than the table of contents promised. Raises `Reject`."""
        promised = self.names[name].file_size
        if promised > limit:
            raise Reject("too-large", f"{promised} bytes; at most {limit} are read")
        try:
            with archive.open(self.names[name]) as file:
                data = file.read(promised + 1)
        except Exception as error:  # zlib, bz2, lzma and zipfile raise nearly everything on damaged bytes
            raise Reject("damaged", first_line(error)) from error
        if len(data) != promised:
            raise Reject("damaged", f"{promised} bytes were promised")
        return data

    def _open(self) -> zipfile.ZipFile:
        try:
            open_file(self.path, sys.maxsize).close()
            return zipfile.ZipFile(self.path)
        except Reject as reject:
            raise ConceptlibError(f"the archive is not read: {reject.detail}", where=str(self.path)) from reject
        except Exception as error:  # the table of contents may hold anything
            raise ConceptlibError(
                f"the archive cannot be read: {first_line(error)}", where=str(self.path), hint="download it again"
            ) from error

    def _check(self) -> dict[str, zipfile.ZipInfo]:
        """Its files by name, sorted, hidden ones left out; everything that is refused raises. Windows' backslashes are
        slashes."""
        with self._open() as archive:
            entries = archive.infolist()
        total = 0
        names: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            name = entry.filename.replace("\\", "/")
            if _is_folder(name) and not entry.file_size:
                continue
            self._check_entry(entry, name)
            name = PurePosixPath(name).as_posix()
            if name in names:
                raise self._refused(f"{name!r} is there twice", "make it anew, with one file a name")
            names[name] = entry
            total += entry.file_size
        if len(names) > self.limits.files:
            raise self._refused(f"it holds {len(names)} files, more than {self.limits.files}")
        if total > self.limits.bytes:
            raise self._refused(f"it would unpack to {total} bytes, more than {self.limits.bytes}")
        shown = sorted(n for n in names if not any(p.startswith((".", "__MACOSX")) for p in n.split("/")))
        return {name: names[name] for name in shown}

    def _check_entry(self, entry: zipfile.ZipInfo, name: str) -> None:
        if leads_out(name):
            raise self._refused(f"the name {name!r} leads out of the archive")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise self._refused(f"{name!r} is a symbolic link")
        if entry.flag_bits & 1:
            raise self._refused(f"{name!r} is encrypted", "unpack it with its password, and give the folder")
        if entry.file_size > self.limits.file_bytes:
            raise self._refused(f"{name!r} has {entry.file_size} bytes, more than {self.limits.file_bytes}")
        if entry.file_size > 1 << 20 and entry.file_size > self.limits.ratio * max(entry.compress_size, 1):
            raise self._refused(f"{name!r} would unpack to over {self.limits.ratio:g} times its size")

    def _refused(self, why: str, hint: str = "such archives are made to do harm") -> ConceptlibError:
        return ConceptlibError(f"the archive is refused: {why}", where=str(self.path), hint=hint)


def _is_folder(name: str) -> bool:
    return not name or name.endswith("/")


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()[1:]


def check_download(path: Path, size: int, sha256: str, progress: Progress | None = None) -> None:
    """Raise `ConceptlibError` unless the file has this size (bytes) and sha256; the size is looked at first.

    Args:
        progress: hears ("check", bytes done, bytes in all).
    """
    if not path.is_file():
        raise ConceptlibError("there is no such file", where=str(path), hint="say where it is: file=PATH")
    if (found := path.stat().st_size) != size:
        raise ConceptlibError(f"the file has {found} bytes, not {size}", where=str(path), hint="download it again")
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress("check", done, size)

    if (digest := sha256_file(path, tell)) != sha256:
        raise ConceptlibError(
            f"the file's sha256 is {digest}, not {sha256}", where=str(path), hint="it is another file, or damaged"
        )
