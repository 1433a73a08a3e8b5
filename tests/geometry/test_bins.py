from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Grid
from conceptlib.geometry.bins import Bin, Policy

grids = st.builds(Grid, st.integers(1, 9), st.integers(1, 9))
sizes = st.integers(1, 600)


@st.composite
def scene(draw: st.DrawFn) -> tuple[list[list[float]], int, int]:
    """Boxes that reach into an image and beyond it, on whole and on broken pixels."""
    width, height = draw(sizes), draw(sizes)
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        spans = []
        for size in (width, height):
            value = st.integers(-size, 2 * size) | st.floats(-size, 2 * size, width=32)
            spans.append(sorted((draw(value), draw(value))))
        boxes.append([spans[0][0], spans[1][0], spans[0][1], spans[1][1]])
    return boxes, width, height


def hull(bins: list[Bin] | tuple[Bin, ...]) -> tuple[int, int, int, int]:
    columns, rows = [m for m, _ in bins], [n for _, n in bins]
    return min(columns), max(columns), min(rows), max(rows)


def test_tokens_name_column_and_row_row_major() -> None:
    assert Grid(2, 3).tokens() == ["<l0,0>", "<l1,0>", "<l2,0>", "<l0,1>", "<l1,1>", "<l2,1>"]
    assert Grid(2, 3).token(2, 1) == "<l2,1>"
    for m, n in ((3, 0), (0, 2), (-1, 0)):
        with pytest.raises(ConceptlibError, match="no bin"):
            Grid(2, 3).token(m, n)


@given(grids)
def test_every_bin_has_one_token(grid: Grid) -> None:
    assert len(set(grid.tokens())) == len(grid.tokens()) == grid.rows * grid.cols


@pytest.mark.parametrize(("rows", "cols"), [(0, 1), (1, 0), (-1, 4)])
def test_a_grid_without_bins_is_refused(rows: int, cols: int) -> None:
    with pytest.raises(ConceptlibError):
        Grid(rows, cols)


@pytest.mark.parametrize(
    ("box", "bins"),
    [
        ([0, 0, 15, 15], [(0, 0)]),
        ([0, 0, 16, 15], [(0, 0), (1, 0)]),  # the paper's floor(x2 / W_bin): a box is closed
        ([15.99, 0, 16.01, 1], [(0, 0), (1, 0)]),
        ([0, 0, 64, 64], [(m, n) for n in range(4) for m in range(4)]),
        ([64, 64, 64, 64], [(3, 3)]),  # the far corner belongs to the last bin
        ([60, 0, 64, 4], [(3, 0)]),
        ([0, 60, 4, 64], [(0, 3)]),
        ([20, 20, 20, 20], [(1, 1)]),  # no area, but a place
        ([20, 0, 20, 40], [(1, 0), (1, 1), (1, 2)]),
        ([-50, -50, 10, 10], [(0, 0)]),
        ([50, 50, 900, 900], [(3, 3)]),
        ([-50, -50, 0, 10], []),  # touches the edge from outside
        ([64, 0, 80, 10], []),
        ([-9, -9, -1, -1], []),
        ([70, 70, 70, 70], []),
        ([-1, -1, -1, -1], []),
    ],
)
def test_covered_by_hand(box: list[float], bins: list[Bin]) -> None:
    assert Grid(4, 4).covered([box], 64, 64) == bins


def test_bins_follow_columns_and_rows_of_their_own() -> None:
    assert Grid(2, 5).covered([[45, 70, 65, 80]], 100, 100) == [(2, 1), (3, 1)]


