"""Writing a sweep down: `NAME.md` with the tables and plots for people, `NAME.json` and `NAME.csv` for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptlib.errors import ConceptlibError
from conceptlib.reports.tables import markdown_table
from conceptlib.scores import find
from conceptlib.specs import METRICS, SuiteSpec, SweepSpec, load_spec
from conceptlib.store import Store
from conceptlib.store.files import atomic_path, atomic_write
from conceptlib.sweeps import table
from conceptlib.sweeps.run import Run, Sweep, headline, measurements, neighbours, without_empty

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Report:
    """What was written.

    Args:
        runs: a row a run (`run.measurements`). lines: a line a recipe (`table.summarise`).
        by_target: a line a recipe and target. neighbours: `table.average_neighbours`.
        files: the paths.
    """

    runs: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    by_target: list[dict[str, Any]]
    neighbours: list[dict[str, Any]]
    files: tuple[Path, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        keys = ("runs", "lines", "by_target", "neighbours", "files")
        return {key: getattr(self, key) for key in keys}


def collect(result: Sweep, store: Store) -> Report:
    """The numbers of a sweep, nothing written."""
    names = headline(result.spec)
    runs = without_empty([measurements(run, store, names) for run in result.runs], names)
    each = [row for run in result.runs for row in neighbours(run)]
    by_target = table.summarise(runs, ["recipe", "target"])
    return Report(runs, table.summarise(runs, ["recipe"]), by_target, table.average_neighbours(each))


def write(result: Sweep, folder: str | Path, store: Store) -> Report:
    """Write the tables and plots into a folder, replacing those of an earlier run of the same name.

    Args:
        result: from `sweep`.
        folder: created if need be.
        store: where the runs' pictures are.

    Returns:
        The numbers and the files. Plots and pictures are left out where every run failed.
    """
    report, target = collect(result, store), Path(folder).expanduser().absolute()
    target.mkdir(parents=True, exist_ok=True)
    name, files = result.spec.name, []
    pictures = {
        "retain": _retain_plot(report),
        "distance": _distance_plot(report),
        "pictures": _pictures(result, store),
    }
    for what, picture in pictures.items():
        if picture is not None:
            files.append(target / f"{name}-{what}.png")
            with atomic_path(files[-1]) as temporary:
                picture.save(temporary, "PNG", optimize=True)
    texts = {"md": _page(result, report, [path.name for path in files]), "csv": _csv(report.runs)}
    data = {"sweep": result.spec.resolved(), "evaluated_with": _machine(result)} | report.as_dict()
    texts["json"] = json.dumps({key: data[key] for key in data if key != "files"}, indent=1) + "\n"
    for ending, text in texts.items():
        files.append(target / f"{name}.{ending}")
        atomic_write(files[-1], text)
    return Report(report.runs, report.lines, report.by_target, report.neighbours, tuple(files))


def _machine(result: Sweep) -> dict[str, Any]:
    """Where it ran, from the manifest of the first checkpoint."""
    first = next((run.checkpoint for run in result.runs if run.checkpoint), None)
    return {key: first.environment.get(key) for key in ("device", "platform", "python")} if first else {}


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _page(result: Sweep, report: Report, pictures: Sequence[str]) -> str:
    """The Markdown page."""
    spec = result.spec
    plots = {path.removesuffix(".png").rpartition("-")[2]: path for path in pictures}
    base = table.base_line(report.lines, ["recipe"])
    lines, metrics = [*([base] if base else []), *report.lines], table.shown(report.runs)
    parts = [
        f"# Sweep {spec.name}",
        spec.description,
        f"Written by `conceptlib sweep {spec.name}`: {len(spec.recipes)} recipes x {len(spec.targets)} targets "
        f"({', '.join(spec.targets)}) x {spec.seeds} seeds on `{spec.base}`, {len(result.runs)} runs, suite "
        f"`{spec.suite}` ({' '.join(spec.evaluate) or 'as it is'}). Every recipe draws the same captions from the same "
        "seeds. A value is the mean over targets, then over seeds; behind ± is the 95 % interval by Student's t over "
        "the seeds.",
        _meanings(spec),
        table.markdown(lines, ["recipe"], metrics),
    ]
    if "retain" in plots:
        parts.append(f"![what should go against what should stay, one point a run]({plots['retain']})")
    parts += ["## Each target", table.markdown(report.by_target, ["recipe", "target"], metrics)]
    if "distance" in plots:
        parts += [
            "## Neighbours: distance against accuracy",
            f"![embedding distance to the target against the neighbour's accuracy]({plots['distance']})",
            "Cosine distance of the text encoder's states at the word, before erasure; accuracy in percent, mean over "
            "seeds. In the plots, points at one place are set side by side.",
            _neighbour_table(report.neighbours),
        ]
    if "pictures" in plots:
        parts += ["## Pictures", f"![pictures of each recipe]({plots['pictures']})"]
    if result.failed:
        parts += ["## Failed", "\n".join(f"- {run.cell}: {run.error}" for run in result.failed)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _neighbour_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line a target and neighbour, a column a recipe, the nearest neighbour first."""
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["target"], row["neighbour"]), {})[row["recipe"]] = row
    targets = list(dict.fromkeys(row["target"] for row in rows))
    body = []

    def order(pair: tuple[str, str]) -> tuple[int, float]:
        distance = next(iter(found[pair].values()))["distance"]
        return targets.index(pair[0]), float("inf") if distance is None else distance

    for target, neighbour in sorted(found, key=order):
        own = found[target, neighbour]
        any_row = next(iter(own.values()))
        distance = "—" if any_row["distance"] is None else f"{any_row['distance']:.3f}"
        accuracies = [_percent(own[recipe]["accuracy"] if recipe in own else None) for recipe in recipes]
        body.append([target, neighbour, distance, _percent(any_row["base"]), *accuracies])
    return markdown_table(["erased", "neighbour", "distance", "base", *recipes], body)


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.0f}"


