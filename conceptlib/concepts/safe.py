"""The one way to open a file that somebody's data names.

A folder, a metadata file, a Parquet row may name anything: a link to `/proc/self/environ`, a fifo on which a read waits
for ever, `/dev/zero`, `../../.ssh/id_rsa`. What is opened here is a regular file of a bounded size and, where a root is
given, one that lies below it after all links are followed. Everything else is a `Reject` that says why.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from conceptlib.concepts.rejects import Reject

MAX_FILE_BYTES = 256 << 20
"""A picture's file is not read beyond this."""
MAX_TEXT_BYTES = 1 << 20
"""A caption's file is not read beyond this."""

_KINDS = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))
_DRIVE = re.compile(r"[A-Za-z]:")


def leads_out(name: str) -> bool:
    """Whether a name in an archive or a table is absolute (a drive's too) or has a part `..`; both slashes count.

    >>> leads_out("a/../b"), leads_out("C:\\\\x.png"), leads_out("a/b..png")
    (True, True, False)
    """
    parts = name.replace("\\", "/").split("/")
    return (parts[0] == "" and len(parts) > 1) or ".." in parts or _DRIVE.match(parts[0]) is not None


class Root:
    """A folder whose files may be read.

    Args:
        folder: it may be a link itself: the user named it. Of a snapshot in the Hub's cache, which is made of links,
            the files are those of its repository's folder there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.real = os.path.realpath(folder)
        above, snapshots = os.path.split(os.path.dirname(self.real))
        if snapshots == "snapshots" and os.path.isdir(os.path.join(above, "blobs")):
            self.real = above

    def resolve(self, path: Path) -> Path:
        """Where a path leads when all links are followed. Raises `Reject`: out of the folder."""
        try:
            real = os.path.realpath(path)
        except (OSError, ValueError) as error:
            raise _unreadable(error) from error
        if real != self.real and not real.startswith(self.real.rstrip(os.sep) + os.sep):
            what = "a link" if os.path.islink(path) else "the path"
            raise Reject("refused", f"{what} leads out of the source")
        return Path(real)

    def check(self, path: Path) -> Path:
        """The regular file that a path leads to. Raises `Reject`."""
        real = self.resolve(path)
        _regular(real)
        return real


def open_file(path: Path, limit: int, root: Root | None = None) -> BinaryIO:
    """A regular file of at most `limit` bytes, opened for reading.

    Args:
        path: a file. limit: bytes. root: the folder in which it must lie; None: the user named the file.

    Raises:
        Reject: it is not there, cannot be read, is no regular file, is larger, or leads out of the root.
    """
    target = path if root is None else root.resolve(path)
    _regular(target)  # before it is opened: to open a device may do something
    try:
        file = os.fdopen(os.open(target, _FLAGS), "rb")
    except OSError as error:
        raise _unreadable(error) from error
    try:
        found = os.fstat(file.fileno())
        _check_kind(found.st_mode)
        if found.st_size > limit:
            raise _too_large(found.st_size, limit)
    except BaseException:
        file.close()
        raise
    return file


def read_file(path: Path, limit: int = MAX_FILE_BYTES, root: Root | None = None) -> bytes:
    """All bytes of a file, see `open_file`."""
    with open_file(path, limit, root) as file:
        try:
            data = file.read(limit + 1)
        except OSError as error:
            raise _unreadable(error) from error
    if len(data) > limit:  # a file that says it is empty, as those of /proc do
        raise _too_large(len(data), limit)
    return data


def _regular(path: Path) -> None:
    try:
        _check_kind(os.stat(path).st_mode)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise _unreadable(error) from error


def _check_kind(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise Reject("refused", f"it is {_KINDS.get(stat.S_IFMT(mode), 'something else')} and no file")


def _unreadable(error: OSError | ValueError) -> Reject:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Reject("missing-file", "there is no such file")
    return Reject("unreadable", getattr(error, "strerror", None) or str(error))


def _too_large(size: int, limit: int) -> Reject:
    return Reject("too-large", f"{size} bytes; at most {limit} are read")