def test_boxes_on_the_lines_of_awkward_sizes_are_not_rounded_across() -> None:
    # 100 / 3 has no exact float: 2 * (100 / 3) and its kin must not decide
    for cols in (3, 7, 11):
        for size in (7, 33, 100, 513):
            for pixel in range(size):
                expected = min(pixel * cols // size, cols - 1)
                assert Grid(1, cols).covered([[pixel, 0, pixel, 1]], size, 1) == [(expected, 0)]


@given(grids, scene())
def test_covered_is_the_papers_formula(grid: Grid, scene: tuple[list[list[float]], int, int]) -> None:
    boxes, width, height = scene
    expected = set()
    for box in boxes:
        x1, y1, x2, y2 = (Fraction(float(np.float32(value))) for value in box)
        flat_x, flat_y = x1 == x2, y1 == y2
        if (x1 < 0 or x1 > width) if flat_x else (x2 <= 0 or x1 >= width):
            continue
        if (y1 < 0 or y1 > height) if flat_y else (y2 <= 0 or y1 >= height):
            continue
        # exact fractions; only the clamping to the image is ours
        columns = [floor(min(max(x, 0), width) / Fraction(width, grid.cols)) for x in (x1, x2)]
        rows = [floor(min(max(y, 0), height) / Fraction(height, grid.rows)) for y in (y1, y2)]
        for m in range(min(columns[0], grid.cols - 1), min(columns[1], grid.cols - 1) + 1):
            for n in range(min(rows[0], grid.rows - 1), min(rows[1], grid.rows - 1) + 1):
                expected.add((m, n))
    covered = grid.covered(boxes, width, height)
    assert set(covered) == expected
    assert covered == sorted(expected, key=lambda one: (one[1], one[0]))


@given(grids, scene())
def test_the_bins_cover_every_point_of_every_box(grid: Grid, scene: tuple[list[list[float]], int, int]) -> None:
    boxes, width, height = scene
    for x1, y1, x2, y2 in boxes:
        covered = set(grid.covered([[x1, y1, x2, y2]], width, height))
        for share in (0.0, 0.3, 0.5, 0.9, 1.0):
            x, y = x1 + share * (x2 - x1), y1 + share * (y2 - y1)
            if 0 < x < width and 0 < y < height:
                assert any(
                    m * width / grid.cols - 1e-3 <= x <= (m + 1) * width / grid.cols + 1e-3
                    and n * height / grid.rows - 1e-3 <= y <= (n + 1) * height / grid.rows + 1e-3
                    for m, n in covered
                )


@given(grids, scene(), st.integers(2, 90), st.sampled_from(["coarsen", "corners"]))
def test_a_cover_fits_keeps_every_extent_and_says_so(
    grid: Grid, scene: tuple[list[list[float]], int, int], budget: int, policy: Policy
) -> None:
    boxes, width, height = scene
    covered = grid.covered(boxes, width, height)
    cover = grid.cover(boxes, width, height, budget, policy)
    assert len(cover.bins) <= budget
    assert list(cover.bins) == sorted(set(cover.bins), key=lambda one: (one[1], one[0]))
    assert cover.overflowed == (len(covered) > budget)
    if not cover.overflowed:
        assert list(cover.bins) == covered
    else:
        assert hull(cover.bins) == hull(covered)


@given(grids, scene(), st.integers(4, 90))
def test_a_coarse_cover_of_one_box_spans_the_box(
    grid: Grid, scene: tuple[list[list[float]], int, int], budget: int
) -> None:
    boxes, width, height = scene
    for box in boxes:
        covered = grid.covered([box], width, height)
        assume(covered)
        cover = grid.cover([box], width, height, budget)
        assert set(cover.bins) <= set(covered)
        first, last, top, bottom = hull(covered)
        assert {(first, top), (last, top), (first, bottom), (last, bottom)} <= set(cover.bins)


def test_coarsening_takes_the_smallest_step_that_fits() -> None:
    grid = Grid(8, 8)
    whole = [[0, 0, 64, 64]]
    assert len(grid.cover(whole, 64, 64, 64).bins) == 64
    assert len(grid.cover(whole, 64, 64, 63).bins) == 25  # columns 0, 2, 4, 6, 7
    assert len(grid.cover(whole, 64, 64, 24).bins) == 16  # columns 0, 3, 6, 7
    assert len(grid.cover(whole, 64, 64, 15).bins) == 9
    assert grid.cover(whole, 64, 64, 8).bins == ((0, 0), (7, 0), (0, 7), (7, 7))
    assert grid.cover(whole, 64, 64, 3).bins == ((0, 0), (7, 7))


def test_corners_are_those_of_every_box_while_they_fit() -> None:
    grid = Grid(4, 4)
    boxes = [[0, 0, 31, 31], [33, 33, 63, 63]]
    assert grid.cover(boxes, 64, 64, 4, "corners").bins == ((0, 0), (1, 1), (2, 2), (3, 3))
    assert grid.cover(boxes, 64, 64, 3, "corners").bins == ((0, 0), (3, 3))


def test_error_policy_raises_with_the_numbers() -> None:
    grid = Grid(4, 4)
    assert not grid.cover([[0, 0, 64, 64]], 64, 64, 16, "error").overflowed
    with pytest.raises(ConceptlibError, match="16 bins are covered, but only 15"):
        grid.cover([[0, 0, 64, 64]], 64, 64, 15, "error")


@pytest.mark.parametrize("policy", ["coarsen", "corners"])
@pytest.mark.parametrize("budget", [1, 0, -5])
def test_no_policy_truncates_silently(policy: Policy, budget: int) -> None:
    with pytest.raises(ConceptlibError, match="location tokens fit"):
        Grid(4, 4).cover([[0, 0, 64, 64]], 64, 64, budget, policy)
    assert Grid(4, 4).cover([], 64, 64, 0, policy).bins == ()


def test_unknown_policies_are_named() -> None:
    with pytest.raises(ConceptlibError, match="truncate") as caught:
        Grid(4, 4).cover([], 64, 64, 4, "truncate")  # type: ignore[arg-type]
    assert "coarsen" in caught.value.hint


def test_nan_and_empty_images_are_refused() -> None:
    with pytest.raises(ConceptlibError, match="not finite"):
        Grid(4, 4).covered([[0, 0, float("nan"), 1]], 64, 64)
    with pytest.raises(ConceptlibError, match="no geometry"):
        Grid(4, 4).covered([], 0, 64)
