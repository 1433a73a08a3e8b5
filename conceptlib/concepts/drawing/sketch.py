"""What every kind of overlay is given, and what it hands back.

A kind is a function `kind(sketch) -> Drawing`: it sets its letters at the size drawn for it and says where they go.
`draw` draws what all kinds share (size, rotation, opacity, blend mode, shadow) from the overlay's parameters, calls the
kind, lays the tile over the picture and makes the mark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from conceptlib.concepts.drawing import layers, words
from conceptlib.concepts.drawing.fonts import Font, own, pick
from conceptlib.concepts.drawing.layers import Ink, Placed, Tile
from conceptlib.concepts.drawing.letters import advance
from conceptlib.concepts.overlays import Mark, Mask, make_mark
from conceptlib.errors import ConceptlibError

Range = tuple[float, float]
ByKind = Range | Mapping[str, Range]
"""One range for all kinds, or one for each."""

WHITE: Ink = (255, 255, 255)
BLACK: Ink = (0, 0, 0)


@dataclass(frozen=True)
class Params:
    """What the parameters of an overlay with kinds have in common; the overlay's own class explains them."""

    kinds: tuple[str, ...]
    words: tuple[str, ...]
    scripts: tuple[str, ...]
    random: float
    size: ByKind
    rotation: ByKind
    opacity: ByKind
    blends: tuple[str, ...]
    shadow: float
    overhang: float
    fonts: tuple[Font, ...]


