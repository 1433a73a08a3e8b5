"""`conceptlib publish`: send an artifact to the Hub, or to a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from conceptlib.cli import output
from conceptlib.cli._which import kind_option

if TYPE_CHECKING:
    from conceptlib.hub.publish import PublishResult


@click.command("publish", short_help="Publish to the Hugging Face Hub or a folder.")
@click.argument("artifact")
@click.option(
    "--to",
    "target",
    metavar="ORG/NAME|DIR",
    required=True,
    help="ORG/NAME or hf://ORG/NAME on the Hub; ./DIR or /DIR for a folder.",
)
@kind_option
@output.dry_run_option
@click.option("--private", is_flag=True, help="Make the repository private when it is created.")
@click.option(
    "--gated",
    type=click.Choice(["auto", "manual"]),
    default=None,
    help="Readers have to ask for access; auto is the default for unsafe data.",
)
@click.option("--license", metavar="ID", default=None, help="A licence id of the Hub, such as apache-2.0.")
@click.option("--tag", metavar="NAME", default=None, help="Tag of the published version; v-<artifact id> by default.")
@output.options
def cli(artifact: str, target: str, dry_run: bool, out: output.Output, **options: Any) -> None:
    """Publish a dataset, a checkpoint or a detector, with its card, and verify what arrived.

    \b
    Examples:
      conceptlib publish icd-qr --to ORG/icd-qr --dry-run      the files and the card; no request is made
      conceptlib publish icd-qr --to ORG/icd-qr                to the Hub (`hf auth login` first)
      conceptlib publish geom-erasing/qr --to ./no-qr          the same files in a folder

    The same command again sends nothing; after a failure it sends what is missing. "published" means read back and
    compared by hash.
    """
    from conceptlib.hub.publish import publish

    with out.progress() as progress:
        result = publish(artifact, target, dry_run=dry_run, progress=progress, **options)
    out.result(result.as_dict(), human=_for_people(result), quiet=result.url)
    for note in result.notes:
        out.warn(note)


def _for_people(result: PublishResult) -> str:
    """One line about what happened; of a dry run the files and the card too."""
    size = _size(sum(file.size for file in result.files))
    if result.status != "dry-run":
        version = f", tag {result.tag} at {result.revision[:12]}" if result.revision else ""
        verb = "published and verified" if result.status == "published" else "unchanged, already there"
        gate = f", gated: {result.gated}" if result.gated else ""
        return f"{verb}: {result.url} ({len(result.files)} files, {size}{version}{gate})"
    rows = [{"path": file.path, "bytes": file.size, "sha256": file.sha256[:12]} for file in result.files]
    tag = f", tag {result.tag}" if result.tag else ""
    tag += f", gated: {result.gated}" if result.gated else ""
    files = output.render_table(rows, ["path", "bytes", "sha256"])
    return f"{files}\n\nwould publish {len(rows)} files, {size}, to {result.url}{tag}\n\n{result.card}"


def _size(count: int) -> str:
    """Bytes for people: three digits."""
    if count < 1000:
        return f"{count} bytes"
    size, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"
