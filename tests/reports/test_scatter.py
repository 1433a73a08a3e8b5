"""The scatter plot, by its pixels."""

from __future__ import annotations

import numpy as np
import pytest

from conceptlib.errors import ConceptlibError
from conceptlib.reports.scatter import PALETTE, Series, scatter


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[float, float]:
    """The centre of a colour's pixels left of the legend, as (x, y)."""
    rows, columns = np.nonzero((picture[:, :650] == colour).all(2))
    assert len(rows)
    return float(columns.mean()), float(rows.mean())


def test_points_lie_where_their_values_say() -> None:
    series = [Series("a", [(0, 0)]), Series("b", [(100, 50)]), Series("c", [(50, 100)])]
    options = {"x": "x", "y": "y", "x_range": (0, 100), "y_range": (0, 100)}
    picture = np.asarray(scatter(series, **options))
    assert picture.shape == (560, 900, 3)
    (ax, ay), (bx, by), (cx, cy) = (where(picture, PALETTE[k]) for k in range(3))
    assert cx - ax == pytest.approx((bx - ax) / 2, abs=2) and ay - by == pytest.approx((ay - cy) / 2, abs=2)
    assert ax < bx and cy < by < ay
    assert (np.asarray(scatter(series, **options)) == picture).all()


def test_points_that_coincide_are_all_seen() -> None:
    picture = np.asarray(scatter([Series("a", [(1, 1)]), Series("b", [(1, 1)])], x="x", y="y"))
    (ax, ay), (bx, by) = (where(picture, PALETTE[k]) for k in (0, 1))
    assert ay == pytest.approx(by, abs=1) and 7 < bx - ax < 12
    alone = where(np.asarray(scatter([Series("a", [(1, 1), (1, 1)])], x="x", y="y")), PALETTE[0])
    assert (ax + bx) / 2 == pytest.approx(alone[0], abs=1)


def test_ends_fit_any_points() -> None:
    for points in ([(5.0, 5.0)], [(-1e-6, 2.0), (1e6, 2.5)], [(0.0, 0.0), (0.0, 0.0)]):
        scatter([Series("a", points)], x="x", y="y")
    scatter([Series(str(k), [(k, k)]) for k in range(20)], x="x", y="y", title="more series than colours")
    with pytest.raises(ConceptlibError, match="no points"):
        scatter([Series("a", [])], x="x", y="y")