@dataclass(frozen=True, eq=False)
class Sketch:
    """The picture to be drawn on, and what was drawn already.

    Args:
        image: RGB, to look at.
        rng: for the kind's own choices.
        params: of the overlay.
        scale: the size that was drawn, in pixels: what it measures is the kind's affair.
        rotation: degrees, clockwise.
        shadow: strength of the shadow, 0 for none.
        mode: blend mode.
        contrast: whether the ink must stand out from what is under it.
    """

    image: Image.Image
    rng: np.random.Generator
    params: Any
    scale: float
    rotation: float
    shadow: float
    mode: str = "normal"
    contrast: bool = False

    @property
    def size(self) -> tuple[int, int]:
        return self.image.size

    @property
    def short(self) -> int:
        """The shorter side, in pixels."""
        return min(self.image.size)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def choose(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def font(self, text: str = "", handwriting: bool = False) -> Font:
        """A font that has all of `text`: of the overlay's own, else Pillow's."""
        return pick(self.rng, self.params.fonts or (own(),), text, handwriting) or own()

    def writer(self, handwriting: bool = False) -> Writer:
        """A font, and the words that it can write."""
        p = self.params
        fonts = [font for font in p.fonts or (own(),) if can_write(font, p.words, p.scripts)]
        if not fonts:
            raise unwritable()
        font = pick(self.rng, fonts, "", handwriting) or fonts[0]
        if p.words:
            return Writer(self.rng, font, None, tuple(word for word in p.words if font.has(word)), 0.0)
        scripts = [name for name in p.scripts if name in font.scripts]
        # Fonts of many scripts are mostly used for Latin.
        latin = "latin" in scripts and (len(scripts) == 1 or self.chance(0.5))
        script = "latin" if latin else self.choose([name for name in scripts if name != "latin"])
        return Writer(self.rng, font, script, words.SCRIPTS[script].words, p.random)

    def anywhere(self, size: tuple[int, int], lean: float = 0.0) -> tuple[float, float]:
        """A centre for ink of this size such that, turned, it stays inside the picture but for the overhang allowed."""
        whole = np.ptp(layers.turned(size, (0.0, 0.0), self.rotation, lean), axis=0)
        x, y = (
            self.uniform(*((low, length - low) if low < length / 2 else (length / 2, length / 2)))
            for low, length in zip(whole * (0.5 - self.params.overhang), self.size, strict=True)
        )
        return x, y

    def at_edge(self, size: tuple[int, int], place: str, margin: float) -> tuple[float, float]:
        """A centre at an edge or corner, `margin` pixels away from it; `place` holds top or bottom, left or right."""
        half = np.ptp(layers.turned(size, (0.0, 0.0), self.rotation), axis=0) / 2
        x, y = self.size[0] / 2, self.size[1] / 2
        if "left" in place or "right" in place:
            x = margin + half[0] if "left" in place else self.size[0] - margin - half[0]
        if "top" in place or "bottom" in place:
            y = margin + half[1] if "top" in place else self.size[1] - margin - half[1]
        return float(x), float(y)

    def luminance(self, center: tuple[float, float], size: tuple[int, int]) -> float:
        """How light the picture is there, 0 to 255."""
        left, top = max(0, int(center[0] - size[0] / 2)), max(0, int(center[1] - size[1] / 2))
        right = min(self.size[0], left + max(1, size[0]))
        bottom = min(self.size[1], top + max(1, size[1]))
        if left >= right or top >= bottom:
            return 128.0
        red, green, blue = np.asarray(self.image.resize((1, 1), Image.Resampling.BOX, (left, top, right, bottom)))[0, 0]
        return float(0.299 * red + 0.587 * green + 0.114 * blue)


@dataclass(frozen=True, eq=False)
class Writer:
    """A font and what it can write: `words` of one script (None: the spec's own list), or, for the share `random`,
    made-up ones."""

    rng: np.random.Generator
    font: Font
    script: str | None
    words: tuple[str, ...]
    random: float

    def word(self) -> str:
        if self.script is not None and self.rng.random() < self.random:
            return words.made_up(self.rng, self.script, self.font.glyphs)
        return words.choice(self.rng, self.words)

    def lines(self, em: float, width: float, count: int, limit: int = 12, upper: bool = False) -> list[str]:
        """`count` lines of words, each as many (at most `limit`) as fit into `width` pixels, and at least one."""
        lines = []
        for _ in range(count):
            line, used = "", 0.0
            for _ in range(limit + 3):  # a word too long for what is left may be followed by a shorter one
                word = self.cased(self.word(), upper)
                more = advance(f" {word}" if line else word, self.font, em, self.words[0])
                if used + more <= width:
                    line, used = f"{line} {word}".strip(), used + more
                if len(line.split()) >= limit:
                    break
            lines.append(line or self.cased(min(self.words, key=len), upper))
        return lines

    def cased(self, word: str, upper: bool) -> str:
        """In capitals, where that is wanted and the font has them."""
        return word.upper() if upper and self.font.has(word.upper()) else word


@dataclass(frozen=True, eq=False)
class Drawing:
    """What a kind made.

    Args:
        tile: the ink; None where `placed` is given.
        quad: (4, 2), where the corners of its ink go.
        text: what it says.
        drawn: more of what it was drawn with.
        placed: in place of tile and quad: ink that is in the picture's pixels already.
    """

    tile: Tile | None
    quad: np.ndarray
    text: str
    drawn: Mapping[str, Any] = field(default_factory=dict)
    placed: Placed | None = None


Kind = Callable[[Sketch], Drawing]


FAINT = 8.0
"""A change of fewer grey levels than this, on average over the mark, nobody sees."""


def draw(
    concept: str, image: Image.Image, rng: np.random.Generator, params: Params, kinds: Mapping[str, Kind], kind: str
) -> tuple[Image.Image, Mark]:
    """Draw one overlay of a kind; returns a new picture and the mark.

    Where the ink and the blend mode that were drawn leave the picture as good as unchanged (`FAINT`; white over snow,
    say), the kind is drawn anew at the same size, rotation and opacity, in normal mode and an ink that stands out.
    """
    size, rotation, opacity = (
        float(rng.uniform(*of_kind(value, kind))) for value in (params.size, params.rotation, params.opacity)
    )
    mode = words.choice(rng, params.blends)
    shadow = float(rng.uniform(0.35, 0.8)) if rng.random() < params.shadow else 0.0
    sketch = Sketch(image, rng, params, size * min(image.size), rotation, shadow, mode)
    for attempt in (sketch, replace(sketch, mode="normal", contrast=True)):
        made = kinds[kind](attempt)
        if made.placed is not None:
            placed = made.placed
        elif made.tile is not None:
            placed = layers.place(made.tile, made.quad, image.size)
        else:
            raise TypeError(f"the kind {kind} drew nothing")
        out, mask = layers.lay(image, placed, opacity, attempt.mode)
        if _change(image, out, mask) >= min(FAINT, 100 * opacity):
            break
    drawn = {
        **{"kind": kind, "size": size, "rotation": rotation, "opacity": opacity, "blend": attempt.mode},
        **{"shadow": shadow, **made.drawn},
    }
    return out, make_mark(concept, placed.quad, image.size, made.text, drawn, mask, opacity, placed.parts)


def _change(before: Image.Image, after: Image.Image, mask: Mask) -> float:
    """Mean change of the lightness over a mask, in grey levels, on a coarse grid."""
    height, width = mask.alpha.shape
    if not height or not width:
        return 255.0
    box = (mask.left, mask.top, mask.left + width, mask.top + height)
    step = max(1, round((width * height / 20_000) ** 0.5))
    grid = (max(1, width // step), max(1, height // step))
    seen = [picture.resize(grid, Image.Resampling.NEAREST, box).convert("L") for picture in (before, after)]
    covered = Image.fromarray(mask.alpha).resize(grid, Image.Resampling.NEAREST)
    counts = ImageChops.difference(*seen).histogram(covered.point([0] * 128 + [255] * 128))
    return sum(level * count for level, count in enumerate(counts)) / max(sum(counts), 1)


def of_kind(value: ByKind, kind: str) -> Range:
    """The range of a kind."""
    return value[kind] if isinstance(value, Mapping) else value


def text_of(lines: Sequence[str]) -> str:
    """Lines as one text."""
    return "\n".join(" ".join(line.split()) for line in lines)


def unwritable() -> ConceptlibError:
    """The error that no font has what is to be written."""
    return ConceptlibError(
        "no font has the characters of the words that were asked for",
        where="fonts",
        hint="fonts=system, or a folder of fonts with these characters; or other words or scripts",
    )


@lru_cache(maxsize=4096)
def can_write(font: Font, wanted: tuple[str, ...], scripts: tuple[str, ...]) -> bool:
    """Whether a font has all characters of one of the words wanted, or, where none are, the words of one script."""
    if wanted:
        return any(font.has(word) for word in wanted)
    return any(name in font.scripts for name in scripts)
