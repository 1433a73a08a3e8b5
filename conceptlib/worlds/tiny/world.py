"""The embedded world: 64-pixel pictures of one object on one background, with captions that state what is seen.

Eight objects, eight colours, six backgrounds and five styles make 1,920 kinds of scene; place, size, rotation and
texture vary within each. Everything is drawn with Pillow from a seed, so a picture is never stored: `row(seed, i)`
gives row *i* of the world `seed` on any machine, whatever rows were asked for before. Captions never mention
pollution (QR codes, watermarks, text); the overlays of `conceptlib.concepts.overlays` add it behind their back.

    >>> first = row(seed=0, index=0)
    >>> first.caption, first.scene.object
    >>> first.image().size
    (64, 64)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from conceptlib.worlds.base import Drawn
from conceptlib.worlds.tiny.words import ATTRIBUTES as ATTRIBUTES
from conceptlib.worlds.tiny.words import BACKGROUNDS as BACKGROUNDS
from conceptlib.worlds.tiny.words import COLOURS as COLOURS
from conceptlib.worlds.tiny.words import OBJECTS as OBJECTS
from conceptlib.worlds.tiny.words import PLACES as PLACES
from conceptlib.worlds.tiny.words import SIZE as SIZE
from conceptlib.worlds.tiny.words import SPLITS as SPLITS
from conceptlib.worlds.tiny.words import STYLES as STYLES
from conceptlib.worlds.tiny.words import TEMPLATES as TEMPLATES
from conceptlib.worlds.tiny.words import parse as parse

RGB: dict[str, tuple[int, int, int]] = {
    "red": (222, 36, 36),
    "orange": (250, 138, 16),
    "yellow": (252, 226, 44),
    "green": (28, 148, 62),
    "cyan": (36, 208, 216),
    "blue": (36, 66, 214),
    "purple": (132, 44, 178),
    "pink": (250, 144, 196),
}
CONTOUR = (24, 24, 28)
SUPERSAMPLE = 4


@dataclass(frozen=True)
class Scene(Drawn):
    """What a picture shows.

    Args:
        object, colour, background, style: one word each of `OBJECTS`, `COLOURS`, `BACKGROUNDS`, `STYLES`.
        x, y: the object's centre as a fraction of the picture's side, from the top left.
        radius: the object's radius as a fraction of the side.
        rotation: degrees, clockwise.
        texture: seed of the background's grain (stars, speckles, clouds), 0 to 2**31 - 1.
    """

    object: str
    colour: str
    background: str
    style: str = "plain"
    x: float = 0.5
    y: float = 0.5
    radius: float = 0.31
    rotation: float = 0.0
    texture: int = 0

    def __post_init__(self) -> None:
        for name, words in ATTRIBUTES.items():
            if getattr(self, name) not in words:
                raise ValueError(f"{name} {getattr(self, name)!r} is not in the world; it has {', '.join(words)}")

    def draw(self, size: int) -> Image.Image:
        """The picture, `size` x `size` RGB; see `render`."""
        return render(self, size)


@dataclass(frozen=True)
class Row:
    """One row of a world: its index, scene and caption; the picture is drawn on demand."""

    index: int
    scene: Scene
    caption: str

    @property
    def labels(self) -> dict[str, str]:
        """The scene's words by attribute: object, colour, background, style."""
        return labels(self.scene)

    def image(self, size: int = SIZE) -> Image.Image:
        """The unpolluted picture, `size` x `size` RGB."""
        return render(self.scene, size)


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene.

    Words uniformly; centre within 5/64 of the middle, radius .26 to .36 of the side, rotation within 10 degrees.
    """
    words = {name: options[int(rng.integers(len(options)))] for name, options in ATTRIBUTES.items()}
    x, y = 0.5 + rng.uniform(-5 / 64, 5 / 64, 2)
    radius, rotation = rng.uniform(0.26, 0.36), rng.uniform(-10.0, 10.0)
    return Scene(
        **words,
        x=float(x),
        y=float(y),
        radius=float(radius),
        rotation=float(rotation),
        texture=int(rng.integers(2**31)),
    )


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Say what the scene shows, in one of several wordings.

    Object, colour and background always, style unless plain.
    """
    words = [scene.colour, scene.object]
    if scene.style != "plain":
        words.insert(int(rng.integers(2)), scene.style)
    phrase = " ".join(words)
    place = PLACES[scene.background][int(rng.integers(len(PLACES[scene.background])))]
    template = TEMPLATES[int(rng.integers(len(TEMPLATES)))]
    return template.format(a="an" if phrase[0] in "aeiou" else "a", np=phrase, place=place)


