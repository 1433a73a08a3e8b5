"""Every kind of watermark and text: drawn where its geometry says, as large as asked, at every spec that is allowed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conceptlib.concepts.drawing.blend import BLENDS
from conceptlib.concepts.drawing.fonts import find_fonts, own
from conceptlib.concepts.drawing.sketch import FAINT
from conceptlib.concepts.overlays import Mark, clip_polygon, polygon_area, rectangle, text, watermark
from conceptlib.concepts.overlays.watermark.spread import _is_seen
from conceptlib.errors import ConceptlibError

MODULES = {"watermark": watermark, "text": text}
KINDS = [(name, kind) for name, module in MODULES.items() for kind in module.KINDS]


def draw(name: str, kind: str, image: Image.Image, seed: int, **params: object) -> tuple[Image.Image, Mark]:
    module = MODULES[name]
    made = getattr(module, f"{name.capitalize()}Params")(kinds=(kind,), **params)
    return getattr(module, f"draw_{name}")(image, np.random.default_rng(seed), made)


def within(points: np.ndarray, quad: np.ndarray, slack: float) -> np.ndarray:
    ok = np.ones(len(points), bool)
    for a, b in zip(quad, np.roll(quad, -1, axis=0), strict=True):
        edge = (b - a) / np.linalg.norm(b - a)
        ok &= edge[0] * (points[:, 1] - a[1]) - edge[1] * (points[:, 0] - a[0]) >= -slack
    return ok


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    """Centres (n, 2) of the pixels that differ."""
    ys, xs = np.nonzero((np.asarray(before) != np.asarray(after)).any(-1))
    return np.stack([xs + 0.5, ys + 0.5], 1)


@pytest.mark.parametrize(("name", "kind"), KINDS)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=5)
def test_only_the_marked_place_changes_and_the_quad_is_tight(
    name: str, kind: str, seed: int, ramp: Image.Image
) -> None:
    kept = ramp.tobytes()
    # Full opacity and no shadow, so that every pixel under the ink changes.
    after, mark = draw(name, kind, ramp, seed, opacity=(1, 1), shadow=0.0, blends=("normal",))
    assert ramp.tobytes() == kept and after.size == ramp.size and after.mode == "RGB"
    assert (mark.concept, mark.drawn["kind"]) == (name, kind) and mark.payload and mark.visible > 0.99
    points = changed(ramp, after)
    soft = mark.drawn["shadow"] or kind in ("price", "sign")  # things always cast one
    slack = 26.0 if soft or kind == "caption" else 1.5
    assert within(points, mark.quad.astype(float), slack).all()
    mask = np.zeros((240, 320), np.uint8)
    own_mask = mark.mask
    mask[own_mask.top : own_mask.top + own_mask.alpha.shape[0], own_mask.left :][:, : own_mask.alpha.shape[1]] = (
        own_mask.alpha
    )
    ys, xs = np.nonzero(mask >= 32)
    ink = np.stack([xs + 0.5, ys + 0.5], 1)
    assert within(ink, mark.quad.astype(float), 1.5).all() and mark.area == (mask >= 128).sum() > 0
    if kind != "tiling":  # the ink reaches every side of the quad
        for a, b in zip(mark.quad, np.roll(mark.quad, -1, axis=0), strict=True):
            edge = (b - a) / np.linalg.norm(b - a)
            assert (edge[0] * (ink[:, 1] - a[1]) - edge[1] * (ink[:, 0] - a[0])).min() < 3.5
    assert 0 < mark.area <= polygon_area(mark.quad) * 1.05 + 8


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_words_and_lines_lie_where_the_letters_are(name: str, kind: str, ramp: Image.Image) -> None:
    said = 0
    for seed in range(6):
        _, mark = draw(name, kind, ramp, seed)
        lines = [part for part in mark.parts if part.kind == "line"]
        words = [part for part in mark.parts if part.kind == "word"]
        for part in mark.parts:
            assert part.quad.shape == (4, 2) and part.quad.dtype == np.float32 and part.text
            if part.kind != "repeat":
                assert within(part.quad.astype(float), mark.quad.astype(float), 1.0).all()
        if words:
            assert [word for line in lines for word in line.text.split()] == [word.text for word in words]
            assert [line.text for line in lines] == mark.payload.split("\n")
            said += 1
        if kind == "tiling":
            assert len(mark.parts) >= 4 and {part.text for part in mark.parts} == {mark.payload}
    # Emblems, scrawls and tilings have no words of their own.
    assert said >= {"tiling": 0, "logo": 2, "signature": 1}.get(kind, 6)


def test_the_ink_of_bare_letters_is_inside_their_words(ramp: Image.Image) -> None:
    """Measured on the pixels: all that changes lies in a word, and in every word something does."""
    for kind in ("word", "subtitle", "meme", "handwriting"):
        for seed in range(6):
            after, mark = draw("text", kind, ramp, seed, opacity=(1, 1), shadow=0.0)
            points = changed(ramp, after)
            words = [part.quad.astype(float) for part in mark.parts if part.kind == "word"]
            hits = np.array([within(points, quad, 1.5) for quad in words])
            assert hits.any(0).all() and hits.any(1).all(), (kind, seed)


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_mark_can_always_be_seen(name: str, kind: str) -> None:
    """Over snow, at night, with every blend mode, at a low opacity."""
    for grey in (0, 128, 255):
        base = Image.new("RGB", (256, 192), (grey, grey, grey))
        for seed, mode in enumerate(BLENDS):
            after, mark = draw(name, kind, base, seed, blends=(mode,), opacity=(0.3, 0.3), shadow=0.0)
            area = mark.mask.alpha >= 128
            box = (mark.mask.left, mark.mask.top, *(mark.mask.left + area.shape[1], mark.mask.top + area.shape[0]))
            change = np.abs(np.asarray(after.crop(box), int) - np.asarray(base.crop(box), int)).mean(-1)[area]
            assert change.mean() >= 0.75 * FAINT, (kind, grey, mode, change.mean())


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_drawing_depends_on_the_seed_alone(name: str, kind: str, ramp: Image.Image) -> None:
    (first, mark), (again, same) = (draw(name, kind, ramp, 3) for _ in range(2))
    other, _ = draw(name, kind, ramp, 4)
    assert first.tobytes() == again.tobytes() != other.tobytes() and mark.drawn == same.drawn
    assert [part.text for part in mark.parts] == [part.text for part in same.parts]


@pytest.mark.parametrize("kind", watermark.KINDS)
def test_watermarks_are_as_wide_as_asked(kind: str, ramp: Image.Image) -> None:
    """Measured on the quad, in shares of the short side."""
    for seed in range(12):
        _, mark = draw("watermark", kind, ramp, seed, size=(0.3, 0.5))
        quad = mark.parts[0].quad if kind == "tiling" else mark.quad
        width, height = np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[3] - quad[0])
        measured = (height if kind == "band" else width) / 240
        assert 0.3 <= mark.drawn["size"] <= 0.5
        wanted = mark.drawn["size"] * (0.55 if mark.drawn.get("form") == "emblem" else 1.0)
        assert np.isclose(measured, wanted, rtol=0.08), (kind, seed)


@pytest.mark.parametrize("kind", ["word", "caption", "subtitle", "meme", "paragraph", "handwriting"])
def test_letters_are_as_high_as_asked(kind: str, ramp: Image.Image) -> None:
    """Lines of text with ascenders and no descenders: 0.7 to 0.85 em in Pillow's font."""
    for seed in range(6):
        _, mark = draw("text", kind, ramp, seed, size=(0.1, 0.1), words=("hold",), rotation=(0.0, 0.0), fonts=(own(),))
        heights = [np.linalg.norm(p.quad[3] - p.quad[0]) / 24 for p in mark.parts if p.kind == "word"]
        outline = 0.16 if kind in ("word", "subtitle", "meme") else 0.0
        assert heights and all(0.6 < height < 0.9 + outline for height in heights), (kind, heights)


