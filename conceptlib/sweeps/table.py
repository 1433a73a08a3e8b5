"""From runs to lines: means over seeds with their intervals, and how they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from conceptlib.evaluators.base import Metric
from conceptlib.evaluators.figures import arrow
from conceptlib.evaluators.known import meaning
from conceptlib.reports.tables import markdown_table
from conceptlib.stats import over_runs

TITLES = {
    "target_accuracy": "target accuracy",
    "retain_accuracy": "retain, in-domain",
    "cross_accuracy": "retain, cross-domain",
    "kid": "KID",
    "erase_seconds": "erasing",
    "draw_seconds": "drawing an image",
    "peak_memory_mb": "peak memory, MiB",
}
"""How columns are called where their names do not say it well."""
_ABOUT = ("recipe", "name", "target", "domain", "seed", "checkpoint", "evaluation", "error")
_DIGITS = {"distance": 4, "score": 4, "count": 0, "seconds": 1}
OF_BASE = "_of_base"

Row = Mapping[str, Any]


def columns(rows: Sequence[Row]) -> list[str]:
    """The columns with numbers, in order."""
    return [name for name in (rows[0] if rows else ()) if name not in _ABOUT]


def about(column: str) -> Metric:
    """What a column's numbers mean: those of a metric, the base's (`base_X`), or a share of what the base reaches."""
    if column.endswith(OF_BASE):
        return Metric(column, "share", higher_is_better=True)
    return meaning(column.removeprefix("base_")) or Metric(column, "score")


def heading(column: str) -> str:
    """The column's title with its unit and its better direction: `target accuracy, % ↓`."""
    metric = about(column)
    title = "of the base's" if column.endswith(OF_BASE) else TITLES.get(column, column.replace("_", " "))
    unit = {"share": ", %", "seconds": ", s"}.get(metric.unit, "")
    return f"{title}{unit} {arrow(metric)}".rstrip()


def shown(rows: Sequence[Row]) -> list[str]:
    """The columns of the table for people: without the base's, which has a line of its own, and of the shares of the
    base's only the first.
    """
    found = [name for name in columns(rows) if not name.startswith("base_") and name != "target_cross_accuracy"]
    of_base = [name for name in found if name.endswith(OF_BASE)]
    kept = [name for name in found if not name.endswith(OF_BASE)]
    if of_base:
        high = (k for k, name in enumerate(kept) if about(name).unit == "share" and about(name).higher_is_better)
        at = next(high, len(kept) - 1)
        kept.insert(at + 1, of_base[0])
    return kept


def wanted(names: Sequence[str]) -> tuple[str | None, str | None]:
    """Of some metrics the first that an erasure should lower, and the first that it should keep high."""
    down = next((name for name in names if about(name).higher_is_better is False), None)
    up = next((name for name in names if about(name).higher_is_better), None)
    return down, up


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
    bounds = {name: _bounds(name) for name in columns(rows)}
    lines = []
    for key, members in groups.items():
        done = [row for row in members if not row["error"]]
        line: dict[str, Any] = dict(zip(by, key, strict=True))
        line |= {"runs": len(done), "failed": len(members) - len(done)}
        line |= {"targets": list(dict.fromkeys(r["target"] for r in done)), "seeds": len({r["seed"] for r in done})}
        line |= {name: _over_seeds(done, name, ends) for name, ends in bounds.items()}
        lines.append(line)
    return lines


def by_seed(rows: Iterable[Row], metric: str) -> list[float]:
    """A metric of each seed, the mean over its targets; seeds of which nothing was measured are left out."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row[metric] is not None:
            found.setdefault(row["seed"], []).append(float(row[metric]))
    return [sum(values) / len(values) for values in found.values()]


def _over_seeds(rows: Sequence[Row], metric: str, bounds: tuple[float, float]) -> dict[str, Any] | None:
    means = by_seed(rows, metric)
    if not means:
        return None
    estimate = over_runs(means, low=bounds[0], high=bounds[1])
    # One seed says nothing about the spread, and JSON knows no infinity.
    ends = (None, None) if estimate.n == 1 else (estimate.low, estimate.high)
    known = {"value": estimate.value, "low": ends[0], "high": ends[1]}
    return {**known, "n": estimate.n, "interval": estimate.interval}


def _bounds(column: str) -> tuple[float, float]:
    """What a value can be. KID is unbiased, hence below zero where the sets are alike."""
    if column.endswith(OF_BASE):
        return 0.0, float("inf")
    unit = about(column).unit
    if unit == "share":
        return 0.0, 1.0
    return (0.0 if unit in ("seconds", "count") else -float("inf")), float("inf")


def average_neighbours(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Accuracy of each neighbour under each recipe, over seeds: `recipe`, `target`, `neighbour`, `distance`,
    `accuracy`, `base` (None where no seed has one), from the rows of `run.neighbours`.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["recipe"], row["target"], row["neighbour"]), []).append(row)
    return [
        {"recipe": recipe, "target": target, "neighbour": neighbour, "distance": group[0]["distance"]}
        | {name: _mean(row[name] for row in group) for name in ("accuracy", "base")}
        for (recipe, target, neighbour), group in groups.items()
    ]


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def cell(estimate: Mapping[str, Any] | None, column: str, metric: Metric | None = None) -> str:
    """A mean with half its interval: `3.1 ± 0.8`; shares in percent. metric: `about(column)`, where it is known."""
    if estimate is None:
        return "—"
    unit = (metric or about(column)).unit
    scale = 100.0 if unit == "share" else 1.0
    digits = 3 if column == "draw_seconds" else _DIGITS.get(unit, 1)
    text = f"{scale * estimate['value']:.{digits}f}"
    if estimate["low"] is None:
        return text
    low, high, value = (scale * estimate[key] for key in ("low", "high", "value"))
    return f"{text} ± {max(high - value, value - low):.{digits}f}"


def markdown(lines: Sequence[Row], by: Sequence[str], metrics: Sequence[str]) -> str:
    """The lines of `summarise` as a Markdown table. A count of failed runs follows the name."""
    names = {"recipe": "recipe", "target": "erased", "domain": "domain"}
    header = [*(names[key] for key in by), *(heading(name) for name in metrics)]
    known = {name: about(name) for name in metrics}  # once a column: who answers looks at the disk
    body = []
    for line in lines:
        head = [str(line[key]) for key in by]
        head[-1] += f" ({line['failed']} failed)" if line["failed"] else ""
        body.append([*head, *(cell(line.get(name), name, known[name]) for name in metrics)])
    return markdown_table(header, body)


def base_line(lines: Sequence[Row], by: Sequence[str]) -> dict[str, Any] | None:
    """The base as a line of its own, from what its images showed in the same runs; None where nothing was."""
    for line in lines:
        own = {name.removeprefix("base_"): value for name, value in line.items() if name.startswith("base_") and value}
        if own:
            return {**dict.fromkeys(by, ""), by[0]: "base", "failed": 0, **own}
    return None
