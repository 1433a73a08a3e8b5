from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conceptlib.concepts.tables import ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.models import generate as module
from conceptlib.models.generate import generate
from conceptlib.models.loading import load_pipeline
from conceptlib.models.sampling import sample
from conceptlib.store import Store
from conceptlib.worlds.tiny import GUIDANCE_SCALE

ROWS = [
    {
        "caption": f"a red circle {index}",
        "seed": 100 + index,
        "object": "circle",
        "colour": "red",
        "background": None,
        "style": "plain",
    }
    for index in range(5)
]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_ROWS", 2)


def test_pictures_are_stored_with_captions_seeds_and_labels(base: Path) -> None:
    artifact = generate(base, ROWS, num_steps=2, device="cpu")
    table = ImageTable(artifact)
    rows = list(table.rows())
    assert artifact.kind == "images" and len(table.shards("train")) == 3
    assert [(row["caption"], row["seed"], row["object"], row["background"]) for row in rows] == [
        (row["caption"], row["seed"], "circle", None) for row in ROWS
    ]
    pipe = load_pipeline(base, device="cpu")
    wanted = sample(pipe, [row["caption"] for row in ROWS[:2]], [100, 101], num_steps=2)
    assert np.array_equal(np.stack([np.asarray(table.decode(row)) for row in rows[:2]]), wanted)


def test_the_same_request_draws_nothing(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = generate(base, ROWS, num_steps=1, device="cpu")
    monkeypatch.setattr(module, "sample", lambda *args, **kwargs: pytest.fail("drawn again"))
    assert generate(base, ROWS, num_steps=1, device="cpu") == first


def test_a_stopped_run_goes_on_after_its_last_shard(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generate(base, ROWS, num_steps=1, device="cpu", store=Store("elsewhere"))
    drawn: list[list[int]] = []

    def stopping(pipe: Any, prompts: list[str], seeds: list[int], **options: Any) -> np.ndarray:
        if len(drawn) == 1:
            drawn.append([])
            raise KeyboardInterrupt
        drawn.append(seeds)
        return sample(pipe, prompts, seeds, **options)

    monkeypatch.setattr(module, "sample", stopping)
    with pytest.raises(KeyboardInterrupt):
        generate(base, ROWS, num_steps=1, device="cpu")
    assert generate(base, ROWS, num_steps=1, device="cpu").id == whole.id
    assert drawn == [[100, 101], [], [102, 103], [104]]


@pytest.mark.parametrize(
    "change", [{"negative": "QR code"}, {"num_steps": 2}, {"guidance_scale": 1.0}, {"resolution": 16}]
)
def test_another_request_is_another_artifact(base: Path, change: dict[str, Any]) -> None:
    settings = {"num_steps": 1, "device": "cpu"}
    assert generate(base, ROWS[:1], **settings).key != generate(base, ROWS[:1], **{**settings, **change}).key


def test_rows_without_labels_have_no_such_columns(base: Path) -> None:
    artifact = generate(base, [{"caption": "a", "seed": 1}], num_steps=1, device="cpu", split="test", name="mine")
    assert artifact.name == "mine"
    assert "object" not in next(ImageTable(artifact).rows("test"))


@pytest.mark.parametrize("rows", [[], [{"caption": "a"}], [{"seed": 1}]])
def test_rows_must_say_what_to_draw(base: Path, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(ConceptlibError, match="caption and a seed"):
        generate(base, rows, device="cpu")


def test_progress_counts_rows_over_all_shards(base: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    generate(base, ROWS, num_steps=1, device="cpu", progress=lambda *step: seen.append(step))
    assert seen == [("generate", 2, 5), ("generate", 4, 5), ("generate", 5, 5)]


def test_the_usual_guidance_is_in_the_lock(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that pictures drawn under an earlier default are not taken for those of a later one."""
    first = generate(base, ROWS[:1], num_steps=1, device="cpu")
    assert first.lock["guidance_scale"] == GUIDANCE_SCALE
    assert generate(base, ROWS[:1], num_steps=1, guidance_scale=GUIDANCE_SCALE, device="cpu") == first
    monkeypatch.setattr(module, "usual_guidance", lambda usual: 1.5)
    assert generate(base, ROWS[:1], num_steps=1, device="cpu").key != first.key


def test_a_picture_that_cannot_be_written_ends_the_run_and_earlier_shards_stay(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures are written in another thread: its error is the caller's."""
    whole = generate(base, ROWS, num_steps=1, device="cpu", store=Store("elsewhere"))
    write, calls = ImageTable.write, []

    def full(path: Path, *args: Any, **options: Any) -> int:
        calls.append(path.name)
        if len(calls) == 2:
            raise OSError("No space left on device")
        return write(path, *args, **options)

    monkeypatch.setattr(ImageTable, "write", staticmethod(full))
    with pytest.raises(OSError, match="No space"):
        generate(base, ROWS, num_steps=1, device="cpu")
    assert generate(base, ROWS, num_steps=1, device="cpu").id == whole.id
    assert [name[6:11] for name in calls] == ["00000", "00001", "00001", "00002"]
