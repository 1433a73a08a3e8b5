"""A scatter plot drawn with Pillow: points of several series over two axes, with a legend. The same input gives the
same picture on every machine, and nothing needs to be installed.

Our own, and not matplotlib's: that is much more to install and slow to import, and its bytes follow its version and
the fonts of the machine.

    scatter([Series("esd", [(3.0, 97.0), (5.1, 95.2)])], x="target, %", y="retain, %").save("plot.png")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from conceptlib.errors import ConceptlibError
from conceptlib.reports.grid import INK, LINE, PALE, PAPER, typeface

PALETTE = (
    (230, 0, 60),
    (0, 114, 178),
    (0, 150, 110),
    (240, 140, 0),
    (130, 80, 190),
    (90, 180, 230),
    (150, 110, 60),
    (60, 60, 66),
)
SHAPES = ("circle", "square", "triangle", "diamond")
WIDTH, HEIGHT, SCALE = 900, 560, 3
RADIUS = 4.5
LEFT, RIGHT, TOP, BOTTOM = 84, 250, 56, 70


@dataclass(frozen=True)
class Bar:
    """A mean (x, y) with the ends of its intervals; None where there is no interval."""

    x: float
    y: float
    x_ends: tuple[float, float] | None = None
    y_ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class Series:
    """Points (x, y) that share a colour and a shape, and their name in the legend; `bars` are drawn below them."""

    name: str
    points: Sequence[tuple[float, float]]
    bars: Sequence[Bar] = ()


def scatter(
    series: Sequence[Series],
    *,
    x: str,
    y: str,
    title: str = "",
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> Image.Image:
    """Draw the plot, 900 x 560 pixels RGB, wider where a name in the legend is long. Points of several series at one
    place are set side by side.

    Args:
        series: at least one point in all; colours and shapes go by their order.
        x, y: what the axes show.
        x_range, y_range: where the axes end; by default around the points.

    Raises:
        ConceptlibError: there is nothing to draw.
    """
    points = [point for one in series for point in one.points]
    if not points:
        raise ConceptlibError("there are no points to plot")
    reached = [(end, bar.y) for one in series for bar in one.bars for end in bar.x_ends or ()]
    reached += [(bar.x, end) for one in series for bar in one.bars for end in bar.y_ends or ()]
    xs, ys = (_Axis.of([p[k] for p in (*points, *reached)], given) for k, given in ((0, x_range), (1, y_range)))
    legend = max(typeface(14 * SCALE).getlength(one.name) / SCALE for one in series) + 38 + 12
    width = WIDTH + max(0, math.ceil(legend - RIGHT))
    height = max(HEIGHT, TOP + 10 + 24 * len(series) + 12)
    page = Image.new("RGB", (width * SCALE, height * SCALE), PAPER)
    draw = ImageDraw.Draw(page)
    box = (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        u, v = xs.share(point[0]), ys.share(point[1])
        return box[0] + u * (box[2] - box[0]), box[3] - v * (box[3] - box[1])

    for tick in xs.ticks:
        at = place((tick, ys.low))[0]
        draw.line(_scaled(at, box[1], at, box[3]), fill=LINE, width=SCALE)
        _text(draw, (at, box[3] + 8), xs.label(tick), 14, PALE, "mt")
    for tick in ys.ticks:
        at = place((xs.low, tick))[1]
        draw.line(_scaled(box[0], at, box[2], at), fill=LINE, width=SCALE)
        _text(draw, (box[0] - 8, at), ys.label(tick), 14, PALE, "rm")
    draw.rectangle(_scaled(*box), outline=PALE, width=SCALE)
    _text(draw, (LEFT, 16), title, 20, INK, "lt")
    _text(draw, ((box[0] + box[2]) / 2, HEIGHT - 20), x, 15, INK, "mb")
    _upright(page, (22, (box[1] + box[3]) / 2), y)
    crowd: dict[tuple[int, int], list[int]] = {}  # which series have a point at a pixel
    for number, one in enumerate(series):
        for at_pixel in {_pixel(place(point)) for point in one.points}:
            crowd.setdefault(at_pixel, []).append(number)
    for number, one in enumerate(series):
        for bar in one.bars:
            _bar(draw, bar, place, PALETTE[number % len(PALETTE)])
    for number, one in enumerate(series):
        colour, shape = PALETTE[number % len(PALETTE)], SHAPES[(number // len(PALETTE)) % len(SHAPES)]
        for point in one.points:
            spot = place(point)
            # Series that coincide there stand side by side, or only the last of them would be seen.
            own = crowd[_pixel(spot)]
            aside = 2 * RADIUS * (own.index(number) - (len(own) - 1) / 2)
            _mark(draw, (spot[0] + aside, spot[1]), shape, colour)
        line = TOP + 10 + 24 * number
        _mark(draw, (WIDTH - RIGHT + 24, line), shape, colour)
        _text(draw, (WIDTH - RIGHT + 38, line), one.name, 14, INK, "lm")
    return page.reduce(SCALE)


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int

    @classmethod
    def of(cls, values: Sequence[float], given: tuple[float, float] | None) -> _Axis:
        """Round ends and four to ten ticks."""
        low, high = given or (min(values), max(values))
        span = (high - low) or abs(high) or 1.0
        if given is None:
            low, high = low - 0.06 * span, high + 0.06 * span
        rough = (high - low) / 6
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return cls(low, high, tuple(k * step for k in range(first, last + 1)), max(0, -math.floor(math.log10(step))))

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def label(self, value: float) -> str:
        return f"{value + 0.0:.{self.digits}f}"


def _scaled(*numbers: float) -> tuple[float, ...]:
    return tuple(SCALE * number for number in numbers)


def _text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, ink: tuple[int, int, int], anchor: str
) -> None:
    draw.text((SCALE * at[0], SCALE * at[1]), text, font=typeface(size * SCALE), fill=ink, anchor=anchor)


def _upright(page: Image.Image, centre: tuple[float, float], text: str) -> None:
    """Text that reads from below to above."""
    font = typeface(15 * SCALE)
    left, top, right, bottom = ImageDraw.Draw(page).textbbox((0, 0), text, font=font)
    strip = Image.new("RGB", (int(right - left) + 8, int(bottom - top) + 8), PAPER)
    ImageDraw.Draw(strip).text((4 - left, 4 - top), text, font=font, fill=INK)
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    page.paste(turned, (int(SCALE * centre[0] - turned.width / 2), int(SCALE * centre[1] - turned.height / 2)))


def _bar(
    draw: ImageDraw.ImageDraw,
    bar: Bar,
    place: Callable[[tuple[float, float]], tuple[float, float]],
    colour: tuple[int, int, int],
) -> None:
    """Whiskers with caps."""
    for ends, along_x in ((bar.x_ends, True), (bar.y_ends, False)):
        if ends is None:
            continue
        (x1, y1), (x2, y2) = (place((end, bar.y) if along_x else (bar.x, end)) for end in ends)
        cap = (0, 4) if along_x else (4, 0)
        lines = [(x1, y1, x2, y2)]
        lines += [(x - cap[0], y - cap[1], x + cap[0], y + cap[1]) for x, y in ((x1, y1), (x2, y2))]
        for line in lines:
            draw.line(_scaled(*line), fill=colour, width=SCALE)


def _pixel(at: tuple[float, float]) -> tuple[int, int]:
    return round(at[0]), round(at[1])


def _mark(draw: ImageDraw.ImageDraw, at: tuple[float, float], shape: str, colour: tuple[int, int, int]) -> None:
    x, y, r = SCALE * at[0], SCALE * at[1], SCALE * RADIUS
    options: dict[str, Any] = {"fill": colour, "outline": PAPER, "width": SCALE}
    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), **options)
    elif shape == "square":
        draw.rectangle((x - r, y - r, x + r, y + r), **options)
    elif shape == "triangle":
        draw.polygon([(x, y - r), (x + r, y + r), (x - r, y + r)], **options)
    else:
        draw.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], **options)
