"""`conceptlib catalog`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from conceptlib.cli import output
from conceptlib.cli._which import kind_option, kind_option_of
from conceptlib.cli.output import Output

if TYPE_CHECKING:
    from conceptlib.catalog import Entry, Relative

_SHOWN = 20  # lines of one sort: more scroll away what was asked for
_LINES = 200  # of a lineage


@click.group("catalog", short_help="List, show and query all artifacts.")
def cli() -> None:
    """Every artifact, what it was made from and how it scored.

    The catalog is a DuckDB file beside the artifacts. It follows them by itself; deleting it loses nothing.
    """


@cli.command("ls", short_help="List artifacts, newest last.")
@click.argument("name", required=False)
@kind_option_of("Only this kind: dataset, detector, checkpoint, ...")
@click.option("--limit", type=click.IntRange(1, 10**9), metavar="N", help="Only the newest N.")
@output.options
def ls(out: Output, name: str | None, kind: str | None, limit: int | None) -> None:
    """List artifacts, the newest last. NAME may have a `*` for any characters.

    With `*` after its id: what the name means now, among its kind.

    \b
    conceptlib catalog ls
    conceptlib catalog ls --kind checkpoint "geom-erasing/*"
    """
    from conceptlib import catalog

    with out.progress() as progress:
        found = catalog.overview(kind, name, limit=limit, progress=progress)
    _warn_of(out, found.damaged)
    if out.mode == "human":
        columns = ["kind", "name", "id", "created", "size", "method", "concepts", "made from", "tags"]
        out.table([_row(entry) for entry in found.entries], columns, empty="no such artifact yet")
    else:
        out.table(found.entries, quiet="id")


def _row(entry: Entry) -> dict[str, Any]:
    """An entry for people: short ids and times, sizes with units."""
    source, at, identity = (entry.made_from or "").rpartition("@")
    return {
        "kind": entry.kind,
        "name": entry.name,
        "id": f"{entry.id} {'*' if entry.newest else ' '}",
        "created": entry.created[:16].replace("T", " "),
        "size": _bytes(entry.size),
        "method": entry.method,
        "concepts": entry.concepts,
        "made from": f"{source}{at}{identity[:8]}",
        "tags": entry.tags,
    }


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def _warn_of(out: Output, damaged: Mapping[str, str]) -> None:
    """A line for each artifact that cannot be read, the first ones of many."""
    for folder, problem in list(damaged.items())[:_SHOWN]:
        out.warn(f"{folder}: {problem}")
    if len(damaged) > _SHOWN:
        more = len(damaged) - _SHOWN
        out.warn(f'{more} more cannot be read: conceptlib catalog query "FROM damaged"')


@cli.command("show", short_help="Show an artifact and its lineage.")
@click.argument("ref", metavar="ARTIFACT")
@kind_option
@output.options
def show(out: Output, ref: str, kind: str | None) -> None:
    """Show an artifact, what it was made from, what was made from it, and its scores.

    ARTIFACT is a name (its newest), name@id, an id or the first digits of one, or a folder.

    \b
    conceptlib catalog show geom-erasing/qr
    conceptlib catalog show icd-qr@3f2a --json
    """
    from conceptlib import catalog

    with out.progress() as progress:
        shown = catalog.show(ref, kind, progress=progress)
    artifact = shown.artifact
    data = {"path": str(artifact.path), **artifact.manifest.model_dump(mode="json")}
    data |= {"ancestors": shown.ancestors, "descendants": shown.descendants, "scores": list(shown.scores)}
    head = ["kind", "name", "id", "created", "seconds", "path"]
    lines = [f"{key:<8} {output.format_cell(data[key])}" for key in head]
    lines += [f"{'files':<8} {len(artifact.files)}, {artifact.size / 1e6:.1f} MB"]
    lines += [
        "",
        "info",
        *(f"  {output.format_cell(key)}: {output.format_cell(one)}" for key, one in artifact.info.items()),
    ]
    lines += ["", "made from", *_tree(shown.ancestors), "", "used for", *_tree(shown.descendants)]
    if shown.scores:
        columns = ["evaluation", "subject", "metric", "value", "low", "high", "n", "concepts", "steps", "seed"]
        table = output.render_table(shown.scores, columns)
        lines += ["", "scores", *(f"  {line}" for line in table.splitlines())]
    out.result(data, human="\n".join(lines), quiet=artifact.id)


def _tree(relatives: tuple[Relative, ...]) -> list[str]:
    """One line a relative, indented by its distance; of very many the first."""
    lines = [
        f"{'  ' * one.depth}{one.kind or 'not in the store:'} {(one.name or '') + '@' if one.name else ''}{one.id}"
        f"  ({one.role})"
        for one in relatives[:_LINES]
    ]
    if len(relatives) > _LINES:
        lines.append(f"  and {len(relatives) - _LINES} more: --json lists all")
    return lines or ["  nothing"]


@cli.command("query", short_help="Ask the catalog in SQL.")
@click.argument("sql")
@output.options
def query(out: Output, sql: str) -> None:
    """Run SQL (DuckDB's) on the catalog, read-only. `-` reads it from standard input.

    \b
    Tables: artifacts, parents, files, scores, damaged.
    Views:  datasets, detectors, annotation_sets, checkpoints, evaluations, lineage.
    conceptlib catalog query "SELECT kind, count(*) AS n FROM artifacts GROUP BY kind"
    conceptlib catalog query "SELECT name, metric, value, low, high FROM scores JOIN checkpoints
                              ON checkpoint_id = id WHERE subject = 'checkpoint' ORDER BY value"
    conceptlib catalog query "DESCRIBE scores"
    """
    from conceptlib import catalog

    if sql == "-":
        sql = sys.stdin.read()
    with out.progress() as progress:
        table = catalog.query(sql, progress=progress)
    out.table(table.dicts(), list(table.columns), empty="no rows")


@cli.command("leaderboard", short_help="Rank checkpoints by a metric.")
@click.argument("metric", default="concept_rate")
@click.option("--concept", metavar="NAME", help="Only scores of this concept.")
@click.option("--suite", metavar="NAME", help="Only scores by this suite.")
@click.option("--descending/--ascending", default=None, help="The largest or smallest first, instead of the better.")
@click.option("--mixed", is_flag=True, help="One ranking, also of what cannot be compared.")
@click.option("--limit", type=click.IntRange(0), default=20, metavar="N", help="The best N a group (20); 0: all.")
@output.options
def leaderboard(
    out: Output,
    metric: str,
    concept: str | None,
    suite: str | None,
    descending: bool | None,
    mixed: bool,
    limit: int,
) -> None:
    """Rank the checkpoints by METRIC (concept_rate if none is given), the best first; `base` is the model before.

    Only scores that can be compared are ranked together: of one suite and version, the same concepts, the same way of
    drawing, the same detector. Each such group has a ranking of its own. A checkpoint's largest evaluation counts.

    \b
    conceptlib catalog leaderboard
    conceptlib catalog leaderboard caption_accuracy --concept qr-code
    """
    from conceptlib import catalog
    from conceptlib.catalog.leaderboard import better

    with out.progress() as progress:
        found = catalog.leaderboard(
            metric,
            concept=concept,
            suite=suite,
            descending=descending,
            mixed=mixed,
            limit=limit or None,
            progress=progress,
        )
    rows = found.dicts()
    groups = max(row["group"] for row in rows)
    columns = ["rank", "checkpoint", "checkpoint_id", "concepts", "value", "low", "high", "n", "base"]
    columns += ["suite", "steps", "guidance_scale", "seed", "trained_seed", "detector"]
    out.table(rows, ["group", *columns] if groups > 1 else columns, quiet="checkpoint_id")
    _tell_of_more(out, rows, mixed)
    if groups > 1 and mixed:
        out.warn(f"this ranks scores of {groups} groups, which cannot be compared")
    elif groups > 1:
        out.note(f"{groups} groups, each ranked by itself: suite, concepts, drawing or detector differ between them")
    if descending is None and better(metric) is None:
        out.note(f"which way {metric} is better is not known: the smallest comes first (--descending turns it)")


def _tell_of_more(out: Output, rows: list[dict[str, Any]], mixed: bool) -> None:
    """A line where a leaderboard is longer than what is listed: also for scripts, which may want all."""
    ranked = rows[0]["ranked"] if mixed else sum(row["ranked"] for row in rows if row["rank"] == 1)
    if ranked > len(rows):
        say = out.warn if out.mode == "quiet" else out.note
        say(f"{len(rows)} of {ranked:,} are listed, the best of each group: --limit 0 lists all")


@cli.command("reindex", short_help="Build the catalog anew.")
@output.options
def reindex(out: Output) -> None:
    """Build the catalog from nothing but the artifacts' manifests.

    \b
    conceptlib catalog reindex
    """
    from conceptlib import catalog

    with out.progress() as progress:
        report = catalog.reindex(progress=progress)
    _warn_of(out, report.damaged)
    data = {"artifacts": report.artifacts, "damaged": report.damaged, "path": report.path}
    out.result(data, human=f"{report.artifacts} artifacts indexed in {report.path}", quiet=report.artifacts)
