"""QR codes: real ones (ISO/IEC 18004), laid over a picture with exact geometry.

image, mark = draw_qr(image, rng, QrParams(version=(1, 4)))
image, mark = draw_qr(image, rng, WORLD)          # a 64-pixel picture of the embedded world
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from conceptlib.concepts.drawing import qr_style, qr_symbol
from conceptlib.concepts.overlays import Mark, make_mark, rectangle, stamp

CONCEPT = "qr-code"
LATER = frozenset({"perspective", "blur", "coloured", "rounded", "logo", "inverted"})
"""Parameters that came after datasets had been built: not in locks while they have their defaults."""
MODES = ("numeric", "alphanumeric", "byte", "kanji")
ERROR_LEVELS = ("L", "M", "Q", "H")

_BYTES = "abcdefghijklmnopqrstuvwxyz0123456789-_/?=&#~"
# Data codewords of versions 1 to 10, by error level (ISO/IEC 18004, table 7).
_CODEWORDS = {
    "L": (19, 34, 55, 80, 108, 136, 156, 194, 232, 274),
    "M": (16, 28, 44, 64, 86, 108, 124, 154, 182, 216),
    "Q": (13, 22, 34, 48, 62, 76, 88, 110, 132, 154),
    "H": (9, 16, 26, 36, 46, 60, 66, 86, 100, 122),
}
_BITS = {"numeric": 10 / 3, "alphanumeric": 11 / 2, "byte": 8.0, "kanji": 13.0}


@dataclass(frozen=True)
class QrParams:
    """Ranges that a QR code is drawn from, each uniformly; the defaults suit pictures of 256 px and more.

    Args:
        modes: payload encodings to choose from (`MODES`).
        error_levels: error correction levels to choose from (`ERROR_LEVELS`).
        version: symbol version, 1 (21 modules a side) to 10 (57 modules).
        size: side of the code without its quiet zone, as a fraction of the picture's short side, above 0.
        min_module: lower bound of a module's side in pixels, above 0; a code that would be finer is drawn larger.
        quiet_zone: light margin around the code, in modules, 0 or more.
        rotation: degrees, clockwise.
        opacity: 0 (invisible) to 1.
        dark, light: grey levels of the modules, 0 to 255.
        overhang: share of the code's side that may lie outside the picture, 0 to 1.
        place: "anywhere", or "corners": one of the picture's four corners.
        jitter: at a corner, how far the code may be moved from its outermost place towards the middle, along each
            axis, as a fraction of the short side, 0 or more.
        perspective: how far corners move to the code's middle, each by itself, as a share of the way, 0 to 0.5.
        blur: radius, in modules, 0 to 1.
        coloured, rounded, logo, inverted: shares of codes in colours, of round modules, with a disc in the middle (of
            error levels Q and H), light on dark, 0 to 1. With these at 0 the others are drawn as they were before.
    """

    modes: tuple[str, ...] = MODES
    error_levels: tuple[str, ...] = ERROR_LEVELS
    version: tuple[int, int] = (1, 10)
    size: tuple[float, float] = (0.16, 0.42)
    min_module: float = 1.5
    quiet_zone: tuple[int, int] = (1, 4)
    rotation: tuple[float, float] = (-25.0, 25.0)
    opacity: tuple[float, float] = (0.75, 1.0)
    dark: tuple[int, int] = (0, 48)
    light: tuple[int, int] = (216, 255)
    overhang: float = 0.0
    place: str = "anywhere"
    jitter: float = 0.1
    perspective: tuple[float, float] = (0.0, 0.0)
    blur: tuple[float, float] = (0.0, 0.0)
    coloured: float = 0.0
    rounded: float = 0.0
    logo: float = 0.0
    inverted: float = 0.0


WORLD = QrParams(
    version=(1, 1),
    size=(21 / 64, 22 / 64),
    min_module=1.0,
    quiet_zone=(3, 3),
    rotation=(-10.0, 10.0),
    opacity=(0.9, 1.0),
    dark=(0, 24),
    light=(236, 255),
    place="corners",
    jitter=4 / 64,
)
"""For the world's 64-pixel pictures: version 1, 1 px a module, with quiet zone 27 to 28 px, in a corner."""