def labels(scene: Scene) -> dict[str, str]:
    """The scene's words by attribute: object, colour, background, style."""
    return {name: getattr(scene, name) for name in ATTRIBUTES}


def row_rng(seed: int, index: int, split: str = "train") -> np.random.Generator:
    """The random stream of one row: a function of (seed, split, index) alone, the same on every machine."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    return np.random.default_rng(np.random.SeedSequence([seed, index], spawn_key=(SPLITS.index(split),)))


def row(seed: int, index: int, split: str = "train") -> Row:
    """Row `index` (0 or more) of the world `seed` (0 or more)."""
    rng = row_rng(seed, index, split)
    scene = sample_scene(rng)
    return Row(index, scene, caption(scene, rng))


def placed(seed: int, index: int, attribute: str, word: str) -> Row:
    """The held-out row of a seed and an index, with a word in the place of the scene's own of that attribute."""
    rng = row_rng(seed, index, SPLITS[-1])
    changed: dict[str, Any] = {attribute: word}
    scene = replace(sample_scene(rng), **changed)
    return Row(index, scene, caption(scene, rng))


def rows(seed: int, n: int, start: int = 0, split: str = "train") -> Iterator[Row]:
    """Rows `start` to `start + n - 1` of the world `seed`; `split="held-out"` is a stream that training never sees."""
    for index in range(start, start + n):
        yield row(seed, index, split)


def render(scene: Scene, size: int = SIZE) -> Image.Image:
    """Draw the scene, `size` x `size` RGB, supersampled four times."""
    side = size * SUPERSAMPLE
    canvas = _BACKGROUNDS[scene.background](side, np.random.default_rng(scene.texture))
    angle = math.radians(scene.rotation)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    outline = (_outline(scene.object) * scene.radius) @ turn.T + (scene.x, scene.y)
    points = [(float(x), float(y)) for x, y in outline * side]
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).polygon(points, fill=255)
    canvas.paste(_fill(scene, points, side), mask=mask)
    ImageDraw.Draw(canvas).line([*points, *points[:2]], fill=CONTOUR, width=max(1, round(side * 0.02)), joint="curve")
    return canvas.reduce(SUPERSAMPLE)


def _mix(rgb: tuple[int, int, int], other: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    """`share` of `other` mixed into `rgb`."""
    r, g, b = (round(a + (o - a) * share) for a, o in zip(rgb, other, strict=True))
    return r, g, b


def _fill(scene: Scene, points: list[tuple[float, float]], side: int) -> Image.Image:
    """The object's inside in its style, as a picture of the whole canvas."""
    rgb = RGB[scene.colour]
    white, black = (255, 255, 255), (0, 0, 0)
    fill = Image.new("RGB", (side, side), rgb)
    draw = ImageDraw.Draw(fill)
    if scene.style == "outlined":
        fill.paste(_mix(rgb, white, 0.82), (0, 0, side, side))
        draw.line([*points, *points[:2]], fill=rgb, width=round(side * scene.radius * 0.5), joint="curve")
    elif scene.style == "striped":
        pale, period = _mix(rgb, white, 0.72), side * 0.115
        offset = (scene.x + scene.y) * side
        for k in range(-18, 19):
            a = offset + k * period
            draw.polygon(
                [(a, 0), (a + period * 0.45, 0), (a + period * 0.45 - side, side), (a - side, side)], fill=pale
            )
    elif scene.style == "dotted":
        pale, step, r = _mix(rgb, white, 0.85), side * 0.125, side * 0.034
        for j in range(-4, 5):
            for i in range(-4, 5):
                x = scene.x * side + (i + 0.5 * (j % 2)) * step
                y = scene.y * side + j * step * 0.87
                draw.ellipse((x - r, y - r, x + r, y + r), fill=pale)
    elif scene.style == "shaded":
        top, bottom = (scene.y - scene.radius) * side, (scene.y + scene.radius) * side
        for y in range(int(top), int(bottom) + 2):
            t = (y - top) / (bottom - top)
            light, dark = 0.62 * (1 - t / 0.4), 0.72 * min(1.0, (t - 0.4) / 0.6)
            shade = _mix(rgb, white, light) if t < 0.4 else _mix(rgb, black, dark)
            draw.line((0, y, side, y), fill=shade)
    return fill


@cache
def _outline(name: str) -> np.ndarray:
    """The object's outline as points (n, 2) within the unit circle, y downwards."""
    if name == "circle":
        return _arc(0, 360, 48)
    if name == "square":
        return np.array([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)])
    if name == "triangle":
        return np.array([(0, -0.98), (0.96, 0.74), (-0.96, 0.74)])
    if name == "star":
        angles = np.radians(np.arange(10) * 36 - 90)
        radii = np.where(np.arange(10) % 2 == 0, 1.04, 0.45)
        return np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)
    if name == "heart":
        t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        x = 16 * np.sin(t) ** 3
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return np.stack([x / 16.5, -(y + 2.5) / 16.5], 1)
    if name == "cross":
        a, b = 0.34, 0.96
        quarter = np.array([(-a, -b), (a, -b), (a, -a)])
        turns = [quarter, quarter[:, ::-1] * (-1, 1), -quarter, quarter[:, ::-1] * (1, -1)]
        return np.concatenate(turns)
    if name == "moon":
        s = np.linspace(-np.pi / 2, np.pi / 2, 24)[1:-1]
        tip = math.radians(50)
        inner = np.stack([math.cos(tip) - 0.85 * np.cos(s), math.sin(tip) * np.sin(s)], 1)
        crescent = np.concatenate([_arc(50, 310, 36), inner])
        return crescent + np.array([0.15, 0.0])
    return np.array([(-0.98, -0.3), (0.06, -0.3), (0.06, -0.86), (1.02, 0.0), (0.06, 0.86), (0.06, 0.3), (-0.98, 0.3)])


