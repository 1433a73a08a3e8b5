"""Tiles laid over pictures: where the corners go, what is covered, and that opacity is the group's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from conceptlib.concepts.drawing.layers import homography, lay, place, tile, turned
from conceptlib.concepts.drawing.letters import Box
from conceptlib.concepts.overlays import polygon_area


def block(width: int, height: int) -> Image.Image:
    return Image.new("L", (width, height), 255)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=4, max_size=4))
def test_a_homography_takes_corners_to_corners(shifts: list[tuple[float, float]]) -> None:
    square = np.array([(0, 0), (200, 0), (200, 200), (0, 200)], np.float64)
    target = square + np.array(shifts)
    matrix = homography(square, target)
    mapped = np.c_[square, np.ones(4)] @ matrix.T
    assert np.allclose(mapped[:, :2] / mapped[:, 2:], target, atol=1e-6)


@given(
    st.integers(8, 60),
    st.integers(8, 40),
    st.floats(30, 90),
    st.floats(30, 90),
    st.floats(-180, 180),
    st.floats(0, 0.4),
)
@settings(max_examples=60)
def test_ink_is_where_its_quad_says(w: int, h: int, x: float, y: float, rotation: float, lean: float) -> None:
    made = tile([(block(w, h), (255, 255, 255))], [Box("word", "x", (0, 0, w, h))])
    quad = turned((w, h), (x, y), rotation, lean)
    placed = place(made, quad, (120, 120))
    out, mask = lay(Image.new("RGB", (120, 120)), placed, 1.0)
    assume(quad.min() > 1 and quad.max() < 119)
    # The area and the centre of a filled quad, from its corners and from its pixels.
    level = np.asarray(out)[..., 0] / 255
    assert np.isclose(level.sum(), polygon_area(quad), rtol=0.04, atol=12)
    ys, xs = np.mgrid[:120, :120] + 0.5
    centre = np.array([(level * xs).sum(), (level * ys).sum()]) / level.sum()
    assert np.abs(centre - quad.mean(0)).max() < 0.6
    assert np.allclose(placed.parts[0].quad, quad, atol=1e-3)
    seen = np.zeros((120, 120), np.uint8)
    seen[mask.top : mask.top + mask.alpha.shape[0], mask.left : mask.left + mask.alpha.shape[1]] = mask.alpha
    assert np.abs(seen.astype(int) - np.asarray(out)[..., 0]).max() <= 1
    assert mask.area == (seen >= 128).sum()


def test_an_upright_tile_is_not_resampled() -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(1, 256, (10, 20), dtype=np.uint8))
    quad = turned((20, 10), (30.3, 40.9))
    out, _ = lay(Image.new("RGB", (64, 64)), place(tile([(noise, (255, 255, 255))]), quad, (64, 64)), 1.0)
    left, top = quad[0].astype(int)
    assert np.array_equal(np.asarray(out)[top : top + 10, left : left + 20, 0], np.asarray(noise))


@pytest.mark.parametrize("rotation", [0.0, 20.0])
@pytest.mark.parametrize("center", [(2.0, 30.0), (62.0, 1.0), (-50.0, 30.0), (200.0, 200.0)])
def test_what_falls_outside_is_cut_off(center: tuple[float, float], rotation: float) -> None:
    made = tile([(block(24, 12), (255, 0, 0))], shadow=0.5, depth=3)
    quad = turned((24, 12), center, rotation)
    out, mask = lay(Image.new("RGB", (64, 64)), place(made, quad, (64, 64)), 1.0)
    assert out.size == (64, 64)
    assert mask.left + mask.alpha.shape[1] <= 64 and mask.top + mask.alpha.shape[0] <= 64
    assert bool(mask.area) == (-10 < center[0] < 70 and -10 < center[1] < 70)


def test_opacity_is_that_of_all_inks_together() -> None:
    """Black letters on a white plate at half opacity: under the letters the plate does not show."""
    letters = Image.new("L", (20, 20))
    letters.paste(255, (5, 5, 15, 15))
    made = tile([(block(20, 20), (255, 255, 255)), (letters, (0, 0, 0))])
    base = Image.new("RGB", (40, 40), (100, 100, 100))
    out, mask = lay(base, place(made, turned((20, 20), (20, 20)), (40, 40)), 0.5)
    pixels = np.asarray(out)[..., 0]
    assert pixels[20, 20] == 50 and abs(int(pixels[12, 12]) - 178) <= 1 and pixels[2, 2] == 100
    assert mask.area == 400


def test_a_shadow_falls_beside_and_is_no_part_of_the_mark() -> None:
    base = Image.new("RGB", (60, 60), (200, 200, 200))
    made = tile([(block(20, 20), (200, 200, 200))], shadow=0.8, depth=4)
    out, mask = lay(base, place(made, turned((20, 20), (30, 30)), (60, 60)), 1.0)
    pixels = np.asarray(out)[..., 0]
    assert mask.area == 400 and (pixels[20:40, 20:40] == 200).all()
    assert pixels[42, 35] < 150 and pixels[35, 42] < 150 and (pixels[:20, :20] == 200).all()
    assert base.tobytes() == Image.new("RGB", (60, 60), (200, 200, 200)).tobytes()


@pytest.mark.parametrize("count", range(1, 7))
def test_inks_in_perspective_are_transformed_as_each_would_be_by_itself(count: int) -> None:
    rng = np.random.default_rng(count)
    masks = [Image.fromarray(rng.integers(0, 256, (40, 60), dtype=np.uint8)) for _ in range(count)]
    quad = np.array([(10.3, 12.1), (70.2, 4.5), (66.6, 50.9), (14.8, 41.2)])
    together = place(tile([(mask, (k, 0, 0)) for k, mask in enumerate(masks)]), quad, (90, 60))
    for k, mask in enumerate(masks):
        (alone,) = place(tile([(mask, (k, 0, 0))]), quad, (90, 60)).paints
        assert together.paints[k].mask.tobytes() == alone.mask.tobytes() and together.paints[k].ink == (k, 0, 0)
