"""What other people's annotation files say, before it is matched with pictures, and everything wrong in them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from conceptlib.concepts.images import SUFFIXES
from conceptlib.errors import ConceptlibError

_SHOWN = 20
MAX_TEXT = 64 << 20
"""Bytes of a single text or XML file; what is larger is no annotation of one picture."""


@dataclass(frozen=True)
class Box:
    """One object.

    xyxy: corners in pixels, or, where the entry has `shares`, in shares of the picture. quad: its four corner points,
    flat, where they are known. where: file and line.
    """

    label: str
    xyxy: tuple[float, float, float, float]
    where: str
    score: float = 1.0
    quad: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Entry:
    """What a file says about one picture.

    keys: names of the picture, the surest first. size: (width, height) that its coordinates are meant for, if said.
    shares: coordinates are shares of width and height.
    """

    keys: tuple[str, ...]
    where: str
    boxes: tuple[Box, ...] = ()
    size: tuple[int, int] | None = None
    shares: bool = False


@dataclass
class Report:
    """Everything wrong that was found while reading (`problems`), and what was left out for a reason (`skipped`)."""

    problems: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def problem(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}")

    def check(self, source: Path) -> None:
        """Raise ConceptlibError with the first problems if there are any."""
        if not self.problems:
            return
        shown = "\n  ".join(self.problems[:_SHOWN])
        more = f"\n  ... and {len(self.problems) - _SHOWN} more" if len(self.problems) > _SHOWN else ""
        raise ConceptlibError(
            f"{len(self.problems)} problem(s) in the annotations:\n  {shown}{more}",
            where=source,
            hint="correct the files; nothing was imported",
        )


def number(value: Any) -> float:
    """A finite number, also from text. Raises ValueError, saying what is wrong, for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a number")
    try:
        result = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r} is not a number") from None
    if not math.isfinite(result):
        raise ValueError(f"{value!r} is not a finite number")
    return result


def sized(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    """Corners of a box by its first corner and size. Raises ValueError for a negative size."""
    if width < 0 or height < 0:
        raise ValueError(f"a box of negative size: {width:g} x {height:g}")
    return x, y, x + width, y + height


def around(points: Sequence[float]) -> tuple[float, float, float, float]:
    """The box around points x1, y1, x2, y2, ... Raises ValueError unless there are three or more."""
    if len(points) < 6 or len(points) % 2:
        raise ValueError(f"a polygon of {len(points)} numbers; three or more pairs are needed")
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])


def keys_of(name: str) -> list[str]:
    """How a file name may match: its path, and its last part, each with and without ending."""
    path = name.replace("\\", "/")
    keys = [path, _without_ending(path)]
    keys += [key.rpartition("/")[2] for key in keys]
    return [key for key in dict.fromkeys(keys) if key]


def _without_ending(path: str) -> str:
    """Only the endings of picture files are none of the name: `photo-1.5` is not `photo-1`."""
    suffix = PurePosixPath(path).suffix
    return path.removesuffix(suffix) if suffix.lower() in SUFFIXES else path


def read_text(path: Path) -> str:
    """A small UTF-8 file. Raises ValueError with a reason."""
    if path.stat().st_size > MAX_TEXT:
        raise ValueError(f"larger than {MAX_TEXT >> 20} MiB")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start})") from None
