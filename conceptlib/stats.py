"""Intervals for what is measured: shares of images, and differences of shares between two models that drew the same
rows.

Nothing here knows what was counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from conceptlib.errors import ConceptlibError

Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""
INTERVALS = {
    "wilson95": "95 % (Wilson)",
    "newcombe95": "95 % (Newcombe, paired)",
    "normal95": "95 % (normal)",
    "t95": "95 % (Student's t over runs)",
    "bootstrap95": "95 % (bootstrap)",
    "std": "one standard deviation",
    "none": "no interval",
}
"""Kinds of intervals, and how they are called."""


@dataclass(frozen=True)
class Estimate:
    """A measured value with its interval.

    Args:
        value: the estimate; a share lies in [0, 1].
        low, high: the interval's ends, low <= value <= high.
        n: how many images it rests on.
        interval: what the interval is, a key of `INTERVALS`; `std` is the mean minus and plus one standard deviation,
            and `none` has no ends (they are the value).
    """

    value: float
    low: float
    high: float
    n: int
    interval: str

    def score(self, subject: str, metric: str, **more: Any) -> dict[str, Any]:
        """One row of `scores.json`."""
        known = asdict(self)
        if self.interval == "none":
            known |= {"low": None, "high": None}
        return {"subject": subject, "metric": metric, **known, **more}

    @classmethod
    def point(cls, value: float, n: int) -> Estimate:
        """A value of which no interval is known."""
        return cls(value, value, value, n, "none")


def wilson(k: int, n: int, z: float = Z95) -> Estimate:
    """Wilson's score interval (Wilson, JASA 1927, eq. 6) for a share of `k` in `n`.

    The interval is all p with |k/n - p| <= z sqrt(p (1 - p) / n): unlike the normal one it never leaves [0, 1] and is
    not empty at k = 0, where an erased concept should be. Written here and not taken from scipy (`binomtest`), whose
    ends may differ in the last bit: an evaluation's id is a hash of its scores.

    Raises:
        ConceptlibError: n < 1, or k outside 0..n.
    """
    if n < 1 or not 0 <= k <= n:
        raise ConceptlibError(f"{k} of {n} is not a share", hint="at least one image must have been measured")
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At k = 0 and k = n the ends are exactly 0 and 1; rounding would leave 1e-18 there.
    low = 0.0 if k == 0 else max(0.0, centre - half)
    high = 1.0 if k == n else min(1.0, centre + half)
    return Estimate(p, low, high, n, "wilson95" if z == Z95 else f"wilson z={z:g}")


def mean(values: Sequence[float] | np.ndarray, *, low: float = -math.inf, high: float = math.inf) -> Estimate:
    """Mean of one value an image with its normal 95 % interval; for scores that are not 0 or 1.

    Args:
        values: (n,).
        low, high: what a value can be; the interval keeps within.

    Raises:
        ConceptlibError: `values` is empty.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ConceptlibError("no values to average", hint="at least one image must have been measured")
    centre = float(array.mean())
    half = Z95 * float(array.std(ddof=1)) / math.sqrt(array.size) if array.size > 1 else 0.0
    return Estimate(centre, max(low, centre - half), min(high, centre + half), int(array.size), "normal95")


def over_runs(values: Sequence[float] | np.ndarray, *, low: float = -math.inf, high: float = math.inf) -> Estimate:
    """Mean over a few repeated runs (seeds) with its 95 % interval by Student's t.

    Three seeds are few: at 2 degrees of freedom the interval is 2.5 standard deviations each way, and says so.

    Args:
        values: (n,), one a run.
        low, high: what a value can be; the interval keeps within.

    Returns:
        n = number of runs; of one run the interval is all that there can be, since nothing is known of its spread.

    Raises:
        ConceptlibError: `values` is empty.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ConceptlibError("no runs to average", hint="at least one run must have been measured")
    centre, n = float(array.mean()), int(array.size)
    if n == 1:
        return Estimate(centre, low, high, 1, "t95")
    from scipy.special import stdtrit  # slow to import: not at the top

    half = float(stdtrit(n - 1, 0.975)) * float(array.std(ddof=1)) / math.sqrt(n)
    return Estimate(centre, max(low, centre - half), min(high, centre + half), n, "t95")


def paired_difference(after: Sequence[bool] | np.ndarray, before: Sequence[bool] | np.ndarray) -> Estimate:
    """Share of `after` minus share of `before`, measured on the same rows: Newcombe's method 10 (Statistics in
    Medicine 1998, 17, 2635).

    It joins the two Wilson intervals and takes the correlation of the pairs into account, so that two models which
    fail on the same captions get the narrow interval they deserve.

    Args:
        after, before: booleans (n,), one a row, in the same order.

    Raises:
        ConceptlibError: the lengths differ or are zero.
    """
    a, b = np.asarray(after, dtype=bool), np.asarray(before, dtype=bool)
    if a.shape != b.shape or a.size == 0:
        raise ConceptlibError(f"{a.size} and {b.size} rows are no pairs", hint="measure both models on the same rows")
    n = int(a.size)
    both, only_a, only_b, neither = (int(np.sum(x)) for x in (a & b, a & ~b, ~a & b, ~a & ~b))
    first, second = wilson(both + only_a, n), wilson(both + only_b, n)
    delta = first.value - second.value
    product = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    phi = 0.0
    if product:
        top = both * neither - only_a * only_b
        # Newcombe's continuity correction: a positive association is moved towards zero, by at most n/2.
        phi = (max(top - n / 2, 0.0) if top > 0 else float(top)) / math.sqrt(product)
    dl1, du1 = first.value - first.low, first.high - first.value
    dl2, du2 = second.value - second.low, second.high - second.value
    down = math.sqrt(max(0.0, dl1 * dl1 - 2 * phi * dl1 * du2 + du2 * du2))
    up = math.sqrt(max(0.0, du1 * du1 - 2 * phi * du1 * dl2 + dl2 * dl2))
    return Estimate(delta, delta - down, delta + up, n, "newcombe95")
