"""Small marks near a corner: a photographer's signature, a camera's date. Size: width of the mark."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from conceptlib.concepts.drawing import words
from conceptlib.concepts.drawing.fonts import pick
from conceptlib.concepts.drawing.layers import plain as inked
from conceptlib.concepts.drawing.layers import turned
from conceptlib.concepts.drawing.letters import Box, Piece, fitted, join, set_lines, wobbler
from conceptlib.concepts.drawing.sketch import Drawing, Sketch
from conceptlib.concepts.overlays.watermark.logos import at_margin, ink_of, said

AMBER = ((255, 150, 40), (255, 110, 40), (250, 200, 60))


def signature(sketch: Sketch) -> Drawing:
    """A name in leaning letters, or a pen's scrawl, with or without the name in print below."""
    text, font = said(sketch, tuple(words.name(sketch.rng) for _ in range(8)))
    form = sketch.choose(("written", "scrawl", "scrawl over print"))
    lean = 0.0
    if form == "written":
        font = pick(sketch.rng, [f for f in sketch.params.fonts if f.has(text)], handwriting=True) or font
        lean = 0.0 if font.handwriting else 0.25
        piece = fitted(lambda em: set_lines([text], font, em, wobble=wobbler(np.random.default_rng(1))), sketch.scale)
    else:
        piece = _scrawl(sketch.rng, sketch.scale, text)
        if form == "scrawl over print":
            # The print is narrower than the scrawl, so that the width is the scrawl's.
            name = fitted(lambda em: set_lines([text], font, em, tracking=0.15), 0.8 * sketch.scale)
            piece = join([Piece(piece.fill), name], "y", max(2, round(0.03 * sketch.scale)))
    spot = sketch.choose(("bottom right", "bottom right", "bottom left"))
    center = at_margin(sketch, piece, spot, sketch.uniform(0.04, 0.07))
    ink = ink_of(sketch, center, piece.size)
    made = inked(piece, ink, shadow=sketch.shadow, depth=0.01 * sketch.scale)
    center = (center[0] - np.sign(center[0] - sketch.size[0] / 2) * lean * piece.size[1] / 2, center[1])
    drawn = {"form": form, "place": spot, "ink": list(ink), "font": font.name, "lean": lean}
    return Drawing(made, turned(piece.size, center, sketch.rotation, lean), text, drawn)


def date(sketch: Sketch) -> Drawing:
    """The date as cameras burn it in: amber, or white, bottom right."""
    text = words.date(sketch.rng)
    font = sketch.font(text)
    piece = fitted(lambda em: set_lines([text], font, em, tracking=0.06), sketch.scale)
    spot = sketch.choose(("bottom right", "bottom right", "bottom left"))
    center = at_margin(sketch, piece, spot, sketch.uniform(0.03, 0.07))
    amber = sketch.chance(0.7) and not sketch.contrast
    ink = sketch.choose(AMBER) if amber else ink_of(sketch, center, piece.size)
    made = inked(piece, ink, shadow=sketch.shadow, depth=0.01 * sketch.scale)
    return Drawing(made, turned(piece.size, center, sketch.rotation), text, {"ink": list(ink), "font": font.name})


def _scrawl(rng: np.random.Generator, width: float, text: str) -> Piece:
    """A signature as a pen leaves it: a tall first letter, loops that get smaller, a stroke below; `width` pixels."""
    fine = 3
    points = [(0.0, 0.2), (0.1, -0.9), (0.22, -1.15), (0.26, -0.8), (0.12, 0.1), (0.05, 0.35)]
    points = [(x + float(rng.uniform(-0.04, 0.04)), y + float(rng.uniform(-0.15, 0.15))) for x, y in points]
    x = 0.2
    for k in range(int(rng.integers(5, 9))):
        tall = (float(rng.uniform(0.7, 1.0)) if rng.random() < 0.25 else float(rng.uniform(0.2, 0.4))) * 0.95**k
        step = float(rng.uniform(0.16, 0.26))
        dip = float(rng.uniform(0.25, 0.6)) if rng.random() < 0.15 else 0.0
        points += [(x + 0.6 * step, -tall * 0.5), (x + step, -tall), (x + 0.75 * step, -tall * 0.6)]
        points += [(x + 0.8 * step, dip + 0.02)]
        x += step
    points += [(x + 0.2, -0.12), (x + 0.45, -0.25)]
    if rng.random() < 0.6:  # the stroke below
        points += [(x + 0.5, 0.1), (x * 0.6, 0.3), (0.1 * x, 0.42), (0.3 * x, 0.36), (x + 0.3, 0.2)]
    path = _spline(np.array(points))
    path[:, 0] -= 0.3 * path[:, 1]  # it leans
    path -= path.min(0)
    path *= (width - 4) * fine / max(path[:, 0].max(), 1e-6)
    size = np.ceil(path.max(0) / fine).astype(int) + 4
    canvas = Image.new("L", (int(size[0]) * fine, int(size[1]) * fine))
    pen = ImageDraw.Draw(canvas)
    path += 2 * fine
    speed = np.linalg.norm(np.diff(path, axis=0), axis=1)
    thick = np.clip(1.5 - speed / (speed.mean() * 2), 0.5, 1.3)  # a fast pen leaves a thin line
    thick = np.convolve(np.pad(thick, 4, "edge"), np.full(9, 1 / 9), "valid") * max(1.6, width / 50) * fine
    for (x0, y0), (x1, y1), line in zip(path[:-1].tolist(), path[1:].tolist(), thick.tolist(), strict=True):
        pen.line((x0, y0, x1, y1), fill=255, width=max(1, round(line)))
        pen.ellipse((x1 - line / 2, y1 - line / 2, x1 + line / 2, y1 + line / 2), fill=255)
    mask = canvas.reduce(fine)
    mask = mask.crop(mask.getbbox())
    return Piece(mask, (Box("line", text, (0, 0, *mask.size)),))


def _spline(points: np.ndarray, samples: int = 9) -> np.ndarray:
    """A Catmull-Rom curve through points (n, 2)."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, samples, endpoint=False)[:, None]
    runs = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        runs.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*runs, points[-1:]])
