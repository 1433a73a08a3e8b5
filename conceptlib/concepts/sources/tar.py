"""WebDataset: tar files whose members of one base name make a sample (`000001.jpg`, `000001.txt`, `000001.json`).

https://github.com/webdataset/webdataset. Members are read one after the other and never written to disk. Names that
lead out, links, devices and oversized members are rejects; a tar that is cut, damaged, or unpacks to hundreds of times
its size is an error, since nobody knows what else it held. Memory: one sample, see `samples.py`.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from conceptlib.concepts.rejects import Reject, first_line
from conceptlib.concepts.safe import MAX_FILE_BYTES, MAX_TEXT_BYTES, leads_out, open_file
from conceptlib.concepts.sources.base import (
    Item,
    Reading,
    captioned,
    hash_files,
    is_picture,
    key_of,
    labelled,
    require_rows,
    walk,
)
from conceptlib.concepts.sources.samples import Member, samples
from conceptlib.concepts.sources.splits import SPLITS, in_proportion, is_layout, split_of_file
from conceptlib.concepts.sources.text import TEXTS, caption_beside, fields_beside
from conceptlib.errors import ConceptlibError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_RATIO = 200
"""Unpacked to packed bytes of a compressed tar, beyond `SLACK`: pictures are compressed already."""
SLACK = 64 << 20
_MAX_HEADER = 1 << 20
_END = 64 << 20
_META = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_PACKED: dict[bytes, Callable[[BinaryIO], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


def is_tar(path: Path) -> bool:
    """By its name."""
    return path.name.lower().endswith(SUFFIXES)


@dataclass
class TarSource:
    """Samples of one tar file, or of all of a folder in the order of their names.

    The key is the member's path up to the first dot of its name; in a folder the tar's name stands in front. The
    caption is the member `txt`, `caption` or `text`, else a caption column of the member `json`; `caption_column` names
    a member's ending or a column of the `json`. Where one base name has several pictures (`photo.0001.jpg`,
    `photo.0002.jpg`), see `samples.Sample.rows`. Splits are kept where the tars' names have them (`train-0000.tar`).

    Args:
        path: a tar file (packed by gzip, bzip2, xz or not) or a folder.
        reading: see there; its `image_column` is the ending of the picture's member (`jpg`).

    Raises:
        ConceptlibError: no pictures; a tar that cannot be read to its end.
    """

    path: Path
    reading: Reading = field(default_factory=Reading)
    total: int | None = field(default=None, init=False)
    ignored: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.tars = [file for file in walk(self.path) if is_tar(file)] if self.path.is_dir() else [self.path]
        self.ignored = sum(1 for _ in walk(self.path)) - len(self.tars) if self.path.is_dir() else 0
        splits = self.reading.splits
        self._kept = splits == "keep" or (splits is None and is_layout(map(self._split_of, self.tars)))
        require_rows(self.items(), 1, self.path, "tar files")

    def lock(self) -> dict[str, Any]:
        """Every tar by name and sha256."""
        folder = self.path if self.path.is_dir() else self.path.parent
        columns = {"image": self.reading.image_column, "caption": self.reading.caption_column}
        kept = {"splits": "keep"} if self._kept else {}
        return {"kind": "webdataset", "sha256": hash_files(folder, self.tars)} | columns | kept | self.reading.lock()

    def items(self) -> Iterator[Item]:
        """The rows; of a limited number of a source with splits some of each, see `splits.in_proportion`."""
        if self._kept and self.reading.rows is not None:
            streams = {
                split: self._items([tar for tar in self.tars if (self._split_of(tar) or "train") == split])
                for split in SPLITS
            }
            return islice(in_proportion(streams, self.reading.test_share), self.reading.rows)
        return islice(self._items(self.tars), self.reading.rows)

    def _items(self, tars: list[Path]) -> Iterator[Item]:
        for tar in tars:
            prefix = tar.relative_to(self.path).as_posix().partition(".tar")[0] + "/" if self.path.is_dir() else ""
            seen = Counter[str]()  # of one tar: shards are bounded, data sets are not
            for sample in samples(members(tar, self._is_wanted)):
                for key, picture, beside in sample.rows(self._is_image):
                    item = self._item(tar, prefix + key, picture, beside)
                    if seen[key]:
                        reject = Reject("duplicate", f"{key_of(key)} came before in {tar.name}")
                        data = item.data if isinstance(item.data, Reject) else reject
                        item = replace(item, key=f"{item.key}#{seen[key]}", data=data, caption=None)
                    seen[key] += 1
                    yield item

    def _split_of(self, tar: Path) -> str | None:
        return split_of_file(PurePosixPath(tar.relative_to(self.path if self.path.is_dir() else tar.parent)))

    def _is_image(self, ending: str) -> bool:
        return ending == self.reading.image_column if self.reading.image_column else is_picture(f"x.{ending}")

    def _is_wanted(self, ending: str) -> bool:
        """Whether a member is read; what a sample holds beside (`cls`, `npy`) is passed over."""
        last = ending.rpartition(".")[2]
        return is_picture(f"x.{last}") or last in (*TEXTS, "json") or ending in self._columns()

    def _columns(self) -> tuple[str | None, ...]:
        return self.reading.image_column, self.reading.caption_column

    def _item(self, tar: Path, name: str, picture: Member, beside: dict[str, Member]) -> Item:
        key = key_of(name)
        split: str | None = self._split_of(tar) if self._kept else self.reading.split(key)
        if split is None:
            detail = f"{tar.name} is called after none of train, validation, test; splits=hash takes all"
            return Item(key, "train", Reject("no-split", detail))

        def read(ending: str) -> bytes | None:
            if isinstance(found := beside.get(ending), Reject):
                raise found
            return found

        def caption() -> str | None:
            return caption_beside(read, self.reading.caption_column, self.reading.encoding)

        item = captioned(Item(key, split, picture), caption, self.reading.missing_captions)
        return labelled(item, lambda: fields_beside(read, self.reading.encoding), self.reading.labels)


def members(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, Member]]:
    """The members of a tar whose endings (all after the first dot of the name) are wanted, in their order: the name,
    and the bytes or why there are none.

    Raises:
        ConceptlibError: the tar cannot be read to its end, or is a bomb.
    """
    try:
        with _open(path) as file, tarfile.open(fileobj=cast(BinaryIO, file), mode="r|", tarinfo=_Header) as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
                name = PurePosixPath(member.name)
                ending = name.name.partition(".")[2].lower()
                if not member.isdir() and not name.name.startswith((".", "__")) and is_wanted(ending):
                    yield member.name, _content(tar, member)
            _check_end(file, tar)
    except Reject as reject:
        raise _broken(path, reject.detail) from reject
    except Exception as error:  # tarfile, zlib, bz2 and lzma raise nearly everything on damaged bytes
        raise _broken(path, first_line(error)) from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Member:
    if leads_out(member.name):
        return Reject("refused", f"{key_of(member.name)}: the name leads out of the tar")
    if not member.isreg() or member.issparse():
        kinds = {tarfile.SYMTYPE: "a link", tarfile.LNKTYPE: "a link", tarfile.FIFOTYPE: "a fifo"}
        return Reject("refused", f"{key_of(member.name)}: {kinds.get(member.type, 'a device or the like')} and no file")
    limit = MAX_FILE_BYTES if is_picture(member.name.lower()) else MAX_TEXT_BYTES
    if member.size > limit:
        return Reject("too-large", f"{key_of(member.name)}: {member.size} bytes; at most {limit} are read")
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


class _Header(tarfile.TarInfo):
    """A header that is read strictly: `tarfile` takes a damaged one in the middle for the end of the tar."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _META and header.size > _MAX_HEADER:
            raise tarfile.ReadError(f"a header claims a name of {header.size} bytes")
        if not 0 <= header.size < 1 << 62:
            raise tarfile.ReadError(f"a header claims {header.size} bytes")
        return header

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Header:
        try:
            return cast(_Header, super().fromtarfile(tarfile_))
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the end
                raise
            raise tarfile.ReadError(f"a damaged header: {first_line(error)}") from error


