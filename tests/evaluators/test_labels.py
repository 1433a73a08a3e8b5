"""Prompts about the words of a dataset's own labels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conceptlib.concepts.build import build
from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.prompts.labels import Params, prompts
from conceptlib.store import Artifact, Store


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Artifact]:
    store = Store(tmp_path_factory.mktemp("store"))
    rng = np.random.default_rng(0)
    rows = [
        {"image": rng.integers(0, 256, (32, 32, 3), np.uint8), "text": "x", "artist": artist, "season": "winter"}
        for artist in ("Monet", "Degas", "Corot")
    ]
    overrides = ["rate=0", "labels=[artist, season]", "duplicates=off"]
    return store, build("icd-qr", overrides=overrides, source=rows, store=store, workers=1)


def job(store: Store, targets: tuple[str, ...] = (), **lineage: Artifact) -> Any:
    return SimpleNamespace(store=store, targets=targets, lineage=lineage, spec=SimpleNamespace(seed=3))


def test_neighbours_are_the_other_words_of_the_column(paintings: tuple[Store, Artifact]) -> None:
    store, dataset = paintings
    probe = prompts(Params(data="icd-qr", target="Degas", n=4, neighbour_n=2), job(store))
    assert probe.values == ("Degas", "Corot", "Monet") and probe.domain == "artist"
    assert probe.columns == ("artist",) and probe.lock["labels"] == dataset.id
    assert [row["artist"] for row in probe.rows] == ["Degas"] * 4 + ["Corot"] * 2 + ["Monet"] * 2
    assert all(row["value"] in row["caption"] for row in probe.rows)


def test_the_checkpoints_own_dataset_and_target_are_taken(paintings: tuple[Store, Artifact]) -> None:
    store, dataset = paintings
    probe = prompts(Params(n=4), job(store, ("Monet",), dataset=dataset))
    assert probe.target == "Monet" and probe.neighbours == ("Corot", "Degas")


@pytest.mark.parametrize(
    "params, message",
    [
        (Params(data="icd-qr", target="heart"), "'heart' is no word of the labels"),
        (Params(target="Monet"), "trained on no dataset"),
        (Params(data="gone", target="Monet"), "gone"),
    ],
)
def test_what_is_not_there_is_told(params: Params, message: str, paintings: tuple[Store, Artifact]) -> None:
    with pytest.raises(ConceptlibError, match=message) as caught:
        prompts(params, job(paintings[0]))
    assert caught.value.hint
