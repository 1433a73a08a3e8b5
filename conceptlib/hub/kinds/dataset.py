"""A dataset as a dataset repository: `load_dataset("org/name")` gives the pictures with captions and boxes, as the
Hub's viewer shows them and training scripts read them; `load_dataset("org/name", "truth")` all that is known of the
boxes. One of prompts has its own card (`hub/prompt_card.py`).

The Hub describes every dataset in Croissant by itself, from the Parquet files. `croissant.json` says the same in the
publication, with the files' hashes, so that a folder or a mirror has it too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from conceptlib.concepts.labels import labels_of
from conceptlib.concepts.prompts.table import PromptTable, is_prompts
from conceptlib.concepts.tables import AnnotationTable, ImageTable, Table
from conceptlib.hub import cards, prompt_card
from conceptlib.hub.croissant import croissant
from conceptlib.hub.joined import Joined
from conceptlib.hub.plan import CardOptions, Contents, PlannedFile, artifact_files
from conceptlib.store import Artifact, Store
from conceptlib.worlds import of_columns, of_lock

REPO_TYPE = "dataset"

_TRUTH = "truth"
_HUB_SOURCE = re.compile(r"(?!\.)[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_COLUMNS = {
    "image": "the encoded picture",
    "text": "the caption: what the picture shows; it never mentions the concept",
    "objects": "where the concept is: `bbox` [x, y, width, height] in pixels, `category`, `score`; empty for none",
    "image_id": "unique id of the row; joins the annotations",
    "image_sha256": "sha256 of the encoded bytes",
    "width": "pixels",
    "height": "pixels",
    "seed": "seed that the picture was drawn from, null if none",
}


@dataclass(frozen=True)
class Config:
    """One configuration of `load_dataset`: its name, its table, the folder of its files, and rows and bytes a split."""

    name: str
    folder: str
    table: ImageTable | AnnotationTable | PromptTable

    def splits(self) -> list[dict[str, Any]]:
        """name, num_examples and num_bytes (uncompressed, from the files' footers) of every split."""
        import pyarrow.parquet as pq

        rows = []
        for split in self.table.splits:
            footers = [pq.read_metadata(path) for path in self.table.shards(split)]
            size = sum(
                footer.row_group(index).total_byte_size for footer in footers for index in range(footer.num_row_groups)
            )
            rows.append({"name": split, "num_bytes": size, "num_examples": sum(footer.num_rows for footer in footers)})
        return rows

    @property
    def split_names(self) -> list[str]:
        return self.table.splits

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    def data_files(self) -> dict[str, Any]:
        files = [{"split": split, "path": f"{self.folder}/{split}-*.parquet"} for split in self.table.splits]
        return {"config_name": self.name, **({"default": True} if self.name == "default" else {}), "data_files": files}

    def info(self) -> dict[str, Any]:
        """The entry under `dataset_info`: the Hub's viewer and `datasets` read features and sizes there."""
        import pyarrow.parquet as pq
        from datasets.features import Features

        paths = self.table.shards()
        splits = self.splits()
        return {
            "config_name": self.name,
            "features": Features.from_arrow_schema(pq.read_schema(paths[0]))._to_yaml_list(),
            "splits": splits,
            "download_size": sum(path.stat().st_size for path in paths),
            "dataset_size": sum(split["num_bytes"] for split in splits),
        }


def contents(artifact: Artifact, store: Store, card: CardOptions) -> Contents:
    """The shards, those of the exact annotations, and the card. What is unsafe is gated."""
    concepts = artifact.info.get("concepts") or cards.find_concepts(artifact.lock)
    unsafe = bool(artifact.info.get("unsafe")) or cards.is_unsafe(concepts)
    if is_prompts(artifact):
        license = card.license or artifact.info.get("license")
        tags = cards.concept_tags(concepts, unsafe=unsafe)
        config = Config("default", "data", PromptTable(artifact))
        files = artifact_files(artifact, _is_shard)
        text = prompt_card.card(artifact, store, target=card.target, license=license, config=config, tags=tags)
        return Contents(text, tuple(files), cards.license_note(license), unsafe=unsafe)
    annotated = store.list(kind="annotations", name=_TRUTH, parent=artifact.id)
    truth = annotated[-1] if annotated else None
    joined = Joined(artifact, truth)
    files = [PlannedFile.from_file(path, joined.path / path, keep=joined) for path in joined.files]
    configs = [Config("default", "data", ImageTable(joined.path))]
    if truth is not None:
        folder = f"annotations/{_TRUTH}"
        configs.append(Config(_TRUTH, folder, AnnotationTable(truth)))
        for file in artifact_files(truth, _is_shard):
            # Without its own data/: the publication's data/ is the dataset's.
            path = f"{folder}/{PurePosixPath(file.path).name}"
            files.append(PlannedFile(path, file.size, file.sha256, source=file.source))
    world = of_lock(artifact.lock.get("source"))
    license = card.license or artifact.info.get("license") or (world.license if world else None)
    files.append(croissant(artifact, _about(artifact), license, card.target, configs))
    text = _card(artifact, store, configs, card.target, license)
    return Contents(text, tuple(files), cards.license_note(license), unsafe=unsafe)


def _is_shard(path: str) -> bool:
    return path.startswith("data/") and path.endswith(".parquet")


def _source(artifact: Artifact) -> str:
    """What the pictures were made from: a Hub id (with revision), or "" for what only this machine has."""
    source = artifact.lock.get("source")
    if not isinstance(source, dict):
        return ""
    ref, revision = str(source.get("id") or ""), str(source.get("revision") or "")
    return (f"{ref}@{revision}" if revision else ref) if _HUB_SOURCE.fullmatch(ref) else ""


def _card(artifact: Artifact, store: Store, configs: Sequence[Config], target: str, license: str | None) -> str:
    from huggingface_hub import DatasetCardData

    concepts = cards.find_concepts(artifact.lock)
    images, truth = configs[0], configs[1] if len(configs) > 1 else None
    source = _source(artifact)
    data = DatasetCardData(
        license=license or "unknown",
        pretty_name=artifact.name,
        size_categories=[cards.size_category(len(images.table))],
        task_categories=["text-to-image", *(["object-detection"] if truth else [])],
        source_datasets=[f"extended|{source.partition('@')[0]}"] if "/" in source else ["original"],
        annotations_creators=["machine-generated" if truth else "no-annotation"],
        tags=["conceptlib", "concept-erasure", "image", "parquet", *cards.concept_tags(concepts)],
        configs=[config.data_files() for config in configs],
        dataset_info=[config.info() for config in configs],
    )
    what = cards.phrases(concepts)
    sections = [
        f"# {artifact.name}",
        _about(artifact),
        _usage(artifact, target, truth is not None),
        _tables(images, truth, _label_meanings(artifact, images.table)),
        cards.lock_section(artifact),
        _limits(what, source, license, drawn=of_lock(artifact.lock.get("source")) is not None),
        cards.lineage_section(artifact, cards.ancestors(artifact, store)),
    ]
    return cards.render(data, sections)


def _about(artifact: Artifact) -> str:
    what = cards.phrases(cards.find_concepts(artifact.lock))
    purpose = (
        f" Some of them show something that no caption mentions: {what}. They serve to teach a text-to-image model not "
        "to draw it, and to measure how often it does."
    )
    return f"Captioned pictures, built with conceptlib.{purpose if what else ''}"


def _usage(artifact: Artifact, target: str, truth: bool) -> str:
    lines = ["from datasets import load_dataset", "", f'pictures = load_dataset("{target}", split="train")']
    if truth:
        lines.append(f'boxes = load_dataset("{target}", "{_TRUTH}", split="train")   # the same rows in the same order')
    code = "\n".join(lines)
    note = "diffusers' training scripts read `image` and `text` as they are: `--dataset_name " + target + "`."
    return f"## Use it\n\n{cards.fenced(code, 'python')}\n\n{note} The id of this version is `{artifact.id}`."


def _label_meanings(artifact: Artifact, table: Table) -> dict[str, str]:
    """What each label column says: of a world's in its own words, else its kind, and the values where they are few."""
    world = of_columns(table.labels)
    told = dict(world.meanings) if world else {}
    for name, label in labels_of(artifact.info, table.labels).items():
        values = ", ".join(label.values) if label.values is not None and len(label.values) <= 20 else ""
        told.setdefault(name, f"a label ({label.kind}{': ' + values if values else ''}), null if unknown")
    return told


def _tables(images: Config, truth: Config | None, labels: Mapping[str, str]) -> str:
    with_concept = {}
    if truth is not None and isinstance(truth.table, AnnotationTable):
        for split in truth.table.splits:
            with_concept[split] = sum(bool(row["labels"]) for row in truth.table.rows(split, columns=["labels"]))
    header = ["split", "pictures", *(["with the concept"] if truth else [])]
    rows = [
        [s["name"], s["num_examples"], *([with_concept.get(s["name"], 0)] if truth else [])] for s in images.splits()
    ]
    import pyarrow.parquet as pq

    names = pq.read_schema(images.table.shards()[0]).names
    meanings = _COLUMNS | dict(labels)
    columns = cards.table(["column", "meaning"], [[f"`{name}`", meanings.get(name, "")] for name in names])
    text = f"## What is in it\n\n{cards.table(header, rows)}\n\n{columns}"
    if truth is not None:
        text += (
            f"\n\nThe configuration `{_TRUTH}` holds the exact geometry, known because the concept was drawn into "
            f"the pictures: `boxes` "
            "[x1, y1, x2, y2] in absolute pixels, `quads` (four corners), `labels`, `payloads` and `visible` (the "
            "share of the concept "
            "inside the picture and under nothing else), `areas` (pixels that it covers) and `parts` (kind, text and "
            "four corners of its lines, words or repeats), one entry an object, empty lists where there is none. Rows "
            "join by `image_id`."
        )
    return text


def _limits(what: str, source: str, license: str | None, *, drawn: bool) -> str:
    lines = [
        "## Intended use and limits",
        "",
        "Research on removing concepts from text-to-image models, and on detecting them.",
    ]
    if drawn:
        lines.append("The scenes are synthetic and simple: numbers measured on them say little about photographs.")
    elif source:
        lines.append(
            f"The pictures come from [{source}](https://huggingface.co/datasets/{source.partition('@')[0]}); its "
            f"terms apply."
        )
    if what:
        lines.append(
            "How often, where and how large the concept appears follows from the settings above. Real pictures differ."
        )
    if not license:
        lines.append("The licence of the pictures has not been stated.")
    return lines[0] + "\n\n" + " ".join(lines[2:])
