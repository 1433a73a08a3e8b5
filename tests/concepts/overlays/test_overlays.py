import numpy as np
import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conceptlib.concepts.overlays import (
    Mark,
    Mask,
    clip_polygon,
    make_mark,
    occlude,
    polygon_area,
    qr,
    recompress,
    rectangle,
    stamp,
    text,
    watermark,
)
from conceptlib.worlds.tiny import world

DRAW = {"qr": qr.draw_qr, "text": text.draw_text, "watermark": watermark.draw_watermark}
WORLD = {"qr": qr.WORLD, "text": text.WORLD, "watermark": watermark.WORLD}
PLAIN = {"qr": qr.QrParams(), "text": text.WORLD, "watermark": watermark.WORLD}
CONCEPT = {"qr": "qr-code", "text": "text", "watermark": "watermark"}


def picture(width: int, height: int, grey: int = 90) -> Image.Image:
    ramp = np.add.outer(np.arange(height), np.arange(width)) % 40 + grey
    return Image.fromarray(np.stack([ramp] * 3, -1).astype(np.uint8))


def inside(points: np.ndarray, quad: np.ndarray, slack: float) -> np.ndarray:
    """Whether points (n, 2) lie within `slack` pixels of a convex quad, corners in clockwise order (y down)."""
    ok = np.ones(len(points), bool)
    for a, b in zip(quad, np.roll(quad, -1, axis=0), strict=True):
        edge = (b - a) / np.linalg.norm(b - a)
        ok &= edge[0] * (points[:, 1] - a[1]) - edge[1] * (points[:, 0] - a[0]) >= -slack
    return ok


@pytest.mark.parametrize("name", DRAW)
@given(seed=st.integers(0, 2**32), width=st.integers(96, 300), height=st.integers(96, 300))
@settings(max_examples=40, deadline=None)
def test_only_the_marked_place_changes(name, seed, width, height):
    before = picture(width, height)
    after, mark = DRAW[name](before, np.random.default_rng(seed), PLAIN[name])
    assert after.size == before.size and after.mode == "RGB"
    assert mark.concept == CONCEPT[name] and mark.payload
    assert mark.quad.dtype == np.float32 and mark.quad.shape == (4, 2)
    scale = 1.0
    if name == "qr":
        modules = 17 + 4 * mark.drawn["version"]
        scale = 1 + 2 * mark.drawn["quiet_zone"] / modules
    middle = mark.quad.mean(0)
    ys, xs = np.nonzero((np.asarray(before) != np.asarray(after)).any(-1))
    assert len(xs) > 0
    assert inside(np.stack([xs + 0.5, ys + 0.5], 1), (mark.quad - middle) * scale + middle, 1.0).all()


@pytest.mark.parametrize("name", DRAW)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_bbox_is_the_clipped_hull(name, seed):
    _, mark = DRAW[name](picture(160, 120), np.random.default_rng(seed))
    # Where nothing is cut off, the box is the quad's own; in any case it is inside both.
    hull = np.concatenate([mark.quad.min(0), mark.quad.max(0)])
    limits = np.array([0, 0, 160, 120])
    assert (mark.bbox[:2] >= np.maximum(hull, limits)[:2] - 1e-3).all() and (
        mark.bbox[2:] <= np.minimum(hull, limits)[2:] + 1e-3
    ).all()
    if (hull[:2] >= 0).all() and (hull[2:] <= limits[2:]).all():
        assert np.allclose(mark.bbox, hull, atol=1e-2)
    assert 0 <= mark.visible <= 1


@given(seed=st.integers(0, 2**32), overhang=st.floats(0, 0.9))
@settings(max_examples=60, deadline=None)
def test_qr_parameters_are_kept(seed, overhang):
    params = qr.QrParams(version=(1, 6), size=(0.2, 0.5), rotation=(-30, 30), overhang=overhang, min_module=1.0)
    _, mark = qr.draw_qr(picture(200, 260), np.random.default_rng(seed), params)
    sides = np.linalg.norm(np.roll(mark.quad, -1, axis=0) - mark.quad, axis=1)
    assert np.allclose(sides, mark.drawn["side"], rtol=1e-4)
    assert 40 <= mark.drawn["side"] <= 100 + 1e-3 and 1 <= mark.drawn["version"] <= 6
    along = mark.quad[1] - mark.quad[0]
    assert np.isclose(np.degrees(np.arctan2(along[1], along[0])), mark.drawn["rotation"], atol=1e-3)
    outside = overhang * mark.drawn["side"] + 1e-2
    assert (mark.quad > -outside).all() and (mark.quad < np.array([200, 260]) + outside).all()
    if overhang == 0:
        assert mark.visible > 0.9999


@pytest.mark.parametrize("mode", qr.MODES)
@pytest.mark.parametrize("level", qr.ERROR_LEVELS)
def test_drawn_codes_are_read_with_their_payload(mode, level):
    for seed, version in enumerate((1, 2, 5, 10)):
        params = qr.QrParams(modes=(mode,), error_levels=(level,), version=(version, version), size=(0.55, 0.7))
        image, mark = qr.draw_qr(picture(256, 256), np.random.default_rng(seed), params)
        assert (mark.drawn["mode"], mark.drawn["error_level"], mark.drawn["version"]) == (mode, level, version)
        (found,) = zxingcpp.read_barcodes(image)
        assert found.text == mark.payload
        place = found.position
        corners = [(p.x, p.y) for p in (place.top_left, place.top_right, place.bottom_right, place.bottom_left)]
        assert np.abs(np.array(corners) - mark.quad).max() < 3


