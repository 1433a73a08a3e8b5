"""What other people's annotation files say, before it is matched with pictures, and everything wrong in them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from reprlib import Repr
from typing import Any, Literal

from conceptlib.concepts.images import SUFFIXES
from conceptlib.errors import ConceptlibError

_SHOWN = 20
_LARGEST = 1e6
"""Pixels (or shares) beyond which a coordinate is a mistake: no picture is that large."""
_LONGEST_LABEL = 200
_ROBOFLOW = re.compile(r"(?P<stem>.+)_(?:jpe?g|png|webp|bmp|tiff?)\.rf\.[0-9A-Za-z]{16,}")

OUTLINES = "objects with an outline, of which the box around it is kept"
"""What `Report.reduce` counts polygons, masks and ellipses as."""

_repr = Repr()
_repr.maxstring = _repr.maxother = 80


@dataclass(frozen=True)
class Where:
    """A place in the files: the file, and what of it (`:12`, `: annotations[3]`)."""

    file: str
    part: str = ""

    def __str__(self) -> str:
        return f"{self.file}{self.part}"

    def at(self, part: object) -> Where:
        return Where(self.file, f"{self.part}{part}")


@dataclass(frozen=True)
class Box:
    """One object.

    xyxy: corners in pixels, or, where the entry has `shares`, in shares of the picture. quad: its four corner points,
    flat, where they are known.
    """

    label: str
    xyxy: tuple[float, float, float, float]
    where: Where
    score: float = 1.0
    quad: tuple[float, ...] | None = None

    def fault(self) -> str:
        """What is wrong with its label, numbers or score; "" for nothing."""
        if fault := text_fault(self.label) or ("an object without a label" if not self.label.strip() else ""):
            return fault
        if len(self.label) > _LONGEST_LABEL:
            return f"a label of {len(self.label)} characters"
        if beyond := [v for v in (*self.xyxy, *(self.quad or ())) if not abs(v) <= _LARGEST]:
            return f"a coordinate of {beyond[0]:g}; no picture is that large"
        return "" if 0 <= self.score <= 1 else f"a score of {self.score:g}; it must be in [0, 1]"


@dataclass(frozen=True)
class Entry:
    """What a file says about one picture.

    keys: names of the picture, the surest first. size: (width, height) that its coordinates are meant for, if said.
    shares: coordinates are shares of width and height.
    """

    keys: tuple[str, ...]
    where: Where
    boxes: tuple[Box, ...] = ()
    size: tuple[int, int] | None = None
    shares: bool = False


@dataclass(frozen=True)
class Reject:
    """Something that is wrong. kind: what of it cannot be used. where: the place in the file. objects: how many there
    are in it, as far as that can be known: 0 of a file that cannot be read."""

    kind: Literal["file", "picture", "object"]
    file: str
    where: str
    reason: str
    objects: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Report:
    """What was found while reading.

    rejects: everything wrong. skipped: objects left out for a reason that is no fault, by reason. reduced: objects of
    which more is known than a box can hold, by what it is. unannotated: pictures that nobody has looked at yet. notes:
    what the user should know besides.
    """

    rejects: list[Reject] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    reduced: Counter[str] = field(default_factory=Counter)
    unannotated: int = 0
    notes: list[str] = field(default_factory=list)

    def file(self, file: str, reason: str) -> None:
        """A file that cannot be used."""
        self.rejects.append(Reject("file", file, file, reason))

    def picture(self, where: Where, reason: str, objects: int = 0) -> None:
        """A picture that cannot be used, with its objects."""
        self.rejects.append(Reject("picture", where.file, str(where), reason, objects))

    def object(self, where: Where, reason: str) -> None:
        """An object that cannot be used."""
        self.rejects.append(Reject("object", where.file, str(where), reason, 1))

    def reduce(self, what: str) -> None:
        """One more object that lost something, of which there is a sum at the end."""
        self.reduced[what] += 1

    def rejected(self) -> dict[str, int]:
        """How many files and pictures, and how many objects in all."""
        kinds = Counter(reject.kind for reject in self.rejects)
        objects = sum(reject.objects for reject in self.rejects)
        return {"files": kinds["file"], "pictures": kinds["picture"], "objects": objects}

    def check(self, source: Path, *, hint: str = "correct the files, or --skip-bad; nothing was imported") -> None:
        """Raise ConceptlibError with the first problems if there are any."""
        if not self.rejects:
            return
        shown = "\n  ".join(f"{reject.where}: {reject.reason}" for reject in self.rejects[:_SHOWN])
        more = f"\n  ... and {len(self.rejects) - _SHOWN} more" if len(self.rejects) > _SHOWN else ""
        raise ConceptlibError(
            f"{len(self.rejects)} problem(s) in the annotations:\n  {shown}{more}", where=source, hint=hint
        )


def shown(value: object) -> str:
    """A value for a message, whatever it is: not long, not deep."""
    return _repr.repr(value)


def number(value: Any) -> float:
    """A finite number, also from text. Raises ValueError, saying what is wrong, for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{shown(value)} is not a number")
    try:
        result = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{shown(value)} is not a number") from None
    if not math.isfinite(result):
        raise ValueError(f"{shown(value)} is not a finite number")
    return result


