"""A trained detector as a model repository."""

from __future__ import annotations

from typing import Any

from conceptlib.hub import cards, scores
from conceptlib.hub.plan import CardOptions, Contents, artifact_files
from conceptlib.hub.records import repo_of
from conceptlib.store import Artifact, Store

REPO_TYPE = "model"


def contents(artifact: Artifact, store: Store, card: CardOptions) -> Contents:
    """Its weights and settings, and the scores of its evaluations."""
    volatile = {entry.path for entry in artifact.files if entry.volatile}
    files = artifact_files(artifact, lambda path: path not in volatile)
    evaluations = scores.of(artifact, store, "object-detection")
    for one in evaluations:
        files += one.files()
    license = card.license or artifact.info.get("license")
    return Contents(
        _card(artifact, store, evaluations, card.target, license), tuple(files), cards.license_note(license)
    )


def _adapter(lock: dict[str, Any]) -> str:
    """The vendor's adapter, wherever the spec stands in the lock."""
    return next(
        (str(value["adapter"]) for value in (lock, *lock.values()) if isinstance(value, dict) and "adapter" in value),
        "",
    )


def _card(
    artifact: Artifact, store: Store, evaluations: list[scores.Evaluation], target: str, license: str | None
) -> str:
    from huggingface_hub import ModelCardData

    lineage, adapter = cards.ancestors(artifact, store), _adapter(artifact.lock)
    concepts = [str(label) for label in artifact.info.get("labels", [])] or list(cards.find_concepts(artifact.lock))
    repos = [repo_of(store, one.id) for one in lineage if one.artifact is not None and one.artifact.kind == "dataset"]
    results = [result for one in evaluations for result in one.results()]
    data = ModelCardData(
        license=license or "unknown",
        library_name="conceptlib",
        pipeline_tag="object-detection",
        datasets=[repo for repo in repos if repo] or None,
        tags=["conceptlib", "concept-erasure", *([adapter] if adapter else []), *cards.concept_tags(concepts)],
        model_name=artifact.name,
        eval_results=results or None,
    )
    if not results:
        data.pop("model_name")
    what = cards.phrases(concepts) or "a concept"
    by = f" (adapter `{adapter}`)" if adapter else ""
    code = "\n".join(
        [
            "from conceptlib import load_detector",
            *([] if target.startswith("./") else ["from huggingface_hub import snapshot_download"]),
            "",
            f'detector = load_detector("{target}")'
            if target.startswith("./")
            else f'detector = load_detector(snapshot_download("{target}"))',
            "found = detector.detect([image])   # uint8 arrays (height, width, 3), RGB; boxes are x1, y1, x2, y2 "
            "in pixels",
        ]
    )
    sections = [
        f"# {artifact.name}",
        f"Finds {what} in pictures. Trained from scratch with conceptlib{by}.",
        f"## Use it\n\n{cards.fenced(code, 'python')}",
        *(one.section() for one in evaluations),
        cards.lock_section(artifact),
        "## Intended use and limits\n\nFor annotating pictures and for counting how often a model draws the "
        "concept. It was trained on "
        "synthesised pictures; measure it on yours before relying on it.",
        cards.lineage_section(artifact, lineage),
    ]
    return cards.render(data, sections)
