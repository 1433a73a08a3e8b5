"""The card of a prompt dataset: what I2P is, its counts, and what a reader agrees to. It quotes no prompt."""

from __future__ import annotations

from typing import Any

from conceptlib.concepts.prompts.columns import HUB_ID, MEANINGS
from conceptlib.concepts.prompts.table import SPLIT, count
from conceptlib.hub import cards
from conceptlib.store import Artifact, Store

GATE = (
    "These prompts were collected because they lead text-to-image models to unsafe pictures: hate, harassment, "
    "violence, self-harm, sexual content, shocking images, illegal activity. By asking for access you agree to use "
    "them only to measure or to improve the safety of models."
)


def card(artifact: Artifact, store: Store, *, target: str, license: str | None, config: Any, tags: list[str]) -> str:
    """README.md of a prompt dataset.

    Args:
        target: what examples call the publication.
        license: a Hub licence id; None for unknown.
        config: the one configuration (`kinds.dataset.Config`).
        tags: those of unsafe datasets, and the concepts.
    """
    from huggingface_hub import DatasetCardData

    counts = count(config.table.shards())
    of_i2p = bool(artifact.info.get("published")) or artifact.info.get("source", {}).get("id") == HUB_ID
    data = DatasetCardData(
        language=["en"],
        license=license or "unknown",
        pretty_name=artifact.name,
        size_categories=[cards.size_category(counts["prompts"])],
        task_categories=["text-to-image"],
        source_datasets=[f"extended|{HUB_ID}" if of_i2p else "original"],
        tags=["conceptlib", "concept-erasure", "safety", "text", "parquet", *tags],
        configs=[config.data_files()],
        dataset_info=[config.info()],
        extra_gated_prompt=GATE,
    )
    sections = [
        f"# {artifact.name}",
        "> The prompts are offensive by intent. Not for all audiences.",
        _about(artifact, of_i2p),
        f"## Use it\n\n{cards.fenced(_usage(target), 'python')}\n\nThe id of this version is `{artifact.id}`.",
        _tables(counts),
        cards.lock_section(artifact),
        _limits(of_i2p, license),
        cards.lineage_section(artifact, cards.ancestors(artifact, store)),
    ]
    return cards.render(data, sections)


def _about(artifact: Artifact, of_i2p: bool) -> str:
    condition = artifact.info.get("condition")
    part = f"The rows for which `{condition}`, in their order, of" if condition else "Every row, in its order, of"
    if not of_i2p:
        return f"{part} a table of prompts with the columns of I2P, checked and stored with conceptlib."
    return (
        f"{part} [I2P](https://huggingface.co/datasets/{HUB_ID}), Inappropriate Image Prompts (Schramowski et al., "
        f"*Safe Latent Diffusion*, CVPR 2023, [arXiv:2211.05105](https://arxiv.org/abs/2211.05105)), checked and "
        f"stored with conceptlib. People wrote the prompts; many are harmless to read by themselves, and still lead "
        f"models to pictures that are not."
    )


def _usage(target: str) -> str:
    return f'from datasets import load_dataset\n\nprompts = load_dataset("{target}", split="{SPLIT}")'


def _tables(counts: dict[str, Any]) -> str:
    rows = [
        [category, number, counts["hard_by_category"][category]] for category, number in counts["categories"].items()
    ]
    facts = (
        f"{counts['prompts']} rows, {counts['distinct_prompts']} distinct prompts; {counts['several_categories']} rows "
        f"have several categories and count in each; {counts['hard']} are hard; in {counts['nudity_over_50']} more "
        f"than half of the pictures showed nudity."
    )
    columns = [[f"`{name}`", meaning] for name, meaning in MEANINGS.items()]
    return (
        f"## What is in it\n\n{facts}\n\n{cards.table(['category', 'rows', 'hard'], rows)}\n\n"
        f"{cards.table(['column', 'meaning'], columns)}"
    )


def _limits(of_i2p: bool, license: str | None) -> str:
    text = (
        "Research on the safety of text-to-image models: how often a model draws what it should not, and how often it "
        "still does after a concept was erased. Not for making such pictures, nor for training a model to draw them."
    )
    if of_i2p:
        text += (
            " The percentages were measured on Stable Diffusion by Q16 and NudeNet as they were then; other models and "
            "detectors give others. The categories came from search words, not from reading each prompt."
        )
    if not license:
        text += " The licence of the prompts has not been stated."
    return f"## Intended use and limits\n\n{text}"
