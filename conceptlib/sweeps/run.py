"""Run a sweep: `erase` and `evaluate` for every cell. A cell that is in the store is found, one that fails is told and
the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.known import meaning, of_module
from conceptlib.evaluators.metrics.draw_seconds import seconds_each
from conceptlib.progress import Progress, prefixed
from conceptlib.scores import find
from conceptlib.specs import SuiteSpec, SweepSpec, load_spec
from conceptlib.store import Artifact, Store
from conceptlib.sweeps.cells import Cell, found, suite_overrides, with_targets
from conceptlib.sweeps.table import OF_BASE


@dataclass(frozen=True)
class Run:
    """What became of a cell: a checkpoint and an evaluation, or an error."""

    cell: Cell
    checkpoint: Artifact | None = None
    evaluation: Artifact | None = None
    error: str = ""

    def scores(self) -> list[dict[str, Any]]:
        """The rows of the evaluation's `scores.json`; empty for a cell that failed."""
        from conceptlib.evaluators.suite import scores

        return scores(self.evaluation) if self.evaluation else []


@dataclass(frozen=True)
class Sweep:
    """A finished sweep."""

    spec: SweepSpec
    runs: tuple[Run, ...]

    @property
    def failed(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.error)


def sweep(
    spec: SweepSpec | str | Path,
    *,
    overrides: Sequence[str] = (),
    store: Store | None = None,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
    on_run: Callable[[Run], None] | None = None,
) -> Sweep:
    """Erase and evaluate every cell of a sweep.

    Stopped, the same call goes on; done already, it only reads.

    Args:
        spec: a sweep, its name, or a YAML file.
        overrides: `key=value` for the spec (`seeds=1`, `targets=[star]`), if it is not loaded yet.
        device, dtype: for erasing and drawing; by default the best there is.
        progress: called with (cell and stage, done, total).
        on_run: called with every run as it ends.

    Raises:
        SpecError: the sweep, one of its recipes or its suite is wrong: told before anything is made.
    """
    store = store or Store()
    loaded: SweepSpec = spec if isinstance(spec, SweepSpec) else load_spec("sweep", spec, overrides)
    loaded = with_targets(loaded, store)
    planned = found(loaded, store, device=device, dtype=dtype)  # validates everything, before torch is imported
    from conceptlib.erasers.erase import erase
    from conceptlib.evaluators.suite import evaluate

    runs: list[Run] = []
    for number, one in enumerate(planned, 1):
        cell, checkpoint = one.cell, None
        tell = prefixed(progress, f"{number}/{len(planned)} {cell}")
        where: dict[str, Any] = {"store": store, "device": device, "dtype": dtype, "progress": tell}
        try:
            checkpoint = erase(cell.recipe, base=loaded.base, overrides=list(cell.overrides), **one.inputs, **where)
            evaluation = evaluate(checkpoint, loaded.suite, overrides=suite_overrides(loaded, cell), **where)
            run = Run(cell, checkpoint, evaluation)
        except ConceptlibError as error:
            run = Run(cell, checkpoint, error=str(error))
        except Exception as error:  # a bug in one method must not cost a night's other cells
            run = Run(cell, checkpoint, error=f"unexpected {type(error).__name__}: {error}")
        runs.append(run)
        if on_run is not None:
            on_run(run)
    return Sweep(loaded, tuple(runs))


def headline(spec: SweepSpec) -> list[str]:
    """The metrics that a sweep's suite measures, by the names of their scores; breakdowns are left out."""
    suite: SuiteSpec = load_spec("suite", spec.suite)
    declared = (metric for part in suite.measured().values() for metric in of_module(part.module))
    return [metric.name for metric in declared if not metric.name.endswith("*")]


def measurements(run: Run, store: Store, names: Sequence[str]) -> dict[str, Any]:
    """One row of the sweep's CSV: what a run measured; None where nothing was.

    Shares are in [0, 1]; `X_of_base` is a share of what the base reaches on the same rows, of metrics that should stay
    high. `erase_seconds` is the making of the checkpoint, `draw_seconds` that of one image with it.

    names: of the metrics, see `headline`.
    """
    row: dict[str, Any] = {
        "recipe": run.cell.label,
        "target": run.cell.target,
        "domain": run.cell.domain,
        "seed": run.cell.seed,
    }
    rows = run.scores()
    after = {name: _value(find(rows, "checkpoint", name)) for name in names}
    before = {name: _value(find(rows, "base", name)) for name in names}
    row |= after
    row |= {f"base_{name}": before[name] for name in names}
    for name in names:
        metric = meaning(name)
        if metric is not None and metric.unit == "share" and metric.higher_is_better and not name.startswith("target_"):
            own, base = after[name], before[name]
            key = name.removesuffix("_accuracy") + OF_BASE
            row[key] = own / base if own is not None and base else None
    row["erase_seconds"] = round(run.checkpoint.seconds, 2) if run.checkpoint else None
    row["peak_memory_mb"] = run.checkpoint.info.get("peak_memory_mb") if run.checkpoint else None
    row["draw_seconds"] = _draw_seconds(run, store)
    row["checkpoint"] = run.checkpoint.id if run.checkpoint else None
    row["evaluation"] = run.evaluation.id if run.evaluation else None
    row["error"] = run.error or None
    return row


def without_empty(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows without the columns of metrics of which no run measured anything."""
    columns = {*names, *(f"base_{name}" for name in names)}
    empty = {key for key in columns if all(row.get(key) is None for row in rows)}
    empty |= {key for row in rows for key in row if key.endswith(OF_BASE) and all(r[key] is None for r in rows)}
    return [{key: value for key, value in row.items() if key not in empty} for row in rows]


def neighbours(run: Run) -> list[dict[str, Any]]:
    """How each neighbour fared: `neighbour`, its `distance` to the target, `accuracy`, and `base`, before erasure; None
    for what was not measured.
    """
    rows = run.scores()
    return [
        {
            "recipe": run.cell.label,
            "target": run.cell.target,
            "domain": run.cell.domain,
            "seed": run.cell.seed,
            "neighbour": row["metric"].removeprefix("accuracy."),
            "distance": row["distance"],
            "accuracy": row["value"],
            "base": _value(find(rows, "base", row["metric"])),
        }
        for row in rows
        if row["subject"] == "checkpoint" and row["metric"].startswith("accuracy.") and "distance" in row
    ]


def _value(score: Any) -> float | None:
    return None if score is None or score["value"] is None else float(score["value"])


def _draw_seconds(run: Run, store: Store) -> float | None:
    """Seconds a picture of the evaluation's pictures; None where they are gone."""
    if run.evaluation is None:
        return None
    try:
        images = store.get(run.evaluation.parents["images:checkpoint"], kind="images")
    except (ConceptlibError, KeyError):
        return None
    return seconds_each(images, max(1, int(images.info["images"])))
