"""From runs to lines: means over seeds with their intervals, and how they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from conceptlib.evaluators.stats import over_runs
from conceptlib.reports.tables import markdown_table

SHARES = (
    "target_accuracy",
    "retain_accuracy",
    "cross_accuracy",
    "target_cross_accuracy",
    "base_target_accuracy",
    "base_retain_accuracy",
    "base_cross_accuracy",
)
OTHERS = ("retain_of_base", "cross_of_base", "kid", "erase_seconds", "peak_memory_mb", "draw_seconds")
HEADINGS = {
    "target_accuracy": "target accuracy, % ↓",
    "retain_accuracy": "retain, in-domain, % ↑",
    "retain_of_base": "of the base's, % ↑",
    "cross_accuracy": "retain, cross-domain, % ↑",
    "kid": "KID of neighbours ↓",
    "erase_seconds": "erasing, s",
    "draw_seconds": "drawing, s a picture",
    "peak_memory_mb": "peak memory, MiB",
}

Row = Mapping[str, Any]


def summarise(rows: Sequence[Row], by: Sequence[str]) -> list[dict[str, Any]]:
    """Average runs over targets, then over seeds.

    A seed's value is the mean over its targets; the interval is Student's over the seeds, since targets are chosen and
    seeds are drawn.

    Args:
        rows: from `run.measurements`; runs that failed count as `failed` only.
        by: the keys that make a line, such as `["recipe"]` or `["recipe", "target"]`.

    Returns:
        A dict a line, in order of first appearance: the keys, `runs`, `failed`, `targets`, `seeds`, and for each metric
        `{"value", "low", "high", "n", "interval"}` or None where nothing was measured.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in by), []).append(row)
    lines = []
    for key, members in groups.items():
        done = [row for row in members if not row["error"]]
        line: dict[str, Any] = dict(zip(by, key, strict=True))
        line |= {"runs": len(done), "failed": len(members) - len(done)}
        line |= {"targets": list(dict.fromkeys(r["target"] for r in done)), "seeds": len({r["seed"] for r in done})}
        line |= {name: _over_seeds(done, name) for name in (*SHARES, *OTHERS)}
        lines.append(line)
    return lines


def by_seed(rows: Iterable[Row], metric: str) -> list[float]:
    """A metric of each seed, the mean over its targets; seeds of which nothing was measured are left out."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row[metric] is not None:
            found.setdefault(row["seed"], []).append(float(row[metric]))
    return [sum(values) / len(values) for values in found.values()]


def _over_seeds(rows: Sequence[Row], metric: str) -> dict[str, Any] | None:
    means = by_seed(rows, metric)
    if not means:
        return None
    low, high = (0.0, 1.0) if metric in SHARES else (0.0 if metric != "kid" else -float("inf"), float("inf"))
    estimate = over_runs(means, low=low, high=high)
    # One seed says nothing about the spread, and JSON knows no infinity.
    ends = (None, None) if estimate.n == 1 else (estimate.low, estimate.high)
    known = {"value": estimate.value, "low": ends[0], "high": ends[1]}
    return {**known, "n": estimate.n, "interval": estimate.interval}


def average_neighbours(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Accuracy of each neighbour under each recipe, over seeds: `recipe`, `target`, `neighbour`, `distance`,
    `accuracy`, `base`, from the rows of `run.neighbours`.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["recipe"], row["target"], row["neighbour"]), []).append(row)
    return [
        {"recipe": recipe, "target": target, "neighbour": neighbour, "distance": group[0]["distance"]}
        | {name: sum(row[name] for row in group) / len(group) for name in ("accuracy", "base")}
        for (recipe, target, neighbour), group in groups.items()
    ]


def cell(estimate: Mapping[str, Any] | None, metric: str) -> str:
    """A mean with half its interval: `3.1 ± 0.8`; shares in percent."""
    if estimate is None:
        return "—"
    scale = 100.0 if metric in SHARES or metric.endswith("_of_base") else 1.0
    digits = {"kid": 4, "draw_seconds": 3, "peak_memory_mb": 0}.get(metric, 1)
    text = f"{scale * estimate['value']:.{digits}f}"
    if estimate["low"] is None:
        return text
    low, high, value = (scale * estimate[key] for key in ("low", "high", "value"))
    return f"{text} ± {max(high - value, value - low):.{digits}f}"


def markdown(lines: Sequence[Row], by: Sequence[str], metrics: Sequence[str] = tuple(HEADINGS)) -> str:
    """The lines of `summarise` as a Markdown table. A count of failed runs follows the name."""
    names = {"recipe": "recipe", "target": "erased", "domain": "domain"}
    header = [*(names[key] for key in by), *(HEADINGS[name] for name in metrics)]
    body = []
    for line in lines:
        head = [str(line[key]) for key in by]
        head[-1] += f" ({line['failed']} failed)" if line["failed"] else ""
        body.append([*head, *(cell(line[name], name) for name in metrics)])
    return markdown_table(header, body)


def base_line(lines: Sequence[Row], by: Sequence[str]) -> dict[str, Any] | None:
    """The base as a line of its own, from what its pictures showed in the same runs; None where nothing was."""
    measured = next((line for line in lines if line["base_target_accuracy"]), None)
    if measured is None:
        return None
    empty: dict[str, Any] = dict.fromkeys([*SHARES, *OTHERS])
    own = {name: measured[f"base_{name}"] for name in ("target_accuracy", "retain_accuracy", "cross_accuracy")}
    return {**dict.fromkeys(by, ""), by[0]: "base", "failed": 0, **empty, **own}
