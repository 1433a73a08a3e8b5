"""Annotating: every picture has a row, a crash costs one shard at most, the same request gives the same artifact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.adapters.zxing import Params, ZxingDetector
from conceptlib.detectors.annotate import annotate
from conceptlib.detectors.batches import batches, detect_rows
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.geometry import Detections, iou
from conceptlib.store import Artifact, Store
from tests.support.pictures import dataset


class Watched(ZxingDetector):
    """zxing that remembers how many pictures it was given, and fails from a given one on."""

    def __init__(self, fails_at: int = 10**9, **params: Any) -> None:
        super().__init__("zxing", Params(**params))
        self.seen, self.fails_at = 0, fails_at
        self.sizes: list[int] = []

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        self.sizes.append(len(images))
        self.seen += len(images)
        if self.seen >= self.fails_at:
            raise MemoryError("out of memory")
        return super().detect(images, min_score=min_score)


@pytest.fixture
def codes(store: Store) -> tuple[Artifact, Artifact]:
    return dataset(store, {"train": (5, 7, 4), "test": (6,)}, size=256)


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


def test_a_row_for_every_picture(store: Store, codes: tuple[Artifact, Artifact]) -> None:
    pictures, truth = codes
    made = annotate("codes", "zxing", store=store)
    assert made.kind == "annotations" and made.name == "zxing" and made.parents == {"dataset": pictures.id}
    table, known = AnnotationTable(made), AnnotationTable(truth).by_image()
    assert [p.name for p in table.shards()] == [p.name for p in ImageTable(pictures).shards()]
    keys = ("image_id", "image_sha256", "width", "height")
    wanted = list(ImageTable(pictures).rows(columns=keys))
    assert [{key: row[key] for key in keys} for row in table.rows()] == wanted
    found = table.by_image()
    empty = [key for key, item in found.items() if not len(item)]
    assert {key for key, item in known.items() if not len(item)} <= set(empty) and len(empty) >= 11
    assert sum(map(len, found.values())) >= 9
    for key, item in found.items():
        if len(item):
            assert iou(item.boxes, known[key].boxes)[0, 0] > 0.8 and item.payloads == known[key].payloads
            assert item.quads is not None and np.abs(item.quads[0] - known[key].quads[0]).max() < 3
    assert made.info["images"] == 22 and made.info["boxes"] == {"qr-code": 22 - len(empty)}


def test_resumes_after_a_crash_in_the_middle(store: Store, codes: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    pictures, _ = codes
    crashing = Watched(fails_at=10)  # in the second shard of train
    with pytest.raises(MemoryError):
        annotate(pictures, crashing, store=store, batch_size=2)
    assert store.list("annotations", "zxing") == []
    again = Watched()
    told: list[tuple[str, int, int]] = []
    made = annotate(pictures, again, store=store, batch_size=2, progress=lambda *a: told.append(a))
    assert again.seen == 22 - 5  # the first shard was kept
    assert told[0] == ("annotate", 5, 22) and told[-1] == ("annotate", 22, 22)
    elsewhere = Store(tmp_path / "other")
    fresh = annotate(dataset(elsewhere, {"train": (5, 7, 4), "test": (6,)}, size=256)[0], Watched(), store=elsewhere)
    assert fresh.id == made.id and fresh.key == made.key
    once_more = Watched()
    assert annotate(pictures, once_more, store=store) == made and once_more.seen == 0


def test_batches_are_made_here_and_change_nothing(
    store: Store, codes: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    pictures, _ = codes
    watched = Watched()
    made = annotate(pictures, watched, store=store, batch_size=3)
    assert watched.sizes == [3, 2, 3, 3, 1, 3, 1, 3, 3]
    elsewhere = Store(tmp_path / "other")
    other, _ = dataset(elsewhere, {"train": (5, 7, 4), "test": (6,)}, size=256)
    assert annotate(other, Watched(), store=elsewhere, batch_size=64).id == made.id
    assert [len(b) for b in batches(range(7), 3)] == [3, 3, 1] and list(batches([], 3)) == []


def test_one_split_and_generated_pictures(store: Store) -> None:
    dataset(store, {"train": (2,), "test": (4,)}, name="drawn", kind="images", size=256)
    drawn = store.get("drawn", kind="images")
    made = annotate("drawn", "zxing", store=store, split="test")
    assert len(AnnotationTable(made)) == 4 and made.parents["dataset"] == drawn.id
    assert len(AnnotationTable(annotate(drawn.path, "zxing", store=store))) == 6


def test_parameters_make_another_set(store: Store, codes: tuple[Artifact, Artifact]) -> None:
    first, second = (annotate("codes", Watched(label=name), store=store, split="test") for name in ("code", "qr-code"))
    assert first.key != second.key and first.id != second.id
    third = annotate("codes", Watched(inverted=False), store=store, split="test")  # finds the same as the second
    assert third.id != second.id


def test_errors(store: Store, codes: tuple[Artifact, Artifact]) -> None:
    _, truth = codes
    with pytest.raises(NotFound, match="codex"):
        annotate("codex", "zxing", store=store)
    with pytest.raises(NotFound, match="zxinq"):
        annotate("codes", "zxinq", store=store)
    with pytest.raises(ConceptlibError, match="no split 'dev'"):
        annotate("codes", "zxing", store=store, split="dev")
    with pytest.raises(ConceptlibError, match="no pictures"):
        annotate(truth, "zxing", store=store)
    with pytest.raises(ConceptlibError, match="batch of 0"):
        annotate("codes", "zxing", store=store, batch_size=0)


def test_a_damaged_picture_is_named_after_the_batches_before_it(codes: tuple[Artifact, Artifact]) -> None:
    table, detector = ImageTable(codes[0]), Watched()
    rows = list(table.rows("train"))
    rows[5] = rows[5] | {"image": {"bytes": rows[5]["image"]["bytes"][:200], "path": None}}
    seen = []
    with pytest.raises(ConceptlibError, match=f"{rows[5]['image_id']}.* cannot be decoded"):
        for found in detect_rows(table, rows, detector, 2):
            seen.append(found)
    whole = detector.detect([np.asarray(table.decode(row)) for row in rows[:4]])
    assert [one.boxes.tolist() for one in seen] == [one.boxes.tolist() for one in whole]
