"""Emblems: small drawn marks such as agencies and photographers use, as masks; none is anybody's trademark."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

_FINE = 4

Pen = ImageDraw.ImageDraw


def _turned(points: np.ndarray, degrees: float) -> list[tuple[float, float]]:
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return [(float(x), float(y)) for x, y in points @ turn]


def _scale(points: list[tuple[float, float]], s: float) -> list[tuple[float, float]]:
    """From the unit square around 0 (-1 to 1) to pixels."""
    return [((x + 1) * s / 2, (y + 1) * s / 2) for x, y in points]


def _ring(pen: Pen, s: float, radius: float = 0.97, width: float = 0.1) -> None:
    r = radius * s / 2
    pen.ellipse((s / 2 - r, s / 2 - r, s / 2 + r, s / 2 + r), outline=255, width=max(1, round(width * s / 2)))


def _aperture(pen: Pen, s: float) -> None:
    r = 0.97 * s / 2
    pen.ellipse((s / 2 - r, s / 2 - r, s / 2 + r, s / 2 + r), fill=255)
    hole = [(0.42 * math.cos(math.radians(60 * k)), 0.42 * math.sin(math.radians(60 * k))) for k in range(6)]
    pen.polygon(_scale(hole, s), fill=0)
    for k in range(6):
        a, b = np.array(hole[k]), np.array(hole[(k + 1) % 6])
        end = a + (a - b) / np.linalg.norm(a - b) * 0.78
        pen.line(_scale([(b[0], b[1]), (end[0], end[1])], s), fill=0, width=max(1, round(s * 0.035)))


def _camera(pen: Pen, s: float) -> None:
    pen.rounded_rectangle((0.02 * s, 0.24 * s, 0.98 * s, 0.86 * s), radius=0.1 * s, fill=255)
    pen.polygon([(0.3 * s, 0.26 * s), (0.38 * s, 0.13 * s), (0.62 * s, 0.13 * s), (0.7 * s, 0.26 * s)], fill=255)
    for radius, ink in ((0.235, 0), (0.165, 255), (0.1, 0)):
        pen.ellipse(((0.5 - radius) * s, (0.55 - radius) * s, (0.5 + radius) * s, (0.55 + radius) * s), fill=ink)
    pen.rectangle((0.8 * s, 0.33 * s, 0.9 * s, 0.39 * s), fill=0)


def _peaks(pen: Pen, s: float) -> None:
    pen.polygon([(0.0, 0.86 * s), (0.36 * s, 0.24 * s), (0.72 * s, 0.86 * s)], fill=255)
    pen.polygon([(0.5 * s, 0.86 * s), (0.73 * s, 0.46 * s), (s, 0.86 * s)], fill=255)
    pen.line([(0.47 * s, 0.86 * s), (0.7 * s, 0.46 * s)], fill=0, width=max(1, round(0.045 * s)))
    pen.ellipse((0.7 * s, 0.1 * s, 0.92 * s, 0.32 * s), fill=255)


def _leaf(pen: Pen, s: float) -> None:
    t = np.linspace(0, math.pi, 24)
    side = np.stack([0.5 * np.sin(t) ** 1.2, -np.cos(t)], 1) * 0.95
    outline = np.concatenate([side, (side * (-1, 1))[::-1]])
    pen.polygon(_scale(_turned(outline, -40), s), fill=255)
    pen.line(_scale(_turned(np.array([(0, -0.6), (0, 0.95)]), -40), s), fill=0, width=max(1, round(0.05 * s)))


def _compass(pen: Pen, s: float) -> None:
    _ring(pen, s)
    for degrees, length, breadth in ((45, 0.55, 0.13), (0, 0.84, 0.17)):
        for k in range(4):
            kite = np.array([(0, -length), (breadth, -breadth), (0, 0), (-breadth, -breadth)])
            pen.polygon(_scale(_turned(kite, degrees + 90 * k), s), fill=255)


def _globe(pen: Pen, s: float) -> None:
    _ring(pen, s, width=0.09)
    width = max(1, round(0.045 * s))
    pen.ellipse((0.3 * s, 0.03 * s, 0.7 * s, 0.97 * s), outline=255, width=width)
    pen.line((0.5 * s, 0.03 * s, 0.5 * s, 0.97 * s), fill=255, width=width)
    for y, half in ((0.5, 0.48), (0.27, 0.42), (0.73, 0.42)):
        pen.line(((0.5 - half) * s, y * s, (0.5 + half) * s, y * s), fill=255, width=width)


def _hexagons(pen: Pen, s: float) -> None:
    for radius, ink in ((0.98, 255), (0.78, 0), (0.56, 255), (0.3, 0)):
        points = [(radius * math.sin(math.radians(60 * k)), radius * math.cos(math.radians(60 * k))) for k in range(6)]
        pen.polygon(_scale(points, s), fill=ink)


def _eye(pen: Pen, s: float) -> None:
    t = np.linspace(-1, 1, 32)
    lid = np.stack([t * 0.98, -0.56 * (1 - t**2)], 1)
    outline = np.concatenate([lid, (lid * (1, -1))[::-1]])
    pen.polygon(_scale([(float(x), float(y)) for x, y in outline], s), fill=255)
    for radius, ink in ((0.2, 0), (0.13, 255), (0.06, 0)):
        pen.ellipse(((0.5 - radius) * s, (0.5 - radius) * s, (0.5 + radius) * s, (0.5 + radius) * s), fill=ink)


def _bars(pen: Pen, s: float) -> None:
    for k, height in enumerate((0.5, 0.85, 1.0, 0.7, 0.4)):
        x = (0.02 + 0.2 * k) * s
        pen.rounded_rectangle((x, (1 - height) * s / 2, x + 0.13 * s, (1 + height) * s / 2), radius=0.06 * s, fill=255)


def _petals(pen: Pen, s: float) -> None:
    t = np.linspace(0, 2 * math.pi, 24)
    petal = np.stack([0.25 * np.cos(t), -0.56 + 0.4 * np.sin(t)], 1)
    for k in range(6):
        pen.polygon(_scale(_turned(petal, 60 * k), s), fill=255)
    pen.ellipse((0.4 * s, 0.4 * s, 0.6 * s, 0.6 * s), fill=0)


_EMBLEMS: dict[str, Callable[[Pen, float], None]] = {
    **{"aperture": _aperture, "camera": _camera, "peaks": _peaks, "leaf": _leaf, "compass": _compass},
    **{"globe": _globe, "hexagons": _hexagons, "eye": _eye, "bars": _bars, "petals": _petals},
}
EMBLEMS = tuple(_EMBLEMS)


@lru_cache(maxsize=512)
def emblem(name: str, side: int) -> Image.Image:
    """An emblem of about `side` pixels, L, cropped to its ink."""
    fine = max(4, side) * _FINE
    canvas = Image.new("L", (fine + 1, fine + 1))
    _EMBLEMS[name](ImageDraw.Draw(canvas), float(fine))
    small = canvas.reduce(_FINE)
    return small.crop(small.getbbox())
