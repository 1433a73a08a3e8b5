"""Zip archives of pictures, read member by member. Nothing is ever unpacked to disk.

An archive is judged by its table of contents before a byte is decompressed, and each member by what comes out of it:
names that lead out of the archive, links, encryption, too many files, too many bytes and absurd compression ratios are
refused.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from conceptlib.concepts.images import Reject
from conceptlib.concepts.sources.base import (
    MAX_FILE_BYTES,
    Item,
    captioned,
    first_line,
    is_picture,
    key_of,
    split_of,
)
from conceptlib.errors import ConceptlibError
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
    """The pictures of a zip archive; captions from `NAME.txt` beside `NAME.png`. The key is the path inside.

    Args:
        path: the archive.
        rows, test_share, missing_captions: see `open_source`.
        limits: see `Limits`.
        sha256: of the archive, where the caller has computed it.

    Raises:
        ConceptlibError: no zip, no pictures, or one that is refused (see the module).
    """

    def __init__(
        self,
        path: Path,
        rows: int | None,
        test_share: float,
        missing_captions: str,
        limits: Limits | None = None,
        sha256: str | None = None,
    ) -> None:
        self.path, self.rows, self.test_share, self.missing_captions = path, rows, test_share, missing_captions
        self.limits = limits or Limits()
        self.names = self._check()
        pictures = [name for name in self.names if is_picture(name)]
        if not pictures:
            raise ConceptlibError("there are no pictures in the archive", where=str(path), hint="is it the right one?")
        self.total: int | None = len(pictures) if rows is None else min(rows, len(pictures))
        texts = {PurePosixPath(name).with_suffix(".txt").as_posix() for name in pictures}
        self.ignored = sum(not is_picture(name) and name not in texts for name in self.names)
        self._sha256 = sha256

    def lock(self) -> dict[str, Any]:
        """The archive's sha256."""
        self._sha256 = self._sha256 or sha256_file(self.path)
        return {"kind": "zip", "sha256": self._sha256}

    def items(self) -> Iterator[Item]:
        return islice(self._items(), self.rows)

    def _items(self) -> Iterator[Item]:
        known = set(self.names)
        with self._open() as archive:
            for name in self.names:
                if not is_picture(name):
                    continue
                key = key_of(PurePosixPath(name))
                text = PurePosixPath(name).with_suffix(".txt").as_posix()
                caption = None
                if text in known and isinstance(raw := self._read(archive, text), bytes):
                    caption = raw.decode("utf-8-sig", errors="replace").strip() or None
                item = Item(key, split_of(key, self.test_share), self._read(archive, name), caption)
                yield captioned(item, self.missing_captions)

    def _read(self, archive: zipfile.ZipFile, name: str) -> bytes | Reject:
        """A member's bytes, no more than the table of contents promised."""
        promised = archive.getinfo(name).file_size
        try:
            with archive.open(name) as file:
                data = file.read(promised + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            return Reject("damaged", first_line(error))
        if len(data) != promised:
            return Reject("damaged", f"{promised} bytes were promised")
        return data

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError) as error:
            raise ConceptlibError(
                f"the archive cannot be read: {first_line(error)}", where=str(self.path), hint="download it again"
            ) from error

    def _check(self) -> list[str]:
        """The names of its files, sorted, hidden ones left out; everything that is refused raises."""
        with self._open() as archive:
            entries = archive.infolist()
        total = 0
        names: dict[str, None] = {}
        for entry in entries:
            name = entry.filename
            if _leads_out(name):
                raise self._refused(f"the name {name!r} leads out of the archive")
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise self._refused(f"{name!r} is a symbolic link")
            if entry.is_dir():
                continue
            if entry.flag_bits & 1:
                raise self._refused(f"{name!r} is encrypted")
            if name in names:
                raise self._refused(f"{name!r} is there twice")
            if entry.file_size > self.limits.file_bytes:
                raise self._refused(f"{name!r} has {entry.file_size} bytes, more than {self.limits.file_bytes}")
            if entry.file_size > 1 << 20 and entry.file_size > self.limits.ratio * max(entry.compress_size, 1):
                raise self._refused(f"{name!r} would unpack to over {self.limits.ratio:g} times its size")
            names[name] = None
            total += entry.file_size
        if len(names) > self.limits.files:
            raise self._refused(f"it holds {len(names)} files, more than {self.limits.files}")
        if total > self.limits.bytes:
            raise self._refused(f"it would unpack to {total} bytes, more than {self.limits.bytes}")
        return sorted(n for n in names if not any(p.startswith((".", "__MACOSX")) for p in n.split("/")))

    def _refused(self, why: str) -> ConceptlibError:
        return ConceptlibError(
            f"the archive is refused: {why}",
            where=str(self.path),
            hint="such archives are made to do harm",
        )


def _leads_out(name: str) -> bool:
    """Absolute, with a drive or backslashes, or with `..`."""
    return name.startswith("/") or "\\" in name or ":" in name.split("/")[0] or ".." in name.split("/")


def check_download(path: Path, size: int, sha256: str, progress: Callable[[str, int, int], None] | None = None) -> None:
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
