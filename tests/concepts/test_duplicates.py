"""Duplicates: pairs against a comparison of all with all, groups, and no picture in train and in test."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conceptlib.concepts.build import build
from conceptlib.concepts.duplicates import groups, near_pairs
from conceptlib.concepts.picture_hashes import Hashes, picture_hashes
from conceptlib.concepts.sources.base import split_of
from conceptlib.concepts.tables import ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact
from conceptlib.store.hashing import sha256_bytes


def blobs(seed: int, size: tuple[int, int] = (240, 200)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)


@given(st.integers(0, 2**32 - 1), st.integers(0, 10))
def test_pairs_are_those_of_a_comparison_of_all_with_all(seed: int, distance: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**63, 6, np.uint64)
    flips = [sum(1 << int(b) for b in rng.choice(64, rng.integers(0, 9), replace=False)) for _ in range(60)]
    hashes = np.unique(centres[rng.integers(0, 6, 60)] ^ np.array(flips, np.uint64))
    found = {(int(i), int(j)) for left, right in near_pairs(hashes, distance) for i, j in zip(left, right, strict=True)}
    numbers = [int(h) for h in hashes]
    expected = {
        (i, j) for j in range(len(numbers)) for i in range(j) if (numbers[i] ^ numbers[j]).bit_count() <= distance
    }
    assert found == expected


def test_pairs_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    hashes = np.unique(rng.integers(0, 2**10, 300, np.uint64))

    def pairs() -> set[tuple[int, int]]:
        return {(int(i), int(j)) for le, ri in near_pairs(hashes, 4) for i, j in zip(le, ri, strict=True)}

    whole = pairs()
    monkeypatch.setattr("conceptlib.concepts.duplicates._BLOCK", 100)
    assert pairs() == whole and whole


def test_groups_are_chains_of_pairs_and_exact_copies() -> None:
    hashes = [Hashes(1, 0b0), Hashes(2, 0xFF << 30), Hashes(3, 0b11), Hashes(4, 0b1111), Hashes(5, None)]
    more = [None, Hashes(5, None), Hashes(6, 0xFF << 30), Hashes(7, None)]
    assert groups([*hashes, *more], 2).tolist() == [0, 1, 0, 0, 4, 5, 4, 1, 8]
    assert groups(hashes, 1).tolist() == [0, 1, 2, 3, 4]
    assert groups([], 4).tolist() == []
    with pytest.raises(ConceptlibError, match="0 to 10"):
        groups(hashes, 11)


def test_copies_look_alike_and_others_do_not() -> None:
    def near(image: Image.Image) -> int:
        value = picture_hashes(image, "0" * 64).near
        assert value is not None
        return value

    originals = [near(blobs(k)) for k in range(12)]
    for k in range(12):
        buffer = io.BytesIO()
        blobs(k).resize((120, 100)).save(buffer, "JPEG", quality=40)
        copy = near(Image.open(buffer))
        assert (copy ^ originals[k]).bit_count() <= 6
        assert all((copy ^ other).bit_count() > 10 for j, other in enumerate(originals) if j != k)
    assert picture_hashes(Image.new("RGB", (64, 64), "red"), "0" * 64).near is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures, each with a small JPEG copy, so that some groups reach over both splits; and two flat ones."""
    where = tmp_path / "in"
    where.mkdir()
    for k in range(12):
        blobs(k).save(where / f"{k:02}.png")
        blobs(k).resize((120, 100)).save(where / f"copy-{k:02}.jpg", quality=50)
    for name in ("flat-a.png", "flat-b.png"):
        Image.new("RGB", (64, 64), "red" if name == "flat-a.png" else "blue").save(where / name)
    return where


def make(folder: Path, policy: str, *more: str) -> Artifact:
    options = [f"source={folder}", "missing_captions=keep", "resolution=64", "rate=0", "test_share=0.4"]
    return build("icd-qr", overrides=[*options, f"duplicates={policy}", *more], workers=1)


def splits(artifact: Artifact) -> dict[str, str]:
    table = ImageTable(artifact)
    return {row["image_id"]: split for split in table.splits for row in table.rows(split, ["image_id"])}


def test_no_picture_is_in_train_and_in_test(folder: Path) -> None:
    off, train = splits(make(folder, "off")), make(folder, "train")
    assert off == {key: split_of(key, 0.4) for key in off}
    across = [k for k in range(12) if off[f"{k:02}.png"] != off[f"copy-{k:02}.jpg"]]
    assert len(across) >= 3  # or the test shows nothing
    after = splits(train)
    for k in range(12):
        one, other = f"{k:02}.png", f"copy-{k:02}.jpg"
        assert after[one] == after[other] == ("train" if k in across else off[one])
    assert {key: after[key] for key in after if key.startswith("flat")} == {
        key: off[key] for key in off if key.startswith("flat")
    }
    counts = {"policy": "train", "max_distance": 4, "pictures": 24, "groups": 12, "across_splits": len(across)}
    assert train.info["duplicates"] == counts
    listed = json.loads((train.path / "duplicates.json").read_text())["members"]
    assert [{m["image_id"] for m in group} for group in listed] == [
        {f"{k:02}.png", f"copy-{k:02}.jpg"} for k in range(12)
    ]
    assert "test" in after.values()


def test_report_changes_nothing_and_drop_keeps_the_first(folder: Path) -> None:
    report, off, drop = make(folder, "report"), make(folder, "off"), make(folder, "drop")
    assert report.info["geometry"] == off.info["geometry"] and "duplicates" not in off.info
    assert report.info["duplicates"]["groups"] == 12
    assert splits(report) == {key: split_of(key, 0.4) for key in splits(report)}
    assert set(splits(drop)) == {f"{k:02}.png" for k in range(12)} | {"flat-a.png", "flat-b.png"}
    assert drop.info["rejects"] == {"duplicate": 12} and drop.info["read"] == 26
    lines = [json.loads(line) for line in (drop.path / "rejects.jsonl").read_text().splitlines()]
    assert {line["image_id"]: line["detail"] for line in lines}["copy-03.jpg"] == "like 03.png"


def test_the_same_with_workers_and_after_a_stop(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from conceptlib.store import Store

    options = [f"source={folder}", "missing_captions=keep", "resolution=64", "test_share=0.4", "shard_rows=5"]
    one = build("icd-qr", overrides=options, workers=1, store=Store(tmp_path / "a"))
    assert build("icd-qr", overrides=options, workers=2, store=Store(tmp_path / "b")).id == one.id

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "build" and done == 17:
            raise KeyboardInterrupt

    store = Store(tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        build("icd-qr", overrides=options, workers=1, store=store, progress=stop)
    heard: list[tuple[str, int]] = []
    again = build("icd-qr", overrides=options, workers=1, store=store, progress=lambda s, d, t: heard.append((s, d)))
    assert again.id == one.id and again.info["duplicates"] == one.info["duplicates"]
    assert next(done for stage, done in heard if stage == "build") > 5  # whole shards were kept


def test_an_exact_copy_has_the_same_hash_of_bytes() -> None:
    assert picture_hashes(blobs(0), sha256_bytes(b"x")).exact == picture_hashes(blobs(1), sha256_bytes(b"x")).exact
