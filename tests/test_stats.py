"""Intervals against their definitions and by simulation, not against the same formula written twice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.errors import ConceptlibError
from conceptlib.stats import Z95, mean, over_runs, paired_difference, wilson


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(st.integers(1, 3000))
    return draw(st.integers(0, n)), n


@given(counts())
def test_wilson_ends_solve_the_score_equation(count: tuple[int, int]) -> None:
    k, n = count
    got = wilson(k, n)
    assert 0 <= got.low <= got.value <= got.high <= 1
    for end in (got.low, got.high):
        if 0 < end < 1:  # the test statistic of the true share `end` is exactly z there
            assert abs(k / n - end) == pytest.approx(Z95 * np.sqrt(end * (1 - end) / n), abs=1e-9)


@given(counts())
def test_wilson_is_symmetric(count: tuple[int, int]) -> None:
    k, n = count
    one, other = wilson(k, n), wilson(n - k, n)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-12)


def test_wilson_of_none_in_512_is_not_a_point() -> None:
    got = wilson(0, 512)
    assert got.low == 0.0 and got.high == pytest.approx(Z95**2 / (512 + Z95**2))
    assert wilson(512, 512).high == 1.0


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 4), (5, 4)])
def test_wilson_refuses_what_is_no_share(k: int, n: int) -> None:
    with pytest.raises(ConceptlibError):
        wilson(k, n)


def test_mean_interval_covers_in_95_of_100() -> None:
    rng = np.random.default_rng(0)
    hits = [(e := mean(rng.normal(3, 2, 60))).low <= 3 <= e.high for _ in range(1000)]
    assert 0.92 < np.mean(hits) < 0.97
    assert mean([0.5]).low == mean([0.5]).high == 0.5
    with pytest.raises(ConceptlibError):
        mean([])


def test_paired_difference_covers_and_uses_the_pairing() -> None:
    rng = np.random.default_rng(1)
    hits, widths = [], []
    for _ in range(600):
        before = rng.random(300) < 0.9
        flip = rng.random(300) < 0.05  # P(after) = .9 * .95 + .1 * .05
        got = paired_difference(before ^ flip, before)
        hits.append(got.low <= (0.9 * 0.95 + 0.1 * 0.05) - 0.9 <= got.high)
        widths.append(got.high - got.low)
    assert 0.92 < np.mean(hits) <= 0.985
    independent = [
        (e := paired_difference(rng.random(300) < 0.86, rng.random(300) < 0.9)).high - e.low for _ in range(200)
    ]
    assert np.mean(widths) < 0.8 * np.mean(independent)


def test_paired_difference_is_antisymmetric_and_checks_its_input() -> None:
    a, b = np.array([1, 1, 1, 0, 0, 1], bool), np.array([1, 0, 0, 0, 1, 0], bool)
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert one.value == pytest.approx(4 / 6 - 2 / 6)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert paired_difference(a, a).value == 0
    assert paired_difference(np.zeros(5, bool), np.zeros(5, bool)).high > 0
    with pytest.raises(ConceptlibError):
        paired_difference(a, b[:3])


def test_score_is_a_row_of_scores_json() -> None:
    row = wilson(3, 12).score("base", "concept_rate", concept="qr-code")
    assert row["subject"] == "base" and row["metric"] == "concept_rate" and row["concept"] == "qr-code"
    assert row["value"] == 0.25 and row["n"] == 12 and row["interval"] == "wilson95" and row["low"] < 0.25 < row["high"]


@pytest.mark.parametrize("n", [2, 3, 5, 11, 31])
def test_students_interval_holds_the_right_mass(n: int) -> None:
    """The quantile against the density, integrated numerically: 97.5 % lies below it."""
    values = np.arange(n, dtype=float)
    estimate = over_runs(values)
    t = (estimate.high - estimate.value) / (values.std(ddof=1) / math.sqrt(n))
    df = n - 1
    grid = np.linspace(0, t, 200_001)
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)
    density = scale * (1 + grid**2 / df) ** (-(df + 1) / 2)
    assert 0.5 + np.trapezoid(density, grid) == pytest.approx(0.975, abs=1e-4)
    assert estimate.value == pytest.approx(values.mean()) and estimate.n == n and estimate.interval == "t95"


def test_an_interval_over_runs_keeps_within_what_a_value_can_be() -> None:
    shares = over_runs([0.0, 0.02, 0.1], low=0, high=1)
    assert shares.low == 0 and 0.1 < shares.high < 1
    alone = over_runs([0.3], low=0, high=1)
    assert (alone.low, alone.value, alone.high, alone.n) == (0, 0.3, 1, 1)
    with pytest.raises(ConceptlibError, match="no runs"):
        over_runs([])
    assert mean([0.9, 1.0, 1.0], low=0, high=1).high == 1
