from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.errors import ConceptlibError
from conceptlib.geometry import boxes as bx

SIZE = 12


@st.composite
def integer_box(draw: st.DrawFn, size: int = SIZE) -> list[int]:
    x1, x2 = sorted((draw(st.integers(0, size)), draw(st.integers(0, size))))
    y1, y2 = sorted((draw(st.integers(0, size)), draw(st.integers(0, size))))
    return [x1, y1, x2, y2]


coordinates = st.floats(-500, 2000, width=32)


@st.composite
def real_box(draw: st.DrawFn) -> list[float]:
    x1, x2 = sorted((draw(coordinates), draw(coordinates)))
    y1, y2 = sorted((draw(coordinates), draw(coordinates)))
    return [x1, y1, x2, y2]


integer_boxes = st.lists(integer_box(), max_size=4)
real_boxes = st.lists(real_box(), max_size=4)


def pixels(box: list[int]) -> np.ndarray:
    """The box painted into an image of SIZE x SIZE."""
    canvas = np.zeros((SIZE, SIZE), bool)
    canvas[box[1] : box[3], box[0] : box[2]] = True
    return canvas


@given(integer_boxes, integer_boxes)
def test_iou_agrees_with_counting_pixels(a: list[list[int]], b: list[list[int]]) -> None:
    result = bx.iou(a, b)
    assert result.shape == (len(a), len(b))
    for i, first in enumerate(a):
        for j, second in enumerate(b):
            both, either = (pixels(first) & pixels(second)).sum(), (pixels(first) | pixels(second)).sum()
            assert result[i, j] == pytest.approx(both / either if either else 0.0, abs=1e-12)


@given(real_boxes, real_boxes)
def test_iou_is_symmetric_and_a_share(a: list[list[float]], b: list[list[float]]) -> None:
    result = bx.iou(a, b)
    assert ((result >= 0) & (result <= 1)).all()
    np.testing.assert_array_equal(result, bx.iou(b, a).T)


@given(real_boxes)
def test_iou_with_itself_is_one_unless_there_is_no_area(a: list[list[float]]) -> None:
    diagonal = np.diag(bx.iou(a, a))
    np.testing.assert_allclose(diagonal, bx.area(a) > 0)


@given(real_boxes, st.integers(1, 1000), st.integers(1, 1000))
def test_clipped_boxes_lie_in_the_image_and_do_not_move_inside(a: list[list[float]], width: int, height: int) -> None:
    once = bx.clip(a, width, height)
    assert once.dtype == np.float32 and once.shape == (len(a), 4)
    assert (once >= 0).all() and (once[:, [0, 2]] <= width).all() and (once[:, [1, 3]] <= height).all()
    np.testing.assert_array_equal(bx.clip(once, width, height), once)
    for before, after in zip(bx.as_boxes(a), once, strict=True):
        if before[0] >= 0 and before[2] <= width and before[1] >= 0 and before[3] <= height:
            np.testing.assert_array_equal(before, after)


@given(real_boxes, st.integers(1, 4000), st.integers(1, 4000))
def test_conversions_invert_each_other(a: list[list[float]], width: int, height: int) -> None:
    array = bx.as_boxes(a)
    np.testing.assert_allclose(bx.xywh_to_xyxy(bx.xyxy_to_xywh(array)), array, atol=2e-3)
    there = bx.xyxy_to_cxcywh_normalised(array, width, height)
    # float32 keeps 24 bits: relative to the largest coordinate, in pixels
    np.testing.assert_allclose(bx.cxcywh_normalised_to_xyxy(there, width, height), array, atol=2e-3)


@pytest.mark.parametrize(
    ("box", "xywh", "cxcywh"),
    [
        ([10, 20, 30, 60], [10, 20, 20, 40], [0.2, 0.2, 0.2, 0.2]),
        ([0, 0, 100, 200], [0, 0, 100, 200], [0.5, 0.5, 1.0, 1.0]),
        ([50, 50, 50, 50], [50, 50, 0, 0], [0.5, 0.25, 0.0, 0.0]),
    ],
)
def test_conversions_by_hand(box: list[float], xywh: list[float], cxcywh: list[float]) -> None:
    np.testing.assert_allclose(bx.xyxy_to_xywh([box]), [xywh])
    np.testing.assert_allclose(bx.xyxy_to_cxcywh_normalised([box], 100, 200), [cxcywh], rtol=1e-6)


@given(st.lists(st.lists(st.floats(-100, 100, width=32), min_size=8, max_size=8), max_size=4))
def test_the_box_around_a_quad_touches_it_on_every_side(quads: list[list[float]]) -> None:
    result = bx.quad_to_xyxy(quads)
    np.testing.assert_array_equal(result, bx.quad_to_xyxy(np.array(quads, np.float32).reshape(-1, 4, 2)))
    for quad, box in zip(quads, result, strict=True):
        assert box.tolist() == [min(quad[::2]), min(quad[1::2]), max(quad[::2]), max(quad[1::2])]


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4)), ()])
def test_no_boxes_are_no_boxes(empty: object) -> None:
    assert bx.as_boxes(empty).shape == (0, 4)  # type: ignore[arg-type]
    assert bx.iou(empty, [[0, 0, 1, 1]]).shape == (0, 1)  # type: ignore[arg-type]
    assert bx.clip(empty, 5, 5).shape == (0, 4)  # type: ignore[arg-type]
    assert bx.xyxy_to_xywh(empty).shape == (0, 4)  # type: ignore[arg-type]
    assert bx.quad_to_xyxy([]).shape == (0, 4)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ([[0, 0, NAN, 1]], "not finite"),
        ([[0, 0, 1, 1], [0, -INF, 1, 1]], "not finite"),
        ([[2, 0, 1, 1]], "ends before it begins"),
        ([[0, 2, 1, 1]], "ends before it begins"),
        ([0, 0, 1, 1], "shape"),
        ([[0, 0, 1]], "shape"),
        ([[0, 0, 1, 1], [0, 0]], "numbers"),
        ([["a", "b", "c", "d"]], "numbers"),
    ],
)
def test_what_is_no_box_is_refused(boxes: object, says: str) -> None:
    with pytest.raises(ConceptlibError, match=says):
        bx.as_boxes(boxes)  # type: ignore[arg-type]


def test_the_wrong_row_is_named() -> None:
    with pytest.raises(ConceptlibError) as caught:
        bx.as_boxes([[0, 0, 1, 1], [3, 0, 1, 1]])
    assert caught.value.where == "boxes[1]"


def test_inverses_refuse_negative_sizes() -> None:
    with pytest.raises(ConceptlibError):
        bx.xywh_to_xyxy([[0, 0, -1, 1]])
    with pytest.raises(ConceptlibError):
        bx.cxcywh_normalised_to_xyxy([[0.5, 0.5, 0.1, -0.1]], 10, 10)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-1, 5), (NAN, 5), (5, INF)])
def test_an_image_without_area_is_refused(width: float, height: float) -> None:
    for call in (bx.clip, bx.xyxy_to_cxcywh_normalised, bx.cxcywh_normalised_to_xyxy):
        with pytest.raises(ConceptlibError, match="no geometry"):
            call([[0, 0, 1, 1]], width, height)


@pytest.mark.parametrize("quads", [[[0, 0, 1, 1]], np.zeros((1, 3, 2)), [[NAN] * 8], [["x"] * 8]])
def test_what_is_no_quad_is_refused(quads: object) -> None:
    with pytest.raises(ConceptlibError):
        bx.quad_to_xyxy(quads)  # type: ignore[arg-type]
