"""Several rows of each picture: overlays, cut and encoding of their own, one split, none taken for a copy."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from conceptlib.concepts.build import build, truth_of
from conceptlib.concepts.images import Reject, decode_whole
from conceptlib.concepts.resizing import Cut, resize_to
from conceptlib.concepts.sources import Item
from conceptlib.concepts.sources.base import variants
from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.specs import SpecError
from conceptlib.store import Artifact, Store


def blobs(seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight pictures, and a copy of the first."""
    where = tmp_path / "in"
    where.mkdir()
    for k in range(8):
        blobs(k).save(where / f"{k}.png")
    blobs(0).save(where / "copy-of-0.png")
    return where


def make(folder: Path, *more: str, store: Store | None = None, workers: int = 1) -> Artifact:
    options = [f"source={folder}", "missing_captions=keep", "resolution=64", "formats=[png]", "rate=1"]
    return build("icd-qr", overrides=[*options, *more], workers=workers, store=store)


def rows(artifact: Artifact, split: str | None = None) -> dict[str, dict[str, Any]]:
    return {row["image_id"]: row for row in ImageTable(artifact).rows(split)}


def pixels(artifact: Artifact) -> dict[str, np.ndarray]:
    table = ImageTable(artifact)
    return {row["image_id"]: np.asarray(table.decode(row)) for row in table.rows()}


def test_each_picture_gives_so_many_rows_all_in_its_split(folder: Path, tmp_path: Path) -> None:
    once = make(folder, "test_share=0.4")
    thrice = make(folder, "test_share=0.4", "variants=3")
    assert thrice.info["read"] == thrice.info["written"] == 27 and thrice.info["reused"] == 9
    assert thrice.info["duplicates"]["groups"] == 1 and thrice.info["duplicates"]["pictures"] == 2
    for split in ("train", "test"):
        first = set(rows(once, split))
        assert first and set(rows(thrice, split)) == first | {f"{key[:-4]}~{k}.png" for key in first for k in (1, 2)}
    before, after = rows(once), rows(thrice)
    assert {key: after[key] for key in before} == before  # the first of each is what it was
    truth = AnnotationTable(truth_of(thrice)).by_image()
    for key in before:
        three = [key, f"{key[:-4]}~1.png", f"{key[:-4]}~2.png"]
        assert len({truth[name].payloads[0] for name in three}) == 3
        assert len({after[name]["image_sha256"] for name in three}) == 3
        assert len({truth[name].boxes.tobytes() for name in three}) == 3
    fresh = make(folder, "test_share=0.4", "variants=3", store=Store(tmp_path / "other"), workers=2)
    assert fresh.id == thrice.id and fresh.info["reused"] == 0
    dropped = make(folder, "variants=2", "duplicates=drop")
    assert dropped.info["written"] == 16 and dropped.info["rejects"] == {"duplicate": 1}


def test_a_picture_is_decoded_once_for_all_its_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Counter[str]()
    load = Item.load
    monkeypatch.setattr(Item, "load", lambda self, size: opened.update([Path(str(self.data)).name]) or load(self, size))
    make(folder, "variants=5", "duplicates=off", "cut=[0.5,1]")
    assert opened == {path.name: 1 for path in folder.iterdir()}


def test_without_overlays_the_variants_are_cuts_of_the_picture(folder: Path) -> None:
    options = ("rate=0", "duplicates=off", "resize=none", "variants=40")
    cut = make(folder, *options, "cut=[0.5,0.9]", "mirror=0.25")
    whole = {key: np.asarray(Image.open(folder / key)) for key in ("1.png", "5.png")}
    shares, places, mirrored = [], [], 0
    for key, found in pixels(cut).items():
        picture = whole.get(key[0] + ".png")
        if picture is None or key.startswith("copy"):
            continue
        height, width = found.shape[:2]
        shares.append(width / picture.shape[1])
        assert abs(height / picture.shape[0] - shares[-1]) < 0.01  # resize=none keeps the picture's shape
        windows = np.lib.stride_tricks.sliding_window_view(picture, found.shape)[:, :, 0]
        for side, turned in ((0, found), (1, found[:, ::-1])):
            if len(at := np.argwhere((windows == turned).all((2, 3, 4)))):
                mirrored += side
                places.append(at[0] / (np.array(windows.shape[:2]) - 1))
                break
        else:
            raise AssertionError(f"{key} is no part of its picture")
    assert len(shares) == 80 and 0.49 < min(shares) < 0.55 and 0.85 < max(shares) < 0.91
    assert 8 <= mirrored <= 33  # 20 expected, 3.9 standard deviations
    assert np.all(np.min(places, 0) < 0.1) and np.all(np.max(places, 0) > 0.9)


