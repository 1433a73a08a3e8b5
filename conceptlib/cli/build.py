"""`conceptlib build`: make a dataset from a spec."""

from __future__ import annotations

import click

from conceptlib.cli import output


@click.command("build", short_help="Build a dataset from its spec.")
@click.argument("name")
@output.overrides_argument
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many processes; by default one for each core, at most 8 (ray: one for each CPU of the cluster).",
)
@output.engine_option
@output.options
def cli(name: str, overrides: tuple[str, ...], workers: int | None, engine: str, out: output.Output) -> None:
    """Build the dataset NAME (a spec's name or file). A dataset of images comes with its exact geometry, the
    annotation set `truth`. NAME@CONDITION builds a subset of a dataset of prompts.

    \b
    A dataset that was built before is found, not built again. A build that was stopped continues. Examples:
      conceptlib build icd-qr
      conceptlib build icd-qr rows=500 rate=0.3
      conceptlib build icd-qr source=my-photos/                # captions: metadata.jsonl, metadata.csv or NAME.txt
      conceptlib build icd-qr source=org/name caption_column=text 'qr.version=[1,4]'
      conceptlib build i2p source=i2p.csv                      # or .parquet, or ORG/NAME; by default from the Hub
      conceptlib build 'i2p@nudity>50'                         # a category, or any SQL condition
      conceptlib build icd-qr source=shards/ resize=buckets    # WebDataset tars; also a .zip or .parquet file
      conceptlib build icd-public file=ICD.zip                 # the public ICD, once you have it
      conceptlib build icd-qr-photos source=photos --engine ray
    """
    from conceptlib.concepts.build import build, summary

    with out.progress() as progress:
        artifact = build(name, overrides=overrides, workers=workers, engine=engine, progress=progress)
    told = summary(artifact)
    shown = {
        key: ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        for key, value in told.items()
    }
    human = "\n".join(f"{key:<15}  {output.format_cell(value)}" for key, value in shown.items())
    out.result(told, human=human, quiet=artifact.id)
    if told.get("rejected") or told.get("overlay_rejects"):
        out.note(f"what was left out, and why: {artifact.path / 'rejects.jsonl'}")
    if differs := artifact.info.get("differs"):
        out.note(f"not all of the published dataset: {'; '.join(differs)}")
