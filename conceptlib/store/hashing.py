"""The project's one way to hash: sha256 of canonical JSON, of bytes, of files and of folders."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from conceptlib.errors import ConceptlibError

ID_DIGITS = 16
"""Hex digits of an artifact's id: 64 bits, so a store of a million artifacts collides with probability 3e-8."""

_CHUNK = 1 << 20


def canonical_json(obj: Any) -> bytes:
    """``obj`` as the one JSON text that every run and machine writes: sorted keys, no spaces, ASCII.

    Tuples become lists, NumPy scalars and arrays Python numbers and lists, paths POSIX text, pydantic models their
    JSON dump.

    Raises:
        ConceptlibError: a value has no canonical form (NaN, infinity, half a surrogate pair, a set, bytes, a key
            that is not text); the error names the place inside ``obj``.
    """
    return json.dumps(plain(obj), sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _plain(value: Any, where: str) -> Any:
    """``value`` in JSON's own types; ``where`` is its place (``$.params.rows[3]``) for the error."""
    kind = type(value)  # most values are of these: asking what else they might be takes longer than all the rest
    if kind is str:
        return _text(value, where)
    if kind is int or kind is bool or (kind is float and math.isfinite(value)):
        return value
    if kind is list or kind is tuple:
        return _items(value, where)
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    elif hasattr(value, "tolist"):  # NumPy scalars and arrays, without importing NumPy
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ConceptlibError(
                f"{float(value)} has no canonical form", where=where, hint="use null, or a finite number"
            )
        return float(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise ConceptlibError(
                    f"the key {name!r} is {type(name).__name__}, not text", where=where, hint="use text keys"
                )
        return {_text(name, where): _plain(item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return _items(value, where)
    raise ConceptlibError(
        f"a value of type {type(value).__name__} has no canonical form",
        where=where,
        hint="use null, booleans, numbers, text, lists and mappings",
    )


def _items(values: Sequence[Any], where: str) -> list[Any]:
    # Boxes are full of numbers: for each of them a call and the name of its place would take longer than the rest.
    return [
        item
        if type(item) is int or (type(item) is float and math.isfinite(item))
        else _plain(item, f"{where}[{index}]")
        for index, item in enumerate(values)
    ]


def _text(value: str, where: str) -> str:
    """Plain text, also of an enumeration's member. Half a surrogate pair is no text: UTF-8 cannot write it."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConceptlibError(
            f"not Unicode text: {value!r}", where=where, hint="remove the broken character"
        ) from error
    return str.__str__(value)


def plain(obj: Any) -> Any:
    """``obj`` reduced to JSON's own types, as ``canonical_json`` sees it. Raises as that does."""
    try:
        return _plain(obj, "$")
    except RecursionError as error:
        raise ConceptlibError("a value with too many levels has no canonical form", hint="flatten it") from error


def sha256_bytes(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """64 hex digits of a file's bytes, read in chunks of 1 MiB; ``progress`` hears the size of each chunk."""
    hasher = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
            if progress is not None:
                progress(len(chunk))
    return hasher.hexdigest()


def git_oid(data: bytes | Path) -> str:
    """The 40 hex digits that git gives to a blob of these bytes, or of this file: how the Hub names a small file."""
    size = len(data) if isinstance(data, bytes) else data.stat().st_size
    hasher = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    if isinstance(data, bytes):
        hasher.update(data)
        return hasher.hexdigest()
    with open(data, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


class HashingWriter:
    """Writes to a binary file and hashes what passes, so that it need not be held or read again.

    `count` says how many bytes there were.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.count = 0
        self._file, self._hasher = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """All of `data`, also where the file takes it in parts; returns its length."""
        self._hasher.update(data)
        self.count += len(data)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        return len(data)

    def sha256(self) -> str:
        """64 hex digits of what was written so far."""
        return self._hasher.hexdigest()


def digest(obj: Any) -> str:
    """64 hex digits of the canonical JSON of ``obj``."""
    return sha256_bytes(canonical_json(obj))


def tree_digest(folder: Path) -> str:
    """64 hex digits over ``{relative POSIX path: sha256}`` of every file below ``folder``; empty folders do not count.

    Raises:
        ConceptlibError: the folder does not exist, or it holds a symbolic link (its target is not content).
    """
    from conceptlib.store.files import walk

    return digest({path.relative_to(folder).as_posix(): sha256_file(path) for path in walk(folder)})


def artifact_key(kind: str, name: str, lock: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    """64 hex digits: "has this been asked for before?"."""
    return digest({"kind": kind, "name": name, "lock": lock, "parents": parents})


def artifact_id(kind: str, content: str, parents: Mapping[str, str]) -> str:
    """16 hex digits of what an artifact is: its kind, its content's digest and its parents' ids."""
    return digest({"kind": kind, "content": content, "parents": parents})[:ID_DIGITS]
