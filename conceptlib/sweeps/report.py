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
from conceptlib.store import Store
from conceptlib.store.files import atomic_path, atomic_write
from conceptlib.sweeps import table
from conceptlib.sweeps.run import Run, Sweep, measurements, neighbours

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
    runs = [measurements(run, store) for run in result.runs]
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
    lines = [*([base] if base else []), *report.lines]
    parts = [
        f"# Sweep {spec.name}",
        spec.description,
        f"Written by `conceptlib sweep {spec.name}`: {len(spec.recipes)} recipes x {len(spec.targets)} targets "
        f"({', '.join(spec.targets)}) x {spec.seeds} seeds on `{spec.base}`, {len(result.runs)} runs, suite "
        f"`{spec.suite}` ({' '.join(spec.evaluate) or 'as it is'}). Every recipe draws the same captions from the same "
        "seeds. *Target accuracy* is the share of pictures whose caption names what was erased in which it is still "
        "recognised. *Retain* is the share in which other words are: in-domain the other words of the same attribute, "
        "cross-domain the other attributes. A value is the mean over targets, then over seeds; behind ± is the 95 % "
        "interval by Student's t over the seeds.",
        table.markdown(lines, ["recipe"]),
    ]
    if "retain" in plots:
        parts.append(f"![target accuracy against retain accuracy, one point a run]({plots['retain']})")
    parts += ["## Each target", table.markdown(report.by_target, ["recipe", "target"])]
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
        accuracies = [f"{100 * own[recipe]['accuracy']:.0f}" if recipe in own else "—" for recipe in recipes]
        body.append([target, neighbour, distance, f"{100 * any_row['base']:.0f}", *accuracies])
    return markdown_table(["erased", "neighbour", "distance", "base", *recipes], body)


def _retain_plot(report: Report) -> Image.Image | None:
    from conceptlib.reports.scatter import Series, scatter

    measured = [row for row in report.runs if row["target_accuracy"] is not None]
    if not measured:
        return None
    before = {(100 * row["base_target_accuracy"], 100 * row["base_retain_accuracy"]) for row in measured}
    return scatter(
        [Series("base", sorted(before)), *_series(measured, "target_accuracy", "retain_accuracy", bars=report.lines)],
        title="One point a run, whiskers: 95 % intervals of the means over seeds; what is wanted is top left",
        x="target accuracy, % (lower is better)",
        y="in-domain retain accuracy, % (higher is better)",
        x_range=(-3, 103),
        y_range=(-3, 103),
    )


def _distance_plot(report: Report) -> Image.Image | None:
    from conceptlib.reports.scatter import scatter

    placed = [row for row in report.neighbours if row["distance"] is not None]
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
    rows: Sequence[Mapping[str, Any]], x: str, y: str, scale_x: float = 100, bars: Sequence[Mapping[str, Any]] = ()
) -> list[Any]:
    """A series a recipe. bars: lines of `table.summarise`, whose intervals are drawn."""
    from conceptlib.reports.scatter import Series

    names = list(dict.fromkeys(row["recipe"] for row in rows))
    means = {line["recipe"]: _bars(line, x, y) for line in bars}
    return [
        Series(n, [(scale_x * row[x], 100 * row[y]) for row in rows if row["recipe"] == n], means.get(n, ()))
        for n in names
    ]


def _bars(line: Mapping[str, Any], x: str, y: str) -> tuple[Any, ...]:
    """The mean of a line of the table with its intervals in percent; none from a single seed, which knows no spread."""
    from conceptlib.reports.scatter import Bar

    at, up = line[x], line[y]
    if not at or not up or at["low"] is None or up["low"] is None:
        return ()
    ends = [(100 * one["low"], 100 * one["high"]) for one in (at, up)]
    return (Bar(100 * at["value"], 100 * up["value"], *ends),)


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
        try:
            pairs = [_examples(done[recipe, target], role, store) for target in targets]
        except ConceptlibError:  # the pictures were removed since
            return None
        shown = [pair[k] for k in (0, 1) for pair in pairs]
        captions = [caption for caption, _ in shown]
        panels.append(Panel(heading, "", [picture for _, picture in shown]))
    footer = (
        "First captions that name what was erased, then one of a neighbour of each target; nothing was picked by hand."
    )
    columns = len(targets) if len(targets) > 3 else 2 * len(targets)
    return grid(panels, captions, title="Same caption, same seed", footer=footer, columns=columns, cell=110)


def _examples(run: Run, role: str, store: Store) -> list[tuple[str, Image.Image]]:
    """Caption and picture of a run's first row of the target and its first row of a neighbour."""
    from conceptlib.concepts.tables import ImageTable
    from conceptlib.reports.tables import find

    assert run.evaluation is not None  # the caller's choice
    score = find(run.scores(), "checkpoint", "target_accuracy")
    wanted = (0, score["n"] if score else 0)  # a probe's first rows are the target's
    images = ImageTable(store.get(run.evaluation.parents[f"images:{role}"], kind="images"))
    rows = enumerate(images.rows(columns=["image_id", "image", "caption"]))
    return [(row["caption"], images.decode(row)) for index, row in rows if index in wanted]


def recordable(result: Sweep, report: Report) -> dict[str, dict[str, Any]]:
    """What `specs.results.record` keeps of each recipe: means over the targets it was run on and over seeds, and the
    range over seeds. Lines with overrides are left out, and so are recipes of which a run failed.
    """
    from conceptlib.specs.results import with_ranges

    runs = [
        row | {"name": run.cell.recipe} for run, row in zip(result.runs, report.runs, strict=True) if run.cell.plain
    ]
    found = {}
    for line in table.summarise(runs, ["name"]):
        own = [row for row in runs if row["name"] == line["name"]]
        if not line["failed"] and line["target_accuracy"] and line["retain_of_base"]:
            found[line["name"]] = {
                "base": result.spec.base,
                "suite": result.spec.suite,
                **with_ranges(
                    target=table.by_seed(own, "target_accuracy"), retain=table.by_seed(own, "retain_of_base")
                ),
                "targets": line["targets"],
                "seeds": line["seeds"],
            }
    return found