def draw_qr(image: Image.Image, rng: np.random.Generator, params: QrParams | None = None) -> tuple[Image.Image, Mark]:
    """Lay a QR code over an RGB picture; returns a new picture and the mark of the code (without quiet zone)."""
    params = params or QrParams()
    mode = str(rng.choice(params.modes))
    level = str(rng.choice(params.error_levels))
    version = int(rng.integers(params.version[0], params.version[1] + 1))
    payload = random_payload(rng, mode, version, level)
    modules = qr_symbol.modules(payload, mode, version, level, int(rng.integers(8)))
    quiet = int(rng.integers(params.quiet_zone[0], params.quiet_zone[1] + 1))
    dark, light = (int(rng.integers(low, high + 1)) for low, high in (params.dark, params.light))
    rotation, opacity = float(rng.uniform(*params.rotation)), float(rng.uniform(*params.opacity))
    side = max(float(rng.uniform(*params.size)) * min(image.size), params.min_module * len(modules))
    center = _place(rng, image.size, side, quiet * side / len(modules), rotation, params)
    quad = rectangle(center, side, side, rotation)
    full = side * (len(modules) + 2 * quiet) / len(modules)
    whole = rectangle(center, full, full, rotation)
    style = qr_style.draw_style(rng, params, level, dark, light)
    if style is None:
        out, mask = stamp(image, _tile(np.pad(modules, quiet), dark, light), whole, opacity, Image.Resampling.NEAREST)
    else:
        whole = qr_style.seen(whole, style.shrink)
        quad = qr_style.inner(whole, side / full)
        out, mask = qr_style.stamp(image, qr_style.tile(np.pad(modules, quiet), quiet, style, level), whole, opacity)
    drawn = {
        "mode": mode,
        "error_level": level,
        "version": version,
        "quiet_zone": quiet,
        "rotation": rotation,
        "opacity": opacity,
        "side": side,
        "dark": dark,
        "light": light,
        **(style.told() if style is not None else {}),
    }
    return out, make_mark(CONCEPT, quad, image.size, payload, drawn, mask, opacity)


def random_payload(rng: np.random.Generator, mode: str, version: int, level: str) -> str:
    """A random text that only `mode` needs and that fits a symbol of this version (1-10) and error level."""
    bits = (_CODEWORDS[level][version - 1] - 3) * 8
    room = max(1, int(bits / _BITS[mode]))
    length = int(rng.integers(max(1, room // 3), room + 1))
    if mode == "numeric":
        return "".join(str(d) for d in rng.integers(0, 10, length))
    if mode == "alphanumeric":
        return "".join(qr_symbol.ALPHANUMERIC[i] for i in rng.integers(0, len(qr_symbol.ALPHANUMERIC), length))
    if mode == "byte":
        return "".join(_BYTES[i] for i in rng.integers(0, len(_BYTES), length))
    # Kanji mode holds Shift JIS pairs; rows 0x88 (from 0x9f) to 0x97 are the first-level kanji, all of them encodable.
    leads, trails = rng.integers(0x89, 0x98, length), rng.integers(0x80, 0xFD, length)
    return bytes(b for pair in zip(leads.tolist(), trails.tolist(), strict=True) for b in pair).decode("shift_jis")


def _place(
    rng: np.random.Generator, size: tuple[int, int], side: float, margin: float, rotation: float, params: QrParams
) -> tuple[float, float]:
    """A centre, in pixels, such that code and quiet zone stay inside the picture but for the overhang allowed."""
    reach = float(np.ptp(rectangle((0, 0), side + 2 * margin, side + 2 * margin, rotation), axis=0)[0]) / 2
    low = reach - params.overhang * side
    spans = [(low, length - low) if low < length / 2 else (length / 2, length / 2) for length in size]
    if params.place == "corners":
        jitter = params.jitter * min(size)
        spans = [(a, min(a + jitter, b)) if rng.integers(2) == 0 else (max(b - jitter, a), b) for a, b in spans]
    x, y = (float(rng.uniform(a, b)) for a, b in spans)
    return x, y


def _tile(modules: np.ndarray, dark: int, light: int) -> Image.Image:
    """One pixel a module, L."""
    return Image.fromarray(np.where(modules, dark, light).astype(np.uint8))
