"""KID against the sums of its definition, written as loops, and its behaviour on known distributions."""

from __future__ import annotations

import numpy as np
import pytest

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.metrics.kid import feature_scale, kid, polynomial_mmd2


def test_mmd_equals_the_definition_term_by_term() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 5)), rng.normal(0.3, 1, size=(9, 5))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / 5 + 1) ** 3

    xx = [k(x[i], x[j]) for i in range(7) for j in range(7) if i != j]
    yy = [k(y[i], y[j]) for i in range(9) for j in range(9) if i != j]
    xy = [k(a, b) for a in x for b in y]
    expected = sum(xx) / len(xx) + sum(yy) / len(yy) - 2 * sum(xy) / len(xy)
    assert polynomial_mmd2(x, y) == pytest.approx(expected, rel=1e-12)


def test_mmd_of_the_same_distribution_is_zero_on_average() -> None:
    """Unbiased: the mean over many draws is zero, while a biased estimate (diagonals kept) would be far above it."""
    rng = np.random.default_rng(1)
    values = [polynomial_mmd2(rng.normal(size=(12, 4)), rng.normal(size=(12, 4))) for _ in range(3000)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error and min(values) < 0


def test_kid_grows_with_distance_and_is_reproducible() -> None:
    rng = np.random.default_rng(2)
    reference = rng.normal(size=(300, 8))
    near, far = kid(rng.normal(0.2, 1, (200, 8)), reference), kid(rng.normal(0.8, 1, (200, 8)), reference)
    assert 0 < near.value < far.value and near.high < far.low
    features = rng.normal(size=(40, 8))
    assert kid(features, reference, seed=5) == kid(features, reference, seed=5)
    assert kid(features, reference, seed=5).value != kid(features, reference, seed=6).value
    assert near.n == 200 and near.low < near.value < near.high and near.interval == "std"


def test_scaled_features_give_the_same_figure_whatever_the_networks_scale() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(0.4, 1, size=(40, 6)), rng.normal(size=(50, 6))
    first, second = (polynomial_mmd2(f * x / feature_scale(f * y), f * y / feature_scale(f * y)) for f in (1.0, 30.0))
    assert first == pytest.approx(second) and feature_scale(np.full((3, 2), -2.0)) == 2.0
    with pytest.raises(ConceptlibError):
        feature_scale(np.zeros((3, 2)))


def test_too_few_images_are_an_error_that_says_how_many() -> None:
    with pytest.raises(ConceptlibError, match="KID of 3 against 9"):
        kid(np.zeros((3, 2)), np.zeros((9, 2)))
    with pytest.raises(ConceptlibError):
        polynomial_mmd2(np.zeros((4, 2)), np.zeros((4, 3)))


def test_pairs_are_left_out_of_the_cross_term() -> None:
    """Gretton et al. 2012, eq. 4, term by term; equal sets are exactly 0 apart, where the usual estimate is below."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(8, 5))
    y = x + rng.normal(0, 0.3, size=(8, 5))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 5 + 1) ** 3)

    terms = [
        k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]) for i in range(8) for j in range(8) if i != j
    ]
    assert polynomial_mmd2(x, y, paired=True) == pytest.approx(sum(terms) / len(terms), rel=1e-12)
    assert polynomial_mmd2(x, x, paired=True) == pytest.approx(0, abs=1e-12) and polynomial_mmd2(x, x) < -0.1
    assert kid(x, x, paired=True).value == pytest.approx(0, abs=1e-12)
    with pytest.raises(ConceptlibError):
        polynomial_mmd2(x, y[:5], paired=True)