class _Bounded:
    """What a packed tar unpacks to, no more than `MAX_RATIO` times its size; and an end where a member claims more than
    there is. `ends`: the tar's own end was found."""

    ends = False

    def __init__(self, raw: BinaryIO, unpacked: BinaryIO) -> None:
        self._raw, self._unpacked, self._count = raw, unpacked, 0

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *_: object) -> None:
        self._unpacked.close()
        self._raw.close()

    def read(self, size: int) -> bytes:
        data = self._unpacked.read(size)
        if not data and not self.ends:
            raise tarfile.ReadError("it ends too early: it was cut, or a header claims more than there is")
        self._count += len(data)
        if self._unpacked is not self._raw and self._count > SLACK + MAX_RATIO * self._raw.tell():
            raise tarfile.ReadError(f"it would unpack to over {MAX_RATIO} times its size")
        return data


def _open(path: Path) -> _Bounded:
    raw = open_file(path, sys.maxsize)
    head = raw.read(6)
    raw.seek(0)
    unpack = next((opened for mark, opened in _PACKED.items() if head.startswith(mark)), None)
    return _Bounded(raw, raw if unpack is None else cast(BinaryIO, unpack(raw)))


def _check_end(file: _Bounded, tar: tarfile.TarFile) -> None:
    """Zeros may follow the end of a tar, and nothing else: a block of zeros in its middle would hide the rest."""
    file.ends = True
    length = 0
    while tar.fileobj is not None and (piece := tar.fileobj.read(1 << 20)):
        length += len(piece)
        if piece.strip(b"\0"):
            raise tarfile.ReadError("more follows behind its end: it is damaged, or several tars in one file")
        if length > _END:
            raise tarfile.ReadError(f"over {_END} bytes of zeros follow behind its end")


def _broken(path: Path, why: str) -> ConceptlibError:
    bomb = "times its size" in why
    hint = "such archives are made to do harm" if bomb else "copy or download it again, or make it anew"
    return ConceptlibError(f"the tar cannot be read: {why}", where=str(path), hint=hint)