@pytest.mark.parametrize("kind", ["word", "price", "handwriting", "sign", "paragraph"])
def test_overhang_lets_texts_leave_the_picture_no_further(kind: str, ramp: Image.Image) -> None:
    lowest = 1.0
    for seed in range(12):
        _, mark = draw("text", kind, ramp, seed, overhang=0.4, size=(0.05, 0.07))
        lowest = min(lowest, mark.visible)
        assert mark.visible >= 0.6**2 - 0.15, (kind, seed)  # of a turned quad's box, not of the quad
    assert lowest < 0.99


def test_the_specs_words_are_what_is_said(ramp: Image.Image) -> None:
    for name, kind in KINDS:
        if kind in ("date", "price"):
            continue
        for seed in range(2):
            _, mark = draw(name, kind, ramp, seed, words=("Anna", "Bert"))
            if mark.drawn.get("form") != "emblem":
                assert {word.casefold() for word in mark.payload.split()} <= {"anna", "bert"}, kind


def test_words_that_no_font_has_are_an_error_not_boxes(ramp: Image.Image) -> None:
    for name, kind in (("text", "word"), ("watermark", "logo"), ("text", "plain"), ("watermark", "plain")):
        with pytest.raises(ConceptlibError, match="characters of"):
            draw(name, kind, ramp, 0, words=("出口", "мир"))
    _, mark = draw("text", "word", ramp, 0, words=("出口", "exit", "мир"))
    assert set(mark.payload.casefold().split()) == {"exit"}


