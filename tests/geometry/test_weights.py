from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.errors import ConceptlibError
from conceptlib.geometry import region_mask, region_weights

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
alphas = st.floats(0.05, 20)


@st.composite
def scene(draw: st.DrawFn) -> tuple[list[list[int]], int, int]:
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    boxes = []
    for _ in range(draw(st.integers(0, 3))):
        x1, x2 = sorted((draw(st.integers(-10, width + 10)), draw(st.integers(-10, width + 10))))
        y1, y2 = sorted((draw(st.integers(-10, height + 10)), draw(st.integers(-10, height + 10))))
        boxes.append([x1, y1, x2, y2])
    return boxes, width, height


@given(scene(), shapes)
def test_the_mask_agrees_with_overlap_counted_on_a_fine_raster(
    scene: tuple[list[list[int]], int, int], shape: tuple[int, int]
) -> None:
    boxes, width, height = scene
    h, w = shape
    # Points that never lie on the edge of a box or a cell: the middles of each pixel's w x h parts.
    xs, ys = (np.arange(width * w) + 0.5) / w, (np.arange(height * h) + 0.5) / h
    expected = np.zeros(shape, bool)
    for x1, y1, x2, y2 in boxes:
        columns = np.unique(np.floor(xs[(xs > x1) & (xs < x2)] * w / width).astype(int))
        rows = np.unique(np.floor(ys[(ys > y1) & (ys < y2)] * h / height).astype(int))
        expected[np.ix_(rows, columns)] = True
    mask = region_mask([box for box in boxes if box[0] < box[2] and box[1] < box[3]], width, height, shape)
    np.testing.assert_array_equal(mask, expected)


@given(scene(), shapes, alphas)
def test_weights_sum_to_the_number_of_positions(
    scene: tuple[list[list[int]], int, int], shape: tuple[int, int], alpha: float
) -> None:
    boxes, width, height = scene
    weights = region_weights(boxes, width, height, shape, alpha)
    assert weights.shape == shape and weights.dtype == np.float32 and (weights > 0).all()
    assert weights.sum(dtype=np.float64) == pytest.approx(shape[0] * shape[1], rel=1e-5)


@given(scene(), shapes, alphas)
def test_outside_weighs_alpha_times_as_much_as_inside(
    scene: tuple[list[list[int]], int, int], shape: tuple[int, int], alpha: float
) -> None:
    boxes, width, height = scene
    weights = region_weights(boxes, width, height, shape, alpha)
    mask = region_mask(boxes, width, height, shape)
    if mask.all() or not mask.any():
        np.testing.assert_array_equal(weights, np.ones(shape))
    else:
        assert len(np.unique(weights[mask])) == len(np.unique(weights[~mask])) == 1
        assert weights[~mask][0] / weights[mask][0] == pytest.approx(alpha, rel=1e-5)


def test_the_formula_by_hand() -> None:
    # T = 64, K = 4, alpha = 2: inside 64 / (4 + 2 * 60), outside twice that
    weights = region_weights([[0, 0, 16, 16]], 64, 64, (8, 8), 2.0)
    assert weights[:2, :2].tolist() == [[np.float32(64 / 124)] * 2] * 2
    assert np.unique(weights).tolist() == [np.float32(64 / 124), np.float32(128 / 124)]
    assert weights[0, 0] < 1 < weights[7, 7]  # alpha > 1 turns the concept's region down


def test_alpha_one_is_no_reweighting() -> None:
    np.testing.assert_array_equal(region_weights([[0, 0, 16, 16]], 64, 64, (8, 8), 1.0), np.ones((8, 8)))


@pytest.mark.parametrize(
    ("box", "cells"),
    [
        ([20, 20, 20.01, 20.01], [(2, 2)]),  # far smaller than a cell, and not lost
        ([20, 20, 20, 20], [(2, 2)]),
        ([64, 64, 64, 64], [(7, 7)]),
        ([8, 8, 16, 16], [(1, 1)]),  # ends on the line: no area beyond it
        ([7.9, 8, 16.1, 16], [(1, 0), (1, 1), (1, 2)]),
        ([16, 0, 16, 8], [(0, 2)]),
        ([-9, -9, 0, 0], []),
        ([64, 0, 80, 8], []),
        ([-9, -9, 1, 1], [(0, 0)]),
        ([63, 63, 99, 99], [(7, 7)]),
    ],
)
def test_the_mask_by_hand(box: list[float], cells: list[tuple[int, int]]) -> None:
    mask = region_mask([box], 64, 64, (8, 8))
    assert [tuple(cell) for cell in np.argwhere(mask)] == cells


def test_rows_are_heights() -> None:
    assert np.argwhere(region_mask([[0, 60, 100, 80]], 100, 80, (4, 2))).tolist() == [[3, 0], [3, 1]]


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alpha_must_be_positive(alpha: float) -> None:
    with pytest.raises(ConceptlibError, match="alpha"):
        region_weights([], 64, 64, (8, 8), alpha)


def test_what_has_no_geometry_is_refused() -> None:
    with pytest.raises(ConceptlibError, match="no geometry"):
        region_weights([], 0, 64, (8, 8), 2.0)
    with pytest.raises(ConceptlibError, match="positions"):
        region_weights([], 64, 64, (0, 8), 2.0)
    with pytest.raises(ConceptlibError, match="not finite"):
        region_weights([[0, float("nan"), 1, 1]], 64, 64, (8, 8), 2.0)
