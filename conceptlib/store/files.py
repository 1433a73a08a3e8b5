"""Files that are whole or not there: atomic writes, fsync, walking and moving folders."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conceptlib.errors import ConceptlibError

TMP_SUFFIX = ".tmp"
"""A file of this ending is half-written: an interruption left it. ``Draft.commit`` removes such files."""


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write ``data`` (text as UTF-8) so that ``path`` holds either its old or its whole new content, also after a
    power cut.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` for a writer that wants a file name; it takes ``path``'s place when the block
    ends well.

    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own keeps the name whole: some writers choose the format by the ending, others write side files.
    temporary = path.parent / f".{uuid.uuid4().hex[:8]}-{os.getpid()}{TMP_SUFFIX}" / path.name
    temporary.parent.mkdir()
    try:
        yield temporary
        fsync(temporary)
        os.replace(temporary, path)
        fsync(path.parent)
    finally:
        shutil.rmtree(temporary.parent, ignore_errors=True)


def is_vacant(folder: Path) -> bool:
    """Whether a folder that is to be written is absent or empty, so that nothing of anybody's is in the way.

    Raises:
        ConceptlibError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ConceptlibError("the target is a file", where=str(folder), hint="choose another folder")
    return not folder.exists() or not any(folder.iterdir())


def writer_lives(name: str) -> bool:
    """Whether the process that writes a temporary of ``atomic_path`` (by its name) may be alive, on this machine."""
    match = re.fullmatch(r"\.[0-9a-f]{8}-(\d{1,9})\.tmp", name)
    if match is None:
        return True
    if os.name == "nt":  # there is no signal 0
        return True
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Make a file's or a folder's entries durable. Folders cannot be synced on every platform; then it does nothing."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except (PermissionError, IsADirectoryError):
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.EACCES, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def walk(folder: Path) -> Iterator[Path]:
    """Every file below ``folder``, sorted by its relative POSIX path.

    Raises:
        ConceptlibError: ``folder`` is no folder, or something below it is neither a file nor a folder (a symbolic
            link, a socket).
    """
    if not folder.is_dir():
        raise ConceptlibError("no such folder", where=str(folder))
    found: list[Path] = []
    for root, folders, files in os.walk(folder):
        for name in [*files, *folders]:
            path = Path(root, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ConceptlibError(
                    "neither a file nor a folder",
                    where=str(path),
                    hint="copy what it points to: an artifact holds its own bytes",
                )
            if not name.isprintable():
                # Such names differ between file systems, and a name that is no UTF-8 cannot stand in a manifest.
                raise ConceptlibError(f"a name that not every system can write: {name!r}", where=root, hint="rename it")
        found.extend(Path(root, name) for name in files)
    yield from sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def size_of(folder: Path) -> int:
    """Bytes in all files below ``folder``; files that vanish meanwhile count nothing."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total


def remove_leftovers(folder: Path) -> None:
    """Remove what interrupted writers left below ``folder``: files and folders that end in ``.tmp``."""
    for path in list(folder.rglob(f"*{TMP_SUFFIX}")):
        remove(path)


def rename_folder(source: Path, target: Path) -> bool:
    """Move ``source`` to ``target`` in one step; False, with nothing changed, when a non-empty ``target`` is there
    already.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(source, target)
    except OSError:
        # POSIX says ENOTEMPTY or EEXIST, Windows EACCES: what counts is whether somebody else's folder is in the way.
        if target.is_dir() and any(target.iterdir()):
            return False
        raise
    fsync(target.parent)
    return True


def disk_full(error: BaseException | None, where: Path) -> ConceptlibError | None:
    """The error to raise instead of "no space left" or "quota exceeded"; None for any other error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ConceptlibError(
            f"the disk is full ({os.strerror(error.errno)})",
            where=str(where),
            hint="free some space (see `conceptlib gc --dry-run`), then run the same command again: it resumes",
        )
    return None
