"""`conceptlib catalog`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output

if TYPE_CHECKING:
    from conceptlib.catalog import Relative

_KINDS = ["dataset", "images", "annotations", "detector", "checkpoint", "evaluation"]


@click.group("catalog", short_help="List, show and query all artifacts.")
def cli() -> None:
    """Every artifact, what it was made from and how it scored.

    The catalog is a DuckDB file beside the artifacts. It follows them by itself; deleting it loses nothing.
    """


@cli.command("ls", short_help="List artifacts, newest last.")
@click.argument("name", required=False)
@click.option("--kind", type=click.Choice(_KINDS), help="Only this kind.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@output.options
def ls(out: Output, name: str | None, kind: str | None, limit: int | None) -> None:
    """List artifacts, newest last. NAME may have a `*` for any characters.

    \b
    conceptlib catalog ls
    conceptlib catalog ls --kind checkpoint "geom-erasing/*"
    """
    from conceptlib import catalog

    with out.progress() as progress:
        report = catalog.refresh(progress=progress)
    for folder, problem in report.damaged.items():
        out.warn(f"{folder}: {problem}")
    entries = catalog.ls(kind, name, limit=limit)
    out.table(entries, ["kind", "name", "id", "created", "size"], quiet="id", empty="no such artifact yet")


@cli.command("show", short_help="Show an artifact and its lineage.")
@click.argument("ref", metavar="ARTIFACT")
@click.option("--kind", type=click.Choice(_KINDS), help="Where several kinds share the name.")
@output.options
def show(out: Output, ref: str, kind: str | None) -> None:
    """Show an artifact, what it was made from, what was made from it, and its scores.

    ARTIFACT is a name (its newest), name@id, an id or the first digits of one, or a folder.

    \b
    conceptlib catalog show geom-erasing/qr
    conceptlib catalog show icd-qr@3f2a --json
    """
    from conceptlib import catalog

    shown = catalog.show(ref, kind)
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
        table = output.render_table(shown.scores, ["evaluation", "subject", "metric", "value", "low", "high", "n"])
        lines += ["", "scores", *(f"  {line}" for line in table.splitlines())]
    out.result(data, human="\n".join(lines), quiet=artifact.id)


def _tree(relatives: tuple[Relative, ...]) -> list[str]:
    """One line a relative, indented by its distance."""
    lines = [
        f"{'  ' * one.depth}{one.kind or 'not in the store:'} {(one.name or '') + '@' if one.name else ''}{one.id}"
        f"  ({one.role})"
        for one in relatives
    ]
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
    table = catalog.query(sql)
    out.table(table.dicts(), list(table.columns), empty="no rows")


@cli.command("leaderboard", short_help="Rank checkpoints by a metric.")
@click.argument("metric", default="concept_rate")
@click.option("--descending", is_flag=True, help="The largest value first, as for an accuracy.")
@output.options
def leaderboard(out: Output, metric: str, descending: bool) -> None:
    """Rank the checkpoints by METRIC (concept_rate if none is given), the best first; `base` is the model before.

    \b
    conceptlib catalog leaderboard
    conceptlib catalog leaderboard caption_accuracy --descending
    """
    from conceptlib import catalog

    table = catalog.leaderboard(metric, descending=descending)
    out.table(table.dicts(), list(table.columns), quiet="checkpoint_id")


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
    for folder, problem in report.damaged.items():
        out.warn(f"{folder}: {problem}")
    data = {"artifacts": report.artifacts, "damaged": report.damaged, "path": report.path}
    out.result(data, human=f"{report.artifacts} artifacts indexed in {report.path}", quiet=report.artifacts)