def _meanings(spec: SweepSpec) -> str:
    """A line a metric of the suite: the first paragraph of what its module says."""
    suite: SuiteSpec = load_spec("suite", spec.suite)
    told = []
    for label, part in suite.measured().items():
        said = " ".join((METRICS.get(part.module).__doc__ or "").split("\n\n")[0].split())
        told.append(f"- `{label}`: {said}" if said else f"- `{label}`")
    return "\n".join(told)


def _retain_plot(report: Report) -> Image.Image | None:
    """What an erasure should lower against what it should keep, where the suite measured both."""
    from conceptlib.reports.scatter import Series, scatter

    down, up = table.wanted(_measured(report))
    measured = [row for row in report.runs if down and up and row[down] is not None and row[up] is not None]
    if not (down and up and measured):
        return None
    kx, ky = (100 if table.about(name).unit == "share" else 1 for name in (down, up))
    ends = [(-3, 103) if k == 100 else None for k in (kx, ky)]
    pairs = [(row.get(f"base_{down}"), row.get(f"base_{up}")) for row in measured]
    before = {(kx * x, ky * y) for x, y in pairs if x is not None and y is not None}
    return scatter(
        [
            *([Series("base", sorted(before))] if before else []),
            *_series(measured, down, up, scale_x=kx, scale_y=ky, bars=report.lines),
        ],
        title="One point a run, whiskers: 95 % intervals of the means over seeds; what is wanted is top left",
        x=f"{table.heading(down).rstrip(' ↓↑')} (lower is better)",
        y=f"{table.heading(up).rstrip(' ↓↑')} (higher is better)",
        x_range=ends[0],
        y_range=ends[1],
    )


def _measured(report: Report) -> list[str]:
    """The columns of metrics: neither the base's, nor shares of it, nor times."""
    columns = (name for name in table.columns(report.runs) if table.about(name).unit in ("share", "score", "distance"))
    return [name for name in columns if not name.startswith("base_") and not name.endswith(table.OF_BASE)]


def _distance_plot(report: Report) -> Image.Image | None:
    from conceptlib.reports.scatter import scatter

    placed = [row for row in report.neighbours if row["distance"] is not None and row["accuracy"] is not None]
    if not placed:
        return None
    return scatter(
        _series(placed, "distance", "accuracy", scale_x=1),
        title="One point a recipe, target and neighbour",
        x="cosine distance of the neighbour to the target",
        y="accuracy of the neighbour, %",
        y_range=(-3, 103),
    )


def _series(
    rows: Sequence[Mapping[str, Any]],
    x: str,
    y: str,
    *,
    scale_x: float = 100,
    scale_y: float = 100,
    bars: Sequence[Mapping[str, Any]] = (),
) -> list[Any]:
    """A series a recipe. bars: lines of `table.summarise`, whose intervals are drawn."""
    from conceptlib.reports.scatter import Series

    names = list(dict.fromkeys(row["recipe"] for row in rows))
    means = {line["recipe"]: _bars(line, x, y, (scale_x, scale_y)) for line in bars}
    return [
        Series(n, [(scale_x * row[x], scale_y * row[y]) for row in rows if row["recipe"] == n], means.get(n, ()))
        for n in names
    ]


