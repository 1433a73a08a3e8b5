"""Other people's files: found, and parsed so that whatever they hold ends in a reason, never in a crash."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar
from xml.etree.ElementTree import Element, TreeBuilder

from conceptlib.formats._entries import Report

T = TypeVar("T")

MAX_TEXT = 64 << 20
"""Bytes of the annotations of a single picture, or of a list of names."""
MAX_DATA = 4 << 30
"""Bytes of a file with the annotations of many pictures: COCO 2017's largest have 0.5 GB."""


def listed(root: Path, suffix: str, report: Report) -> list[Path]:
    """The files below `root` that end in `suffix`, in whatever case, sorted; links to folders are not followed.

    What is no file (a fifo, a device) and links to files outside of `root` are rejects: what lies elsewhere on this
    machine is not what the user gave.
    """
    found = []
    whole = root.resolve()
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in names:
            path = Path(folder, name)
            if not name.lower().endswith(suffix):
                continue
            if reason := _fault(path, whole):
                report.file(called(path, root), reason)
            else:
                found.append(path)
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def _fault(path: Path, whole: Path) -> str:
    """Why a file is not read; "" for no reason."""
    try:
        if path.is_symlink() and not path.resolve().is_relative_to(whole):
            return "a link that leads out of the folder"
        return "" if stat.S_ISREG(path.stat().st_mode) else "not a file"
    except (OSError, RuntimeError) as error:  # a link to nothing, or round in a circle
        return f"cannot be read: {error.strerror if isinstance(error, OSError) else error}"


def called(path: Path, root: Path) -> str:
    """How messages call a file: relative to what the user gave, a name that is no UTF-8 with escapes."""
    relative = path.relative_to(root) if path != root else Path(path.name)
    return os.fsencode(relative.as_posix()).decode("utf-8", "backslashreplace")


def read_bytes(path: Path, limit: int = MAX_TEXT) -> bytes:
    """A whole file. Raises ValueError with a reason."""
    try:
        if not path.is_file():
            raise ValueError("not a file")
        if path.stat().st_size > limit:
            raise ValueError(f"larger than {limit >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None


def read_text(path: Path) -> str:
    """A small UTF-8 file. Raises ValueError with a reason."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start})") from None


def read_json(path: Path) -> Any:
    """A JSON file (UTF-8, -16 or -32). Memory: the file's, several times. Raises ValueError with a reason."""
    data = read_bytes(path, MAX_DATA)
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from None


def read_xml(path: Path, limit: int = MAX_TEXT) -> tuple[Element, dict[Element, int]]:
    """An XML document without DTD, entities and references, by defusedxml, and the line of every element.

    Raises ValueError with a reason.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError

    try:
        if not path.is_file():
            raise ValueError("not a file")
        if path.stat().st_size > limit:
            raise ValueError(f"larger than {limit >> 20} MiB")
        with path.open("rb") as file:
            return _parsed(file)
    except DefusedXmlException as error:
        name = type(error).__name__
        raise ValueError(f"refused: {name} (annotations need no DTD and no entities)") from None
    except (ParseError, LookupError) as error:
        raise ValueError(str(error)) from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None


def _parsed(file: IO[bytes]) -> tuple[Element, dict[Element, int]]:
    from defusedxml.ElementTree import DefusedXMLParser

    lines: dict[Element, int] = {}

    class Builder(TreeBuilder):
        def start(self, tag: Any, attrs: Any, /) -> Element:
            element = super().start(tag, attrs)
            lines[element] = parser.parser.CurrentLineNumber
            return element

    parser = DefusedXMLParser(target=Builder(), forbid_dtd=True)
    while chunk := file.read(1 << 16):
        parser.feed(chunk)
    return parser.close(), lines


class OtherKind(ValueError):
    """A sound file, but none of the format."""


def documents(
    files: Iterable[tuple[Path, str]], load: Callable[[Path], T], report: Report
) -> Iterator[tuple[Path, str, T]]:
    """Every file with its name in messages and what `load` makes of it.

    What `load` cannot read (ValueError) is a reject. So is a file of another kind, unless there are some of this kind:
    beside those it is left out with a note.
    """
    others: list[tuple[str, str]] = []
    any_good = False
    for path, file in files:
        try:
            loaded = load(path)
        except OtherKind as error:
            others.append((file, str(error)))
            continue
        except ValueError as error:
            report.file(file, str(error))
            continue
        any_good = True
        yield path, file, loaded
    if any_good and others:
        report.notes.append(f"left out, since they are no annotations: {', '.join(file for file, _ in others)}")
    for file, reason in () if any_good else others:
        report.file(file, reason)


def files_of(source: Path, suffix: str, report: Report) -> Iterator[tuple[Path, str]]:
    """The file itself, or all of a folder that end in `suffix`, each with its name in messages."""
    if source.is_dir():
        yield from ((path, called(path, source)) for path in listed(source, suffix, report))
    else:
        yield source, called(source, source)
