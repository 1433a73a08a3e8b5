"""Names of artifacts, and the folders they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from conceptlib.errors import ConceptlibError
from conceptlib.store import kinds

MANIFEST: Final = "manifest.json"
"""The file that makes a folder an artifact."""

LATEST = "latest"
"""`name@latest` is the newest of a name (`Store.get`), as the name alone is; no tag may be called so."""

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_HEX = re.compile(r"[0-9a-fA-F]{1,16}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_LONGEST = 200  # most filesystems allow 255 bytes; the rest is for suffixes
# What Windows keeps for devices, whatever ends the name.
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
)
_SEPARATOR = "+"  # not allowed inside a name, so that two names never share a folder


def check_kind(kind: str) -> str:
    """``kind`` itself. Raises ``ConceptlibError`` for one that the store does not keep."""
    return kinds.get(kind).name


def check_name(name: str) -> str:
    """``name`` itself: parts of letters, digits, ``.``, ``_`` and ``-``, joined by ``/``; no part starts with a dot.

    Raises:
        ConceptlibError: anything else. A name becomes a folder, so ``..``, absolute paths and control characters are
            refused.
    """
    if not name or len(name) > _LONGEST or not all(_PART.fullmatch(part) for part in name.split("/")):
        raise ConceptlibError(
            f"not a name: {name[:_LONGEST]!r}",
            hint=f"letters, digits, '.', '_', '-', in parts joined by '/' (geom-erasing/qr), at most {_LONGEST} long",
        )
    return name


def folder_of(name: str) -> str:
    """The one folder name for an artifact's name: ``geom-erasing/qr`` becomes ``geom-erasing+qr``."""
    return check_name(name).replace("/", _SEPARATOR)


def name_of(folder: str) -> str:
    """The inverse of ``folder_of``."""
    return folder.replace(_SEPARATOR, "/")


def check_new(what: str, name: str, file: str, there: Iterable[str]) -> None:
    """Refuse a new name whose file some file system cannot hold beside those that are there: those of macOS and Windows
    take `A` and `a` for one, Windows keeps `con` and the like for devices and drops a dot at the end. What is there
    already keeps working.

    Args:
        what: for the message (`dataset`, `tag`). file: what the name is called on the disk. there: the files beside it.

    Raises:
        ConceptlibError: it is such a name.
    """
    there = set(there)
    if file in there:
        return
    folded = file.casefold()
    if other := next((one for one in sorted(there) if one.casefold() == folded), None):
        known = name_of(other.removesuffix(".json") if what == "tag" else other)
        raise ConceptlibError(
            f"the {what} {name!r} would differ from {known!r} in nothing but capitals",
            hint=f"file systems that ignore them cannot hold both: use {known!r}, or another name",
        )
    if folded.partition(".")[0] in _DEVICES or file.endswith("."):
        raise ConceptlibError(f"Windows has no file called {file!r}", hint=f"choose another name for the {what}")


def check_path(path: str) -> str:
    """``path`` itself: that of a file inside an artifact, relative and in POSIX form.

    Raises:
        ValueError: it is absolute, has ``..``, ``.``, an empty part, a drive, a backslash or an unprintable character,
            or is the manifest's own name: whoever follows it could be led elsewhere.
    """
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or path[1:2] == ":" or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"not a path inside an artifact: {path[:_LONGEST]!r}")
    if path.casefold() == "manifest.json":
        raise ValueError("the manifest does not name itself")
    return path


def split_ref(ref: str) -> tuple[str, str]:
    """The name, and what follows its `@`: the first digits of an id, or a tag. Empty where there is none."""
    name, _, version = ref.partition("@")
    return name, version


def check_tag(tag: str) -> str:
    """``tag`` itself: up to 64 letters, digits, ``.``, ``_`` and ``-``.

    Raises:
        ConceptlibError: anything else, `latest`, or what could be the first digits of an id: `name@cafe` must never
            change its meaning when an artifact comes.
    """
    if not _TAG.fullmatch(tag):
        hint = "letters, digits, '.', '_', '-', at most 64 (v1, icml-24)"
        raise ConceptlibError(f"not a tag: {tag[:64]!r}", hint=hint)
    if tag == LATEST:
        raise ConceptlibError("the tag `latest` is the newest by itself", hint="choose another name (v1)")
    if _HEX.fullmatch(tag):
        hint = f"choose another name (v-{tag})"
        raise ConceptlibError(f"the tag {tag!r} could be the first digits of an id", hint=hint)
    return tag
