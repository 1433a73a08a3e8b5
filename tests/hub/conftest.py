"""Small artifacts to publish, and a loopback Hub that the client of this process talks to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conceptlib.concepts.tables import AnnotationTable, ImageTable, image_row, shard_name
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store
from tests.support.loophub import LoopHub

TOKEN = "hf_neverToBeSeenAnywhere0123456789"


@pytest.fixture
def store(home: Path) -> Store:
    return Store()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopHub]:
    """The client of this process, logged in, talks to this Hub, through Git LFS; see `use_xet`."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    with LoopHub(tmp_path / "loophub", users={TOKEN: "me"}) as server:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        close_session()  # the session of an earlier test knows that it was offline
        yield server
        close_session()


@pytest.fixture
def use_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)


def picture(index: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(index).integers(0, 255, (16, 16, 3), np.uint8))


@pytest.fixture
def make_dataset(store: Store) -> Callable[..., Artifact]:
    """`make_dataset(shards=2, source="world", truth=True)`: a dataset of six pictures, four of them in train."""

    def make(shards: int = 2, source: str = "world", truth: bool = True, first: int = 0) -> Artifact:
        ref, _, revision = source.partition("@")
        pinned = {"kind": "dataset", "id": ref, "revision": revision} if revision else {"kind": "world"}
        if source.startswith("/"):
            pinned = {"kind": "folder", "sha256": "0" * 64}
        spec = {"name": "icd-mini", "concepts": ["qr-code"], "params": {"source": source}}
        lock = {"spec": spec, "source": pinned, "shards": shards, "first": first}
        parts = [("train", i, shards, range(4)[i::shards]) for i in range(shards)] + [("test", 0, 1, range(4, 6))]
        images: dict[str, list[dict[str, Any]]] = {}
        with store.draft("dataset", "icd-mini", lock=lock) as draft:
            for split, shard, total, rows in parts:
                name = shard_name(split, shard, total)
                images[name] = [image_row(f"{i:03d}", picture(first + i), caption=f"picture {i}", seed=i) for i in rows]
                ImageTable.write(draft.path / "data" / name, images[name])
            (draft.path / "rejects.jsonl").write_text(json.dumps({"file": "/home/somebody/x.png"}) + "\n")
            dataset = draft.commit(info={"rows": 6})
        if truth:
            with store.draft(
                "annotations", "truth", lock={"by": "construction"}, parents={"dataset": dataset}
            ) as draft:
                for name, rows in images.items():
                    found = [boxes(int(row["image_id"])) for row in rows]
                    table = [AnnotationTable.row(row, one) for row, one in zip(rows, found, strict=True)]
                    AnnotationTable.write(draft.path / "data" / name, table)
                draft.commit()
        return dataset

    return make


def boxes(index: int) -> Detections:
    """Pictures with an odd number carry one code."""
    if index % 2 == 0:
        return Detections.empty()
    return Detections(np.array([[1, 2, 9, 10]], np.float32), np.ones(1, np.float32), ("qr-code",))


@pytest.fixture
def dataset(make_dataset: Callable[..., Artifact]) -> Artifact:
    return make_dataset()


@pytest.fixture
def make_checkpoint(store: Store) -> Callable[..., Artifact]:
    """`make_checkpoint(fill, base="tiny", adapter="full", ...)`: `fill(folder)` writes the weights."""

    def make(
        fill: Callable[[Path], Any], *, base: str = "tiny", parent: Artifact | None = None, **described: Any
    ) -> Artifact:
        description = {
            "method": "geom-erasing",
            "convention": "data-removal",
            "adapter": "full",
            "base": {"ref": base, "revision": "", "sha256": "0" * 64},
            "concepts": ["qr-code"],
            "negative_prompt": "QR code <l{0,0}>",
            "tokens": ["<l{0,0}>"],
        } | described
        lock = {
            "recipe": {"name": "geom-erasing/qr", "concepts": ["qr-code"], "seed": 0},
            "base": {"ref": base},
            "more": described,
        }
        with store.draft(
            "checkpoint", "geom-erasing/qr", lock=lock, parents={"dataset": parent} if parent else {}
        ) as draft:
            fill(draft.path)
            (draft.path / "checkpoint.json").write_text(json.dumps(description))
            (draft.path / "log.jsonl").write_text('{"step": 1}\n')
            return draft.commit(volatile=("log.jsonl",))

    return make


def weights(folder: Path) -> None:
    """Something that travels like weights do: a binary file of the large-file kind, and small ones around it."""
    (folder / "unet").mkdir()
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(bytes(range(256)) * 64)
    (folder / "unet" / "config.json").write_text('{"in_channels": 8}')
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')


@pytest.fixture
def checkpoint(make_checkpoint: Callable[..., Artifact]) -> Artifact:
    return make_checkpoint(weights)


@pytest.fixture
def make_evaluation(store: Store) -> Callable[..., Artifact]:
    """`make_evaluation(checkpoint)`: the suite `icd` run on it."""

    def make(checkpoint: Artifact, value: float = 0.031) -> Artifact:
        def row(subject: str, metric: str, value: float) -> dict[str, Any]:
            return {"subject": subject, "metric": metric, "value": value, "low": value / 2, "high": value * 2, "n": 512}

        rows = [row("base", "icr", 0.4), row("checkpoint", "icr", value), row("checkpoint", "caption-accuracy", 0.93)]
        with store.draft(
            "evaluation", f"{checkpoint.name}/icd", lock={"value": value}, parents={"checkpoint": checkpoint}
        ) as draft:
            (draft.path / "scores.json").write_text(json.dumps(rows))
            picture(1).save(draft.path / "grid.png")
            return draft.commit(info={"suite": "icd"}, volatile=("grid.png",))

    return make
