"""The one way in which conceptlib writes a score with its interval: by what its metric means.

>>> figure({"metric": "concept_rate", "value": 0.031, "low": 0.019, "high": 0.05})
'3.1 % [1.9, 5.0]'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from conceptlib.evaluators.base import Metric
from conceptlib.evaluators.known import meaning

Row = Mapping[str, Any]


def figure(score: Row | None, told: Mapping[str, Any] | None = None, *, interval: bool = True) -> str:
    """A score as people read it, by what its metric means (`conceptlib.evaluators.known`); an em dash for none.

    A share is in percent, `3.1 % [1.9, 5.0]`; the difference of two shares in points, `-32.8 points [-35.0, -30.1]`;
    the spread of a value, where that is all that is known, behind a ±, `0.0123 ± 0.0010`; seconds, counts and all
    others are plain numbers. An interval of 95 % stands in brackets, and nothing else does.

    Args:
        score: a row of `scores.json`, or None.
        told: `info["metrics"]` of the evaluation, for metrics that are not known here.
        interval: whether to write the interval.
    """
    if score is None or not isinstance(score["value"], int | float):
        return "—"
    metric = meaning(str(score.get("metric", "")), told)
    value, low, high, scale = score["value"], score.get("low"), score.get("high"), 1
    if metric is None or metric.unit != "share":
        write: Callable[[float], str] = partial(_plain, sign=metric is not None and metric.change)
        unit = " s" if metric is not None and metric.unit == "seconds" else ""
    else:
        scale = 100
        write, unit = (_signed, " points") if metric.change else (_tenths, " %")
    text = f"{write(scale * value)}{unit}"
    if not interval or low is None or high is None or score.get("interval") == "none":
        return text
    low, high = scale * low, scale * high
    if score.get("interval") == "std":
        half = (high - low) / 2
        return f"{value:.4f} ± {half:.4f}" if not unit else f"{text} ± {write(half).lstrip('+')}"
    return f"{text} [{write(low)}, {write(high)}]"


def _tenths(number: float) -> str:
    return f"{number:.1f}"


def _signed(number: float) -> str:
    return f"{number:+.1f}"


def _plain(number: float, *, sign: bool = False) -> str:
    return f"{number:+.4g}" if sign else f"{number:.4g}"


def intervals_note(rows: Iterable[Row]) -> str:
    """What the intervals of some scores are, in one sentence: `intervals in brackets are 95 %; ± is one standard
    deviation, of kid`; empty where there are none.
    """
    kinds: dict[str, list[str]] = {}
    for row in rows:
        if row.get("low") is not None:
            kinds.setdefault(str(row.get("interval") or ""), []).append(str(row["metric"]))
    spread = list(dict.fromkeys(kinds.pop("std", [])))
    kinds.pop("none", None)
    parts = []
    if any(kind.endswith("95") for kind in kinds):
        parts.append("intervals in brackets are 95 %")
    if spread:
        parts.append(f"± is one standard deviation, of {', '.join(spread)}")
    return "; ".join(parts)


def arrow(metric: Metric | None) -> str:
    """`↑` where higher is better, `↓` where lower is; "" where neither or nobody knows."""
    better = metric.higher_is_better if metric else None
    return "" if better is None else ("↑" if better else "↓")