@pytest.mark.parametrize("mode", qr.MODES)
@pytest.mark.parametrize("level", qr.ERROR_LEVELS)
def test_payloads_fit_every_version(mode, level):
    import segno

    for version in range(1, 11):
        for seed in range(4):
            payload = qr.random_payload(np.random.default_rng(seed), mode, version, level)
            symbol = segno.make_qr(payload, error=level, version=version, mode=mode, boost_error=False)
            assert symbol.designator == f"{version}-{level}"


@pytest.mark.parametrize("name", DRAW)
def test_drawing_is_deterministic_and_leaves_its_input_alone(name):
    base = world.row(0, 0).image()
    kept = base.copy()
    (first, mark), (again, same) = (DRAW[name](base, np.random.default_rng(5), WORLD[name]) for _ in range(2))
    assert first.tobytes() == again.tobytes() and np.array_equal(mark.quad, same.quad) and mark.drawn == same.drawn
    assert base.tobytes() == kept.tobytes() and first.tobytes() != kept.tobytes()


def test_world_codes_lie_inside_and_in_all_corners():
    corners = set()
    for seed in range(50):
        _, mark = qr.draw_qr(picture(64, 64), np.random.default_rng(seed), qr.WORLD)
        x, y = mark.quad.mean(0) - 32
        corners.add((x > 0, y > 0))
        assert mark.visible > 0.9999 and min(abs(x), abs(y)) > 11
        assert 21 <= mark.drawn["side"] <= 23.01 and mark.drawn["opacity"] >= 0.85
    assert len(corners) == 4


@given(st.floats(-50, 150), st.floats(-50, 150), st.floats(1, 120), st.floats(1, 120), st.floats(-180, 180))
@settings(max_examples=100, deadline=None)
def test_clipping_stays_inside_and_never_grows(x, y, width, height, rotation):
    quad = rectangle((x, y), width, height, rotation)
    assert np.isclose(polygon_area(quad), width * height)
    clipped = clip_polygon(quad, (100, 80))
    assert polygon_area(clipped) <= width * height + 1e-6
    if len(clipped):
        assert (clipped >= -1e-9).all() and (clipped <= np.array([100, 80]) + 1e-9).all()


def test_recompression_is_drawn_from_its_range():
    image, quality = recompress(picture(64, 64), np.random.default_rng(0), (40, 60))
    assert 40 <= quality <= 60 and image.size == (64, 64) and image.mode == "RGB"


def test_a_stamp_covers_half_a_pixel_by_half() -> None:
    # A grey tile over black whose edges fall on the middle of pixels: those get half of its grey, inner ones all of it.
    tile = Image.new("RGBA", (4, 4), (200, 200, 200, 255))
    quad = np.array([[2.5, 2.0], [6.5, 2.0], [6.5, 6.0], [2.5, 6.0]])
    drawn, mask = stamp(Image.new("RGB", (10, 10)), tile, quad, 1.0, Image.Resampling.NEAREST)
    drawn = np.asarray(drawn)
    assert (mask.left, mask.top, mask.area) == (2, 2, 20)  # 5 by 4 pixels, the outer ones by half
    assert drawn[3, :, 0].tolist() == [0, 0, 100, 200, 200, 200, 100, 0, 0, 0]


def block(left: int, top: int, width: int, height: int, opacity: float = 1.0) -> Mark:
    mask = Mask(left, top, np.full((height, width), 255, np.uint8))
    quad = rectangle((left + width / 2, top + height / 2), width, height, 0)
    return make_mark("x", quad, (100, 100), "", {}, mask, opacity)


def test_what_lies_over_a_mark_hides_it() -> None:
    below = block(10, 10, 20, 10)
    half, thin, aside = block(10, 10, 10, 10), block(10, 10, 20, 10, 0.4), block(60, 60, 10, 10)
    assert [m.visible for m in occlude([below, half])] == [0.5, 1.0]
    assert [m.visible for m in occlude([half, below])] == [0.0, 1.0]
    assert [m.visible for m in occlude([below, aside])] == [1.0, 1.0]
    assert [m.visible for m in occlude([below, thin])] == [1.0, 1.0]
    # Two thin ones let .6 * .6 through, which is less than half.
    assert [m.visible for m in occlude([below, thin, thin])] == [0.0, 1.0, 1.0]
    assert occlude([]) == []


@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80), st.integers(1, 20), st.integers(1, 20)), max_size=5))
def test_occlusion_counts_the_pixels(blocks: list[tuple[int, int, int, int]]) -> None:
    owner = np.full((100, 100), -1)
    for k, (left, top, width, height) in enumerate(blocks):
        owner[top : top + height, left : left + width] = k
    for k, mark in enumerate(occlude([block(*b) for b in blocks])):
        assert np.isclose(mark.visible, (owner == k).sum() / mark.area) and mark.area == blocks[k][2] * blocks[k][3]


def test_clipping_and_occlusion_multiply() -> None:
    quad = rectangle((0, 50), 20, 10, 0)  # half of it outside
    mark = make_mark("x", quad, (100, 100), "", {}, Mask(0, 45, np.full((10, 10), 255, np.uint8)))
    assert np.isclose(mark.visible, 0.5)
    assert np.isclose(occlude([mark, block(0, 45, 10, 5)])[0].visible, 0.25)