def _arc(start: float, stop: float, n: int) -> np.ndarray:
    """`n` points of the unit circle from `start` to `stop` degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, stop, n, endpoint=stop - start < 360))
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _white(side: int, rng: np.random.Generator) -> Image.Image:
    level = int(rng.integers(246, 256))
    return Image.new("RGB", (side, side), (level, level, level))


def _night(side: int, rng: np.random.Generator) -> Image.Image:
    canvas = Image.new("RGB", (side, side), (18, 22, 60))
    _dots(canvas, rng, 14, (0.008, 0.014), ((236, 236, 200),))
    return canvas


def _grass(side: int, rng: np.random.Generator) -> Image.Image:
    canvas = Image.new("RGB", (side, side), (122, 164, 66))
    draw = ImageDraw.Draw(canvas)
    for x, y, lean, shade in rng.uniform(0, 1, (70, 4)):
        colour = (98, 140, 50) if shade < 0.5 else (146, 186, 84)
        tip = (x + (lean - 0.5) * 0.04, y - 0.07)
        draw.line((x * side, y * side, tip[0] * side, tip[1] * side), fill=colour, width=round(side * 0.018))
    return canvas


def _sand(side: int, rng: np.random.Generator) -> Image.Image:
    canvas = Image.new("RGB", (side, side), (228, 204, 154))
    _dots(canvas, rng, 60, (0.006, 0.012), ((196, 168, 116), (246, 228, 190)))
    return canvas


def _sky(side: int, rng: np.random.Generator) -> Image.Image:
    t = np.linspace(0, 1, side)[:, None, None]
    ramp = (np.array([112, 178, 238]) * (1 - t) + np.array([206, 232, 250]) * t).astype(np.uint8)
    canvas = Image.fromarray(np.broadcast_to(ramp, (side, side, 3)).copy())
    draw = ImageDraw.Draw(canvas)
    x, y = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.3)
    for dx, dy, r in ((-0.1, 0.02, 0.06), (0.0, 0.0, 0.085), (0.1, 0.02, 0.06)):
        box = ((x + dx - r) * side, (y + dy - r) * side, (x + dx + r) * side, (y + dy + r * 0.7) * side)
        draw.ellipse(box, fill=(252, 253, 255))
    return canvas


def _brick(side: int, rng: np.random.Generator) -> Image.Image:
    canvas = Image.new("RGB", (side, side), (206, 194, 182))
    draw = ImageDraw.Draw(canvas)
    width, height, joint = side / 4, side / 8, side * 0.016
    left, top = rng.uniform(0, 1, 2) * (width, height)
    for j in range(-1, 9):
        for i in range(-2, 5):
            x, y = left + (i + 0.5 * (j % 2)) * width, top + j * height
            draw.rectangle((x + joint, y + joint, x + width - joint, y + height - joint), fill=(160, 84, 64))
    return canvas


def _dots(
    canvas: Image.Image,
    rng: np.random.Generator,
    n: int,
    radii: tuple[float, float],
    colours: tuple[tuple[int, int, int], ...],
) -> None:
    """Scatter `n` dots; radii as fractions of the side."""
    draw, side = ImageDraw.Draw(canvas), canvas.width
    for k, (x, y, r) in enumerate(rng.uniform(0, 1, (n, 3))):
        r = (radii[0] + (radii[1] - radii[0]) * r) * side
        draw.ellipse((x * side - r, y * side - r, x * side + r, y * side + r), fill=colours[k % len(colours)])


_BACKGROUNDS = {"white": _white, "night": _night, "grass": _grass, "sand": _sand, "sky": _sky, "brick": _brick}
