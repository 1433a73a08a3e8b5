"""`conceptlib reproduce`: make an artifact again from its manifest, and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from conceptlib.cli import output

if TYPE_CHECKING:
    from conceptlib.reproduce import Reproduction


@click.command("reproduce", short_help="Make an artifact again, and compare.")
@click.argument("artifact")
@click.option(
    "--into", metavar="DIR", default=None, help="The folder of the new store. [default: reproduced/ID in the home]"
)
@click.option(
    "--source", metavar="PATH", default=None, help="What a dataset was built from, or a checkpoint imported from."
)
@output.dry_run_option
@output.device_option
@output.options
def cli(
    artifact: str, into: str | None, source: str | None, dry_run: bool, device: str | None, out: output.Output
) -> int:
    """Make ARTIFACT (a name, id, or a folder with a manifest) again in an empty store, with everything that it was made
    from, and compare ids and scores.

    \b
    Only manifests are read. What differs is told with its reasons: versions, device, lock. Stopped, the same command
    goes on. Exit status 1 where the id is another. Examples:
      conceptlib reproduce uce/object/erasure --dry-run
      conceptlib reproduce geom-erasing/qr/icd --into ./again
      conceptlib reproduce icd-photos --source ./photos
    """
    from conceptlib.reproduce import reproduce

    with out.progress() as progress:
        result = reproduce(artifact, into=into, source=source, dry_run=dry_run, device=device, progress=progress)
    last = result.steps[-1].made
    out.result(result.as_dict(), human=_for_people(result), quiet=last.id if last else None)
    return 0 if result.same is not False else 1


def _for_people(result: Reproduction) -> str:
    """A line an artifact, the reasons of each difference, and the scores that differ."""
    rows: list[dict[str, Any]] = [
        {"kind": step.was.kind, "name": step.was.name, "was": step.was.id, "made": step.made.id if step.made else None}
        | {"same": step.same}
        for step in result.steps
    ]
    dry = result.same is None
    parts = [output.render_table(rows, ["kind", "name", "was", *([] if dry else ["made", "same"])])]
    parts += [f"{step.was.ref}: {'; '.join(step.why)}" for step in result.steps if step.why]
    if result.scores:
        other = [row for row in result.scores if not row["same"]]
        parts.append(f"{len(result.scores) - len(other)} of {len(result.scores)} scores are equal")
        parts += [output.render_table(other, ["subject", "metric", "was", "now"])] if other else []
    parts.append(f"{'would be made' if dry else 'made'} in {result.into}")
    return "\n\n".join(parts)
