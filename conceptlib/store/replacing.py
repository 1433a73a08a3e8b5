"""A folder of the user's that is written beside and takes its place as a whole: exports, publications to a folder.

While it is written it is called `.NAME.conceptlib-PID-XXXX.tmp`, and its writer holds a lock on it. A folder of that
kind that nobody holds was left by a process that died, and the next run that writes to the same target removes it.
Temporary folders of the size of a dataset are held and removed in the same way.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from conceptlib.errors import ConceptlibError
from conceptlib.store.files import TMP_SUFFIX, fsync, is_vacant
from conceptlib.store.hashing import sha256_bytes

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LONGEST = 180  # bytes of a target's name that fit, with ours around them, into the 255 of a file system
_OLD = 24 * 3600.0  # seconds after which a folder is taken for left where no lock can tell


def restore_folder(folder: Path) -> None:
    """Make good what dead processes left at a target: bring back what `replacing_folder` had put aside when it was
    stopped between its two renames, and remove what was half-written or replaced.

    Raises:
        ConceptlibError: nothing can take this folder's place (`/`, a mount point, the working folder).
    """
    _check(folder)
    if not folder.parent.is_dir():
        return
    mine, previous = f"{_prefix(folder)}-", _previous(folder)
    with os.scandir(folder.parent) as entries:
        left = [Path(entry.path) for entry in entries if entry.name.startswith(mine)]
    half = [path for path in left if path.suffix == TMP_SUFFIX and path.is_dir() and not path.is_symlink()]
    gone = [_remove_if_left(path) for path in half]
    if not all(gone) or not previous.is_dir():
        return  # a run that is alive may be between its two renames
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
    else:
        os.rename(previous, folder)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder` that takes its place when the block ends well; what was there is removed.

    Else it is removed itself, and `folder` stays as it was: readers see the old folder or the new one.

    Raises:
        ConceptlibError: nothing can take this folder's place; it was absent or empty and is no longer: what somebody
            put there meanwhile is not removed.
    """
    _check(folder)
    previous = _previous(folder)
    vacant = is_vacant(folder)
    with _staging(folder) as staging:
        yield staging
        if vacant and not is_vacant(folder):
            raise ConceptlibError(
                "somebody wrote into the target meanwhile", where=str(folder), hint="choose another folder"
            )
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)  # of a run that was stopped after its renames
            os.rename(folder, previous)
        try:
            os.rename(staging, folder)
        except OSError:
            if previous.is_dir():
                os.rename(previous, folder)
            raise
        fsync(folder.parent)
        shutil.rmtree(previous, ignore_errors=True)


def _check(folder: Path) -> None:
    """Raise ConceptlibError for a folder that cannot be renamed, before anything is written."""
    if folder == folder.parent or os.path.ismount(folder):
        what = "the root" if folder == folder.parent else "a mount point"
    elif folder.exists() and Path.cwd() == folder.resolve():
        what = "the working folder"  # it can be renamed, but the user's shell would stay in the old one
    else:
        return
    raise ConceptlibError(
        f"{what} cannot be replaced as a whole", where=str(folder), hint="name a folder inside it: it will be made"
    )


def scratch_folder(owner: object, prefix: str) -> Path:
    """A new folder in `TMPDIR` that is removed with `owner`, at the latest when Python ends.

    Those that killed processes left there under the same prefix are removed first.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*{TMP_SUFFIX}"):
        if path.is_dir() and not path.is_symlink():
            _remove_if_left(path)
    path, handle = _held(lambda: Path(tempfile.mkdtemp(prefix=prefix, suffix=TMP_SUFFIX)))
    weakref.finalize(owner, _let_go, path, handle)
    return path


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)

    def make() -> Path:
        path = folder.with_name(f"{_prefix(folder)}-{os.getpid()}-{uuid.uuid4().hex[:4]}{TMP_SUFFIX}")
        path.mkdir()
        return path

    staging, handle = _held(make)
    try:
        yield staging
    finally:
        _let_go(staging, handle)


def _held(make: Callable[[], Path]) -> tuple[Path, int | None]:
    """A new folder and the handle that locks it."""
    while True:
        path = make()
        handle = _lock(path, wait=True)
        if path.is_dir():  # else another run took it for left before it was locked
            return path, handle
        _unlock(handle)


def _let_go(path: Path, handle: int | None) -> None:
    shutil.rmtree(path, ignore_errors=True)
    _unlock(handle)


def _remove_if_left(path: Path) -> bool:
    """Remove a half-written folder unless its writer is alive; whether it is none of a living writer's."""
    if fcntl is None:
        if time.time() - path.stat().st_mtime > _OLD:
            shutil.rmtree(path, ignore_errors=True)
    elif (handle := _lock(path, wait=False)) is not None:
        _let_go(path, handle)
    return not path.exists()


def _lock(path: Path, *, wait: bool) -> int | None:
    """An open handle that holds the folder's lock; None where it is held, gone, or cannot be locked."""
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(handle)
        if wait and error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.EBADF):
            raise
        return None
    return handle


def _unlock(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


def _prefix(folder: Path) -> str:
    name = folder.name
    if len(os.fsencode(name)) > _LONGEST:
        name = sha256_bytes(os.fsencode(name))[:16]
    return f".{name}.conceptlib"


def _previous(folder: Path) -> Path:
    return folder.with_name(f"{_prefix(folder)}-previous")
