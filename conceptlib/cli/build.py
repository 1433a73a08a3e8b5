"""`conceptlib build`: make a dataset from a spec."""

from __future__ import annotations

import click

from conceptlib.cli import output


@click.command("build", short_help="Build a dataset with its exact geometry.")
@click.argument("name")
@output.overrides_argument
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Processes; one a processor by default, at most 8."
)
@output.options
def cli(name: str, overrides: tuple[str, ...], workers: int | None, out: output.Output) -> None:
    """Build the dataset NAME (a spec's name or file) and its exact geometry, the annotation set `truth`.

    \b
    Built before, it is found, not built again; stopped, the same command goes on. Examples:
      conceptlib build icd-qr
      conceptlib build icd-qr rows=500 rate=0.3
      conceptlib build icd-qr source=my-photos/                # captions: metadata.jsonl, metadata.csv or NAME.txt
      conceptlib build icd-qr source=org/name caption_column=text qr.version=[1,4]
      conceptlib build icd-qr source=shards/ resize=buckets    # WebDataset tars; also a .zip or .parquet file
      conceptlib build icd-public file=ICD.zip                 # the public ICD, once you have it
    """
    from conceptlib.concepts.build import build, truth_of

    with out.progress() as progress:
        artifact = build(name, overrides=overrides, workers=workers, progress=progress)
    info = artifact.info
    summary = {
        "id": artifact.id,
        "name": artifact.name,
        "rows": info["rows"],
        "polluted": info["polluted"],
        "polluted_share": info["polluted_share"],
        "read": info["read"],
        "rejected": info["rejected"],
        "rejects": info["rejects"],
        "overlay_rejects": info["overlay_rejects"],
    }
    summary |= {key: info[key] for key in ("captions", "duplicates", "reused") if key in info}
    if (artifact.path / "truth").is_dir():
        summary["truth"] = truth_of(artifact).id
    summary["path"] = artifact.path
    shown = {
        key: ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        for key, value in summary.items()
    }
    human = "\n".join(f"{key:<15}  {output.format_cell(value)}" for key, value in shown.items())
    out.result(summary, human=human, quiet=artifact.id)
    if info["rejected"] or info["overlay_rejects"]:
        out.note(f"what was left out, and why: {artifact.path / 'rejects.jsonl'}")