def test_other_scripts_are_written_in_fonts_that_have_them(ramp: Image.Image) -> None:
    fonts = find_fonts("system").fonts
    scripts = sorted({script for font in fonts for script in font.scripts})
    for script in scripts:
        for kind in ("word", "vertical", "handwriting"):
            _, mark = draw("text", kind, ramp, 1, fonts=fonts, scripts=(script,))
            used = next(font for font in fonts if font.name == mark.drawn["font"])
            assert used.has(mark.payload), (script, kind)


def test_one_range_or_one_a_kind(ramp: Image.Image) -> None:
    sizes = {**text.SIZES, "word": (0.2, 0.2)}
    assert draw("text", "word", ramp, 0, size=sizes)[1].drawn["size"] == 0.2
    assert draw("text", "word", ramp, 0, size=(0.15, 0.15))[1].drawn["size"] == 0.15


@pytest.mark.parametrize("name", MODULES)
def test_every_kind_has_its_ranges(name: str) -> None:
    module = MODULES[name]
    for params in (getattr(module, f"{name.capitalize()}Params")(), module.WORLD):
        for field in dataclasses.fields(params):
            value = getattr(params, field.name)
            if isinstance(value, dict):
                wanted = set(params.kinds) | set(module.KINDS)
                assert wanted <= set(value) | ({"plain"}), field.name


@given(st.integers(0, 2**32), st.integers(96, 400), st.integers(96, 400), st.sampled_from(KINDS))
@settings(max_examples=30)
def test_any_size_of_picture_will_do(seed: int, width: int, height: int, which: tuple[str, str]) -> None:
    base = Image.new("RGB", (width, height), (90, 120, 60))
    after, mark = draw(*which, base, seed)
    assert after.size == (width, height) and 0 <= mark.visible <= 1
    assert np.isfinite(mark.quad).all() and (mark.bbox >= 0).all()
    assert mark.bbox[2] <= width and mark.bbox[3] <= height


@given(st.tuples(st.floats(-80, 160), st.floats(-80, 130)), st.floats(1, 90), st.floats(1, 40), st.floats(-180, 180))
def test_a_repeat_is_seen_where_something_of_it_is_left(center, width, height, rotation):
    quad = rectangle(center, width, height, rotation)
    assert _is_seen(quad, (100, 70)) == (len(clip_polygon(quad, (100, 70))) >= 3)