def numbers(values: Any, count: int, what: str) -> list[float]:
    """A list of `count` finite numbers; `what` says what it must be. Raises ValueError."""
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{what}, not {shown(values)}")
    return [number(value) for value in values]


def points(values: Any) -> list[float]:
    """A list of `[x, y]` pairs as x1, y1, x2, y2, ... Raises ValueError."""
    if not isinstance(values, list):
        raise ValueError(f"points must be a list of [x, y], not {shown(values)}")
    return [part for value in values for part in numbers(value, 2, "a point must be [x, y]")]


def picture_size(width: Any, height: Any) -> tuple[int, int] | None:
    """A picture's (width, height) as a file says it; None where it does not know: nothing, or 0. Raises ValueError."""
    if width is None or height is None:
        return None
    sides = number(width), number(height)
    if min(sides) <= 0:
        return None
    if max(sides) > _LARGEST:
        raise ValueError(f"a picture of {sides[0]:g} x {sides[1]:g} px")
    return int(sides[0]), int(sides[1])


def text_fault(text: str) -> str:
    """What makes a text unfit to be stored and shown; "" for nothing."""
    if any("\ud800" <= char <= "\udfff" for char in text):
        return f"half a surrogate pair in {shown(text)}: no Unicode text"
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text):
        return f"a control character in {shown(text)}"
    return ""


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


def turned(
    box: tuple[float, float, float, float], degrees: float, about: tuple[float, float]
) -> tuple[tuple[float, float, float, float], tuple[float, ...]]:
    """A box turned clockwise (y grows downwards) about a point: the box around it, and its corners, flat, from the
    upper left one clockwise."""
    x1, y1, x2, y2 = box
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners: list[float] = []
    for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2)):
        dx, dy = x - about[0], y - about[1]
        corners += [about[0] + dx * cos - dy * sin, about[1] + dx * sin + dy * cos]
    return around(corners), tuple(corners)


def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0) -> tuple[float, float, float, float]:
    """The box around an ellipse that is turned by an angle. Raises ValueError for a negative radius."""
    if rx < 0 or ry < 0:
        raise ValueError(f"an ellipse of negative radius: {rx:g}, {ry:g}")
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    width, height = math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)
    return cx - width, cy - height, cx + width, cy + height


def keys_of(name: str) -> list[str]:
    """How a file name may match: its path, and its last part, each with and without ending; Roboflow's copies
    (`cat_jpg.rf.0123...jpg`) also by the name that they were made of."""
    path = name.replace("\\", "/")
    keys = [path, _without_ending(path)]
    keys += [key.rpartition("/")[2] for key in keys]
    if match := _ROBOFLOW.fullmatch(keys[-1]):
        keys.append(match["stem"])
    return [key for key in dict.fromkeys(keys) if key]


def _without_ending(path: str) -> str:
    """Only the endings of picture files are none of the name: `photo-1.5` is not `photo-1`."""
    suffix = PurePosixPath(path).suffix
    return path.removesuffix(suffix) if suffix.lower() in SUFFIXES else path