def _bars(line: Mapping[str, Any], x: str, y: str, scales: tuple[float, float]) -> tuple[Any, ...]:
    """The mean of a line of the table with its intervals; none from a single seed, which knows no spread."""
    from conceptlib.reports.scatter import Bar

    at, up = line[x], line[y]
    if not at or not up or at["low"] is None or up["low"] is None:
        return ()
    ends = [(k * one["low"], k * one["high"]) for k, one in zip(scales, (at, up), strict=True)]
    return (Bar(scales[0] * at["value"], scales[1] * up["value"], *ends),)


def _pictures(result: Sweep, store: Store) -> Image.Image | None:
    """A band a recipe, for the first seed: the first caption of each target, and below it the first of a neighbour."""
    from conceptlib.reports.grid import Panel, grid

    done = {(r.cell.label, r.cell.target): r for r in result.runs if r.evaluation and r.cell.seed == result.spec.seed}
    recipes = list(dict.fromkeys(recipe for recipe, _ in done))
    targets = [target for target in result.spec.targets if all((recipe, target) in done for recipe in recipes)]
    if not (recipes and targets):
        return None
    captions: list[str] = []
    panels = []
    for heading, role, recipe in [("base", "base", recipes[0]), *((name, "checkpoint", name) for name in recipes)]:
        if not all(_drawn(done[recipe, target], role) for target in targets):
            continue
        try:
            pairs = [_examples(done[recipe, target], role, store) for target in targets]
        except ConceptlibError:  # the pictures were removed since
            return None
        shown = [pair[k] for k in (0, 1) for pair in pairs]
        captions = [caption for caption, _ in shown]
        panels.append(Panel(heading, "", [picture for _, picture in shown]))
    if not panels:
        return None
    named = any(find(run.scores(), "checkpoint", "target_accuracy") for run in done.values())
    which = "First captions that name what was erased, then one of a neighbour of each target" if named else "The first"
    footer = f"{which}{'' if named else ' two captions'}; nothing was picked by hand."
    columns = len(targets) if len(targets) > 3 else 2 * len(targets)
    return grid(panels, captions, title="Same caption, same seed", footer=footer, columns=columns, cell=110)


def _drawn(run: Run, role: str) -> bool:
    """Whether the run's suite has that subject."""
    return run.evaluation is not None and f"images:{role}" in run.evaluation.parents


def _examples(run: Run, role: str, store: Store) -> list[tuple[str, Image.Image]]:
    """Caption and image of a run's first row of the target and its first row of a neighbour; of its first two rows
    where no caption names a target.
    """
    from conceptlib.concepts.tables import ImageTable

    assert run.evaluation is not None  # the caller's choice
    score = find(run.scores(), "checkpoint", "target_accuracy")
    wanted = (0, score["n"] if score else 1)  # a probe's first rows are the target's
    images = ImageTable(store.get(run.evaluation.parents[f"images:{role}"], kind="images"))
    rows = enumerate(images.rows(columns=["image_id", "image", "caption"]))
    return [(row["caption"], images.decode(row)) for index, row in rows if index in wanted]


def recordable(result: Sweep, report: Report) -> dict[str, dict[str, Any]]:
    """What `specs.results.record` keeps of each recipe: of the first metric that should go and of the first that should
    stay (as a share of the base's) the mean over the targets it was run on and over seeds, and the range over seeds.
    Lines with overrides are left out, and so are recipes of which a run failed.
    """
    from conceptlib.specs.results import with_ranges

    down, up = table.wanted(_measured(report))
    kept = f"{up.removesuffix('_accuracy')}{table.OF_BASE}" if up else ""
    kept = kept if kept in table.columns(report.runs) else (up or "")
    runs = [
        row | {"name": run.cell.recipe} for run, row in zip(result.runs, report.runs, strict=True) if run.cell.plain
    ]
    found = {}
    for line in table.summarise(runs, ["name"]):
        own = [row for row in runs if row["name"] == line["name"]]
        if down and kept and not line["failed"] and line[down] and line[kept]:
            found[line["name"]] = {
                "base": result.spec.base,
                "suite": result.spec.suite,
                **with_ranges(target=table.by_seed(own, down), retain=table.by_seed(own, kept)),
                "metrics": {"target": _said(down), "retain": _said(kept)},
                "targets": line["targets"],
                "seeds": line["seeds"],
            }
    return found


def _said(column: str) -> dict[str, str]:
    """What a recorded number is of: the metric, and its unit."""
    return {"name": column, "unit": table.about(column).unit}
