"""Pictures as columns of tables hold them: encoded bytes, a path, `datasets`' pair of both, or a list of these."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from conceptlib.concepts.rejects import Reject, first_line
from conceptlib.concepts.safe import MAX_FILE_BYTES

Picture = bytes | Path | Reject
_SECONDS = 60


def pictures_of(value: Any, which: Literal["first", "each"], resolve: Callable[[str], Picture]) -> Iterator[Picture]:
    """The pictures of a row's value: one, or of a list the first or each.

    Args:
        resolve: what a path or address in the value stands for.
    """
    if not isinstance(value, (list, tuple)):
        yield picture_of(value, resolve)
        return
    there = [one for one in value if one is not None] or [None]
    for one in there if which == "each" else there[:1]:
        yield picture_of(one, resolve)


def picture_of(value: Any, resolve: Callable[[str], Picture]) -> Picture:
    """The picture of one value."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if value is None or value == "" or value == b"":
        return Reject("missing-file", "the row holds no picture")
    if isinstance(value, (bytes, bytearray)):
        if len(value) > MAX_FILE_BYTES:
            return Reject("too-large", f"{len(value)} bytes; at most {MAX_FILE_BYTES} are read")
        return bytes(value)
    if isinstance(value, str):
        try:
            return resolve(value)
        except Reject as reject:
            return reject
    return Reject("unreadable", f"the picture is of type {type(value).__name__}; bytes or a path are read")


def fetch(address: str, schemes: tuple[str, ...]) -> bytes:
    """The bytes at an address, if its scheme is one that the user named. Raises `Reject`."""
    scheme = address.partition("://")[0].lower()
    if scheme not in schemes:
        raise Reject("refused", f"an address, {address[:200]}: such are opened with schemes=[{scheme}] only")
    try:
        data = _by_http(address) if scheme in ("http", "https") else _by_fsspec(address)
    except FileNotFoundError as error:
        raise Reject("missing-file", f"nothing is at {address[:200]}") from error
    except Exception as error:  # each kind of address has errors of its own
        raise Reject("unreadable", f"{address[:200]}: {first_line(error)}") from error
    if len(data) > MAX_FILE_BYTES:
        raise Reject("too-large", f"{address[:200]}: at most {MAX_FILE_BYTES} bytes are read")
    return data


def _by_fsspec(address: str) -> bytes:
    import fsspec

    with fsspec.open(address, "rb") as file:
        return bytes(file.read(MAX_FILE_BYTES + 1))


def _by_http(address: str) -> bytes:
    """By HTTP alone: a redirection to another scheme is an error."""
    web = urllib.request.OpenerDirector()
    for handler in ("Proxy", "HTTP", "HTTPS", "HTTPRedirect", "HTTPDefaultError", "Unknown"):
        web.add_handler(getattr(urllib.request, f"{handler}Handler")())
    web.add_handler(urllib.request.HTTPErrorProcessor())
    end, data = time.monotonic() + _SECONDS, bytearray()
    try:
        with web.open(address, timeout=_SECONDS) as answer:
            while len(data) <= MAX_FILE_BYTES and (piece := answer.read(1 << 20)):
                data += piece
                if time.monotonic() > end:
                    raise TimeoutError(f"it takes more than {_SECONDS} seconds")
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            raise FileNotFoundError(address) from error
        raise
    return bytes(data)
