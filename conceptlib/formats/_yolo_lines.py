"""The lines of YOLO's label files: which of three kinds of numbers follow the class, and the boxes that they give.

* `cx cy width height`, with a score behind it in predictions;
* a polygon `x1 y1 x2 y2 x3 y3 ...` (segments, oriented boxes): the box is the one around it, and four corners are kept;
* a pose `cx cy width height`, then keypoints of two or three numbers each: the box is the one that the line says.

Nothing in a line tells a pose from a polygon: `kpt_shape` in the data file does, as for ultralytics. Where it says
nothing, and the lines look like poses, they are refused: the box around all numbers of a pose is no box of anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from conceptlib.formats._entries import OUTLINES, Box, Report, Where, around, number, shown, sized

KEYPOINTS = "objects with keypoints, of which the box is kept"


@dataclass(frozen=True)
class Line:
    """One line: its class, and the numbers behind it."""

    where: Where
    kind: int
    values: tuple[float, ...]


def line_of(words: Sequence[str], where: Where, names: Mapping[int, str]) -> Line:
    """A line of finite numbers with a known class. Raises ValueError."""
    kind = number(words[0])
    if kind not in names:
        raise ValueError(f"class {shown(words[0])} is out of range: there are {len(names)}")
    values = tuple(number(word) for word in words[1:])
    if len(values) < 4:
        raise ValueError(f"{len(words)} values; a line is: class cx cy width height")
    return Line(where, int(kind), values)


def boxes(
    lines: Sequence[Line], names: Mapping[int, str], keypoints: tuple[int, int] | None, likely: str, report: Report
) -> Iterator[Box]:
    """The boxes of lines; what makes none is a reject.

    keypoints: what the data file says of poses, (0, 0) for none, None for nothing. likely: why lines that are no plain
    boxes are taken for poses; "" if they are not.
    """
    for line in lines:
        try:
            if len(line.values) in (4, 5):
                yield _plain(line, names)
            elif keypoints and keypoints[0]:
                yield _pose(line, names, keypoints)
                report.reduce(KEYPOINTS)
            elif likely:
                raise ValueError(likely)
            else:
                quad = line.values if len(line.values) == 8 else None
                yield Box(names[line.kind], around(line.values), line.where, quad=quad)
                if quad is None:
                    report.reduce(OUTLINES)
        except ValueError as error:
            report.object(line.where, str(error))


def _plain(line: Line, names: Mapping[int, str]) -> Box:
    x, y, width, height = line.values[:4]
    box = sized(x - width / 2, y - height / 2, width, height)
    return Box(names[line.kind], box, line.where, line.values[4] if len(line.values) == 5 else 1.0)


def _pose(line: Line, names: Mapping[int, str], keypoints: tuple[int, int]) -> Box:
    """The line's own box; predictions have their score at the end."""
    count, width = keypoints
    whole = 4 + count * width
    if len(line.values) not in (whole, whole + 1):
        raise ValueError(
            f"{len(line.values)} numbers behind the class; by kpt_shape [{count}, {width}] it is a box and {count} "
            f"keypoints: {whole}"
        )
    box = _plain(Line(line.where, line.kind, line.values[:4]), names)
    return box if len(line.values) == whole else Box(box.label, box.xyxy, box.where, line.values[-1])


def poses(lines: Sequence[Line]) -> str:
    """Why the lines that are no plain boxes look like poses, for the user; "" where they look like polygons.

    Poses of a dataset all have the same number of values. Of such lines a single one that can be no polygon is enough:
    an odd number of values, a third number that is always 0, 1 or 2 (visibility), or a second point - of a pose the
    size of its box - that lies further away from all others than these reach.
    """
    long = [line.values for line in lines if len(line.values) > 5]
    if not long or len({len(values) for values in long}) > 1:
        return ""
    count = len(long[0])
    if not any(_no_polygon(values) for values in long):
        return ""
    shapes = [f"[{(count - 4) // width}, {width}]" for width in (2, 3) if (count - 4) % width == 0]
    if not shapes:
        return ""
    return (
        f"{count} numbers: it looks like a box and its keypoints, but no data.yaml says `kpt_shape: {shapes[-1]}`"
        + (f" (or {shapes[0]})" if len(shapes) > 1 else "")
        + "; `kpt_shape: [0, 0]` says that it is a polygon"
    )


def _no_polygon(values: Sequence[float]) -> bool:
    if len(values) % 2:
        return True
    flags = values[6::3]
    if (len(values) - 4) % 3 == 0 and flags and set(flags) <= {0.0, 1.0, 2.0}:
        return True
    others = [values[:2], *(values[place : place + 2] for place in range(4, len(values), 2))]
    low, high = [min(axis) for axis in zip(*others, strict=True)], [max(axis) for axis in zip(*others, strict=True)]
    reach = max(0.01, *(top - bottom for top, bottom in zip(high, low, strict=True)))
    beyond = max(max(low[axis] - values[2 + axis], values[2 + axis] - high[axis]) for axis in (0, 1))
    return beyond > (3 if len(values) == 6 else 1) * reach  # a triangle's corner may well be far from the other two
