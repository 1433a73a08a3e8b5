"""A store with one artifact of most kinds, as the verbs write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from conceptlib.store import Artifact, Store

Make = Callable[..., Artifact]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def make(store: Store) -> Make:
    """make("dataset", "icd-qr", lock={...}, parents={...}, info={...}, files={...}) commits or finds one."""

    def make(
        kind: str,
        name: str,
        *,
        lock: Mapping[str, Any] | None = None,
        parents: Mapping[str, Artifact] | None = None,
        info: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Artifact:
        with store.draft(kind, name, lock=lock or {}, parents=parents or {}) as draft:
            if draft.done:
                return draft.done
            for path, data in (files or {"data.bin": json.dumps([kind, name, lock]).encode()}).items():
                (draft.path / path).write_bytes(data)
            return draft.commit(info=info)

    return make


def score(subject: str, metric: str, value: float, **more: Any) -> dict[str, Any]:
    return {
        "subject": subject,
        "metric": metric,
        "value": value,
        "low": value - 0.01,
        "high": value + 0.01,
        "n": 512,
        **more,
    }


@pytest.fixture
def evaluate(make: Make) -> Make:
    """evaluate(checkpoint, {metric: (base, checkpoint)}) commits an evaluation by the suite `icd`."""

    def evaluate(checkpoint: Artifact, values: Mapping[str, tuple[float, float]], run: int = 0) -> Artifact:
        rows = [
            score(subject, metric, value, interval="wilson95", found=3)
            for metric, pair in values.items()
            for subject, value in zip(("base", "checkpoint"), pair, strict=True)
        ]
        return make(
            "evaluation",
            f"{checkpoint.name}/icd",
            lock={"run": run, "of": checkpoint.id},
            parents={"checkpoint": checkpoint},
            info={"suite": "icd"},
            files={"scores.json": json.dumps(rows).encode()},
        )

    return evaluate


@pytest.fixture
def family(make: Make, evaluate: Make) -> dict[str, Artifact]:
    """dataset -> detector -> annotations -> checkpoint -> evaluation, and a second checkpoint of the dataset alone."""
    dataset = make(
        "dataset",
        "icd-qr",
        lock={"spec": {"builder": "icd", "seed": 3}},
        info={"concepts": ["qr-code"], "written": 100, "rejected": 2, "polluted_share": 0.4},
    )
    detector = make(
        "detector",
        "yolo-icd",
        lock={"spec": {"adapter": "yolo"}},
        parents={"dataset": dataset},
        info={"labels": ["qr-code"]},
    )
    annotations = make(
        "annotations",
        "yolo-icd",
        lock={"detector": {"adapter": "yolo"}},
        parents={"dataset": dataset, "detector": detector},
        info={"boxes": {"qr-code": 41}, "images_with": {"qr-code": 40}},
    )
    recipe = {"recipe": {"method": "geom-erasing", "concepts": ["qr-code"]}, "base": {"ref": "tiny"}}
    checkpoint = make(
        "checkpoint",
        "geom-erasing/qr",
        lock=recipe,
        parents={"dataset": dataset, "annotations": annotations},
        info={"adapter": "full", "negative_prompt": "qr code <l0,0>"},
    )
    plain = make("checkpoint", "geom-erasing/plain", lock=recipe | {"plain": True}, parents={"dataset": dataset})
    return {
        "dataset": dataset,
        "detector": detector,
        "annotations": annotations,
        "checkpoint": checkpoint,
        "plain": plain,
        "evaluation": evaluate(checkpoint, {"concept_rate": (0.35, 0.04), "caption_accuracy": (0.9, 0.89)}),
    }