@pytest.mark.parametrize("resize", ["fit", "pad", "buckets"])
def test_mirrored_pictures_are_the_others_mirrored(folder: Path, resize: str) -> None:
    options = ("rate=0", "duplicates=off", f"resize={resize}")
    plain, mirrored = pixels(make(folder, *options)), pixels(make(folder, *options, "mirror=1"))
    for key, picture in plain.items():
        assert np.array_equal(np.asarray(ImageOps.mirror(Image.fromarray(picture))), mirrored[key])


def test_overlays_are_drawn_over_the_mirrored_picture(folder: Path) -> None:
    plain, mirrored = (AnnotationTable(truth_of(make(folder, f"mirror={m}"))).by_image() for m in (0, 1))
    assert all(np.array_equal(plain[key].boxes, mirrored[key].boxes) for key in plain)


sides = st.integers(1, 300)
shares = st.floats(0, 1)


@given(st.tuples(sides, sides), st.floats(0.05, 1), shares, shares, st.booleans())
def test_a_cut_lies_inside_and_has_its_share(
    size: tuple[int, int], share: float, x: float, y: float, square: bool
) -> None:
    ramp = np.stack(np.broadcast_arrays(np.arange(size[0]) // 2, (np.arange(size[1]) // 2)[:, None], 255), -1)
    image = Image.fromarray(ramp.astype(np.uint8))
    part = Cut(share, x, y).of(image, square)
    wanted = [share * side for side in ([min(size)] * 2 if square else size)]
    assert all(abs(side - max(1, want)) <= 0.5 + 1e-9 for side, want in zip(part.size, wanted, strict=True))
    assert np.asarray(part)[..., 2].min() == 255  # nothing from beyond the picture's edge
    left, top = np.asarray(part)[0, 0, :2] * 2.0
    assert abs(left - x * (size[0] - part.width)) <= 2 and abs(top - y * (size[1] - part.height)) <= 2
    if share == 1 and not square:
        assert part.tobytes() == image.tobytes()


def test_a_large_jpeg_keeps_enough_pixels_for_a_small_cut() -> None:
    image, buffer = blobs(3, (1600, 1200)), io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    cut = Cut(0.1, 0.3, 0.6)
    whole = decode_whole(buffer.getvalue(), resolution=64, resize="fit", share=cut.share)
    assert decode_whole(buffer.getvalue(), resolution=64, resize="fit").size == (200, 150)
    found = resize_to(cut.of(whole, True), 64, "fit")
    expected = resize_to(cut.of(image, True), 64, "fit")
    assert found.size == (64, 64)
    assert np.abs(np.asarray(found, np.float32) - np.asarray(expected, np.float32)).mean() < 1.5


def test_keys_of_variants() -> None:
    given = [Item("in/a.png", "test", b"1"), Item("b", "train", Reject("no-caption")), Item("c~x.v2", "train", b"3")]
    found = list(variants(given, 3))
    keys = ["in/a.png", "in/a~1.png", "in/a~2.png", "b", "c~x.v2", "c~x.v2~1", "c~x.v2~2"]
    assert [item.key for item in found] == keys
    assert Counter(item.split for item in found) == {"test": 3, "train": 4}
    assert list(variants(given, 1)) == given
    for key in ("a~12.png", "row-3~1"):
        with pytest.raises(ConceptlibError, match=rf"looks like a variant.*{key}.*variants=1"):
            list(variants([Item(key, "train", b"1")], 2))
        assert len(list(variants([Item(key, "train", b"1")], 1))) == 1


@pytest.mark.parametrize("wrong", ["cut=[0.9,0.5]", "cut=[0,1]", "cut=[0.5,1.5]", "mirror=2", "variants=0"])
def test_ranges_are_checked(folder: Path, wrong: str) -> None:
    with pytest.raises(SpecError):
        make(folder, wrong)
