"""`conceptlib sweep`: recipes x targets x seeds in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from conceptlib.cli import output

if TYPE_CHECKING:
    from conceptlib.sweeps.cells import Found
    from conceptlib.sweeps.report import Report


@click.command("sweep", short_help="Compare recipes over targets and seeds.")
@click.argument("spec")
@output.overrides_argument
@click.option("--out", "folder", metavar="DIR", default="sweeps", show_default=True, help="Where the table goes.")
@click.option("--record", "recording", is_flag=True, help="Put the results beside the recipes, for `recipes ls`.")
@output.dry_run_option
@output.device_option
@output.dtype_option
@output.options
def cli(
    spec: str, overrides: tuple[str, ...], folder: str, recording: bool, dry_run: bool, out: output.Output, **where: Any
) -> int:
    """Erase every target of SPEC (a name or file) by every recipe from every seed, evaluate each, and write one table:
    Markdown, JSON, CSV, and plots.

    \b
    What is in the store is not made again, so the same command goes on after a stop, and takes up added recipes.
    A run that fails is told and the others go on; the exit status is 1 then. Examples:
      conceptlib sweep methods --dry-run
      conceptlib sweep methods --out docs/sweeps --record
      conceptlib sweep methods seeds=1 "targets=[star]" "recipes=[esd/object, esd/object steps=50]"
    """
    from conceptlib.specs import load_spec
    from conceptlib.specs.results import record
    from conceptlib.store import Store
    from conceptlib.sweeps import report, run
    from conceptlib.sweeps.cells import found

    store, loaded = Store(), load_spec("sweep", spec, overrides)
    if dry_run:
        _plan(out, found(loaded, store, **where))
        return 0
    with out.progress() as progress:
        result = run.sweep(loaded, store=store, progress=progress, on_run=lambda one: _tell(out, one), **where)
    written = report.write(result, folder, store)
    if recording:
        out.note(f"recorded in {record(report.recordable(result, written))}")
    _show(out, written)
    return 1 if result.failed else 0


def _tell(out: output.Output, run: Any) -> None:
    if run.error:
        out.warn(f"{run.cell} failed: {run.error}")


def _plan(out: output.Output, cells: list[Found]) -> None:
    """What there is to do, and what is there."""
    rows = [cell.as_dict() for cell in cells]
    done = sum(row["evaluation"] is not None for row in rows)
    out.table(rows, ["cell", "recipe", "checkpoint", "evaluation"])
    out.note(f"{len(rows)} runs, {done} done, {sum(row['checkpoint'] is not None for row in rows) - done} erased only")


def _show(out: output.Output, report: Report) -> None:
    from conceptlib.sweeps.table import cell, heading, shown

    metrics = {heading(name): name for name in shown(report.runs)}
    rows = [
        {"recipe": line["recipe"]} | {h: cell(line.get(name), name) for h, name in metrics.items()}
        for line in report.lines
    ]
    human = output.render_table(rows, ["recipe", *metrics])
    files = "\n".join(str(path) for path in report.files)
    out.result(report.as_dict(), human=f"{human}\n\n{files}", quiet=files)
