"""Copies that are cropped, framed, mirrored: found; pictures that share a logo, a frame or a scene: not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from conceptlib.concepts import sketches
from conceptlib.concepts.build import build
from conceptlib.concepts.duplicates import groups
from conceptlib.concepts.picture_hashes import Hashes, picture_hashes, small
from conceptlib.concepts.sketches import RECORD, Sketches, sketch
from conceptlib.concepts.tables import ImageTable

PICTURES = 8


def scene(seed: int, size: tuple[int, int] = (360, 280)) -> Image.Image:
    """Soft ground with many things on it: what a photograph has for a finder of corners."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 200, (5, 5, 3), np.uint8)
    image = Image.fromarray(ground).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(45):
        points = rng.uniform(-30, 30, (int(rng.integers(3, 6)), 2)) + rng.uniform((0, 0), size)
        draw.polygon([tuple(point) for point in points.tolist()], fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    return image


def cut(image: Image.Image, share: float, place: float = 0.5) -> Image.Image:
    width, height = image.size
    left, top = place * share * width, (1 - place) * share * height
    return image.crop((int(left), int(top), int(left + width * (1 - share)), int(top + height * (1 - share))))


def barred(image: Image.Image) -> Image.Image:
    out = ImageOps.expand(image, (0, 0, 0, image.height // 7), "white")
    ImageDraw.Draw(out).text((20, image.height + 4), "when it rains", "black", ImageFont.load_default(24))
    return out


def marked(image: Image.Image) -> Image.Image:
    """With a logo of many corners on a sixth of it, the same on every picture."""
    out = image.copy()
    out.paste(scene(999).resize((170, 120)), (10, 10))
    return out


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "crop of 5 %": lambda image: cut(image, 0.05, 0.2),
    "crop of 15 %": lambda image: cut(image, 0.15, 0.8),
    "crop of 30 %": lambda image: cut(image, 0.3),
    "caption bar": barred,
    "frame": lambda image: ImageOps.expand(image, 20, "navy"),
    "mirror": ImageOps.mirror,
    "mirror and crop": lambda image: cut(ImageOps.mirror(image), 0.1),
    "half size": lambda image: image.resize((180, 140)),
    "letterbox": lambda image: ImageOps.pad(image, (400, 400)),
    "turned a little": lambda image: cut(image.rotate(3, Image.Resampling.BICUBIC), 0.12),
    "grey": ImageOps.grayscale,
}


def hashes(image: Image.Image) -> Hashes:
    return picture_hashes(small(image.convert("RGB"), 1 << 24), f"{np.asarray(image).sum():064x}"[::-1])


@pytest.fixture(scope="module")
def originals() -> list[Image.Image]:
    return [scene(k) for k in range(PICTURES)]


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found_and_others_are_not(change: str, originals: list[Image.Image]) -> None:
    both = [hashes(image) for image in originals] + [hashes(CHANGES[change](image)) for image in originals]
    found = groups(both, 4)
    assert found[:PICTURES].tolist() == list(range(PICTURES))  # no two scenes together
    assert (found[PICTURES:] == found[:PICTURES]).mean() >= 7 / 8
    assert set(found[PICTURES:]) <= set(range(2 * PICTURES))


@pytest.mark.parametrize("change", [marked, barred, lambda image: ImageOps.expand(image, 24, "navy")])
def test_a_logo_a_bar_or_a_frame_in_common_make_no_copies(
    change: Callable[[Image.Image], Image.Image], originals: list[Image.Image]
) -> None:
    assert groups([hashes(change(image)) for image in originals], 4).tolist() == list(range(PICTURES))


def test_parts_that_do_not_overlap_are_no_copies() -> None:
    large = scene(7, (720, 280))
    parts = [hashes(large.crop((left, 0, left + 360, 280))) for left in (0, 360)]
    assert groups(parts, 4).tolist() == [0, 1]


def test_a_chain_of_crops_is_one_group(originals: list[Image.Image]) -> None:
    chain = [cut(originals[0], 0.1, place) for place in np.linspace(0, 1, 20)]
    assert groups([hashes(image) for image in [*originals, *chain]], 4).tolist() == [*range(PICTURES), *[0] * 20]


def test_what_has_no_corners_has_no_sketch(originals: list[Image.Image]) -> None:
    assert sketch(Image.new("RGB", (192, 150), "red")) is None
    assert sketch(originals[0].resize((120, 90))) is None
    made = sketch(originals[0].resize((192, 149)))
    assert made is not None and len(made) == RECORD.itemsize
    record = np.frombuffer(made, RECORD)[0]
    assert record["size"].tolist() == [192, 149] and sketches.LEAST <= record["count"] <= sketches.COUNT
    assert made == sketch(originals[0].resize((192, 149)))
    kept = Sketches()
    kept.add(3, made)
    kept.add(4, None)
    assert kept.copies(np.arange(5)) == []


def test_what_is_known_to_be_alike_is_not_compared(
    originals: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Sketches()
    for number in range(6):
        kept.add(number, sketch(small(originals[number % 2], 1 << 24)))
    assert sorted(kept.copies(np.arange(6)))[0] and len(kept.copies(np.arange(6))) == 4
    monkeypatch.setattr(sketches, "is_copy", lambda *_: pytest.fail("compared"))
    assert kept.copies(np.array([0, 1, 0, 1, 0, 1])) == []


def test_no_cropped_copy_is_in_train_and_in_test(tmp_path: Path, originals: list[Image.Image]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, image in enumerate(originals):
        image.save(folder / f"{number}.png")
        cut(image, 0.15).save(folder / f"cut-{number}.jpg", quality=85)
    options = [f"source={folder}", "missing_captions=keep", "resolution=64", "rate=0", "test_share=0.4"]
    made = build("icd-qr", overrides=options, workers=1)
    table = ImageTable(made)
    split = {row["image_id"]: name for name in table.splits for row in table.rows(name, ["image_id"])}
    members = json.loads((made.path / "duplicates.json").read_text())["members"]
    assert {frozenset(one["image_id"] for one in group) for group in members} == {
        frozenset((f"{number}.png", f"cut-{number}.jpg")) for number in range(PICTURES)
    }
    assert all(split[f"{number}.png"] == split[f"cut-{number}.jpg"] for number in range(PICTURES))
    assert made.info["duplicates"]["across_splits"] > 0 and made.lock["copies"] == 2
    assert "copies" not in build("icd-qr", overrides=["rows=2"], workers=1).lock
