"""Rows from Python: every shape of row, one pass over a generator, a lock that is what was yielded."""

from __future__ import annotations

import dataclasses
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import ExifTags, Image

import conceptlib
from conceptlib.concepts.duplicates import HashItem
from conceptlib.concepts.images import Reject, decode
from conceptlib.concepts.sources import Item, IterableSource, open_source
from conceptlib.concepts.sources.base import Slice
from conceptlib.concepts.tables import ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.store import Store
from conceptlib.store.hashing import sha256_bytes


def noise(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).resize((64, 48), Image.Resampling.BICUBIC)


def read(rows: Any, **options: Any) -> list[Item]:
    return list(open_source(rows, **options).items())


def test_every_shape_of_row(tmp_path: Path) -> None:
    image = noise(0)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    image.save(tmp_path / "a.png")
    rows: list[Any] = [
        {"image": image, "text": " eine Überschrift "},
        {"jpg": buffer.getvalue(), "caption": ["first", "second"], "__key__": "k"},
        {"image": {"bytes": buffer.getvalue(), "path": None}, "prompt": "p", "image_id": 7},
        (tmp_path / "a.png", "from a file"),
        (str(tmp_path / "a.png"), None),
        np.asarray(image),
        image.convert("CMYK"),
    ]
    found = read(rows, missing_captions="keep")
    assert [item.key for item in found] == ["row-00000000", "k", "7", *(f"row-{k:08d}" for k in range(3, 7))]
    assert [item.caption for item in found] == ["eine Überschrift", "first", "p", "from a file", None, None, None]
    for item in found[:6]:
        assert np.array_equal(np.asarray(decode(item.load(64))), np.asarray(image))
    skipped = [item.data for item in read(rows)]
    assert [d.reason for d in skipped if isinstance(d, Reject)] == ["no-caption"] * 3
    named = read([{"pixels": image, "title": "t"}], image_column="pixels", caption_column="title")
    assert named[0].caption == "t"


def test_captions_are_text_or_rejects() -> None:
    captions: list[Any] = ["a", None, float("nan"), ["b", "c"], 3, {"en": "d"}, "café".encode("cp1252"), "\ud800"]
    rows = [(noise(0), caption) for caption in captions]
    found = read(rows, missing_captions="keep")
    assert [item.caption for item in found[:4]] == ["a", None, None, "b"]
    assert [item.data.reason for item in found[4:] if isinstance(item.data, Reject)] == ["bad-caption"] * 4
    assert read(rows, encoding="cp1252")[6].caption == "café"
    assert open_source(rows).lock() != open_source([*rows[:4], (noise(0), 4), *rows[5:]]).lock()
    assert read([{"image": None, "text": "x"}, {"image": [noise(1), noise(2)], "text": "x"}])[0].data == Reject(
        "missing-file", "the row holds no picture"
    )


def test_a_file_that_is_not_there_is_a_reject(tmp_path: Path) -> None:
    (item,) = read([(tmp_path / "no.png", "x")])
    assert isinstance(item.data, Reject) and item.data.reason == "missing-file"


def test_a_damaged_picture_is_a_reject_however_it_comes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    noise(0).resize((300, 300)).save(buffer, "PNG")
    (tmp_path / "half.png").write_bytes(data := buffer.getvalue()[: len(buffer.getvalue()) // 2])
    rows = [data, tmp_path / "half.png", Image.open(tmp_path / "half.png"), b"", noise(1)]
    found = conceptlib.build("icd-qr", source=rows, overrides=["missing_captions=keep", "resolution=64"], workers=1)
    assert found.info["rejected"] == 4 and found.info["written"] == 1 and found.info["rejects"].pop("unreadable") == 1
    assert set(found.info["rejects"]) <= {"truncated", "damaged"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "yields nothing"),
        ([(noise(0), "a"), (noise(1), "b", "c")], r"no pair.*row 1"),
        ([np.zeros((4, 4, 7), np.uint8)], r"uint8 \(4, 4, 7\).*row 0"),
        ([{"text": "x", "pixels": 1}], r"no picture.*row 0.*one of text, pixels"),
        ([np.zeros((4, 4), np.float32)], r"float32 \(4, 4\).*row 0"),
        ([3], "the picture is of type int"),
        ([{"image": noise(0), "id": "a"}, {"image": noise(1), "id": "a"}], r"'a' came before.*row 1"),
    ],
)
def test_rows_of_another_shape_are_errors_with_their_number(rows: list[Any], message: str) -> None:
    with pytest.raises(ConceptlibError, match=message):
        read(rows)


def test_the_lock_is_what_was_yielded_in_its_order() -> None:
    rows = [(noise(k), f"row {k}") for k in range(3)]
    lock = open_source(iter(rows)).lock()
    assert open_source(rows).lock() == lock
    assert open_source(rows[::-1]).lock() != lock
    assert open_source([*rows[:2], (rows[2][0], "another")]).lock() != lock
    assert open_source([*rows[:2], (noise(9), "row 2")]).lock() != lock


def test_a_dataset_from_a_generator_is_read_once_and_found_again() -> None:
    yielded = 0

    def rows() -> Iterator[tuple[Image.Image, str]]:
        nonlocal yielded
        for k in range(8):
            yielded += 1
            yield noise(k), f"picture {k}"

    first = conceptlib.build("icd-qr", source=rows(), overrides=["resolution=64"], workers=1)
    assert yielded == 8 and first.info["written"] == 8
    again = conceptlib.build("icd-qr", source=list(rows()), overrides=["resolution=64"], workers=1)
    assert again == first and len(Store().list("dataset")) == 1
    captions = {row["caption"] for row in ImageTable(first).rows(columns=["caption"])}
    assert captions == {f"picture {k}" for k in range(8)}
    fewer = conceptlib.build("icd-qr", source=rows(), overrides=["resolution=64", "rows=4"], workers=1)
    assert fewer.info["written"] == 4 and fewer.info["reused"] == 4


def test_the_spool_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = open_source([(noise(0), "x")])
    assert len(list(tmp_path.glob("conceptlib-rows-*"))) == 1
    del source
    assert not list(tmp_path.glob("conceptlib-rows-*"))


def test_no_room_for_the_spool_is_an_error_that_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    full = property(lambda self: Path("/dev/full"), lambda self, path: None)
    monkeypatch.setattr(IterableSource, "_pictures", full, raising=False)
    with pytest.raises(ConceptlibError, match=f"No space left.*{tmp_path}.*TMPDIR"):
        open_source([(noise(0).resize((400, 400)), "x")])
    assert not list(tmp_path.glob("conceptlib-rows-*"))


def test_a_builder_without_rows_from_python_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match="icd-zip takes no rows from Python"):
        conceptlib.build("icd-public", source=[noise(0)])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK", "I;16"])
def test_pixels_come_back_as_they_were(mode: str) -> None:
    image = Image.fromarray(np.arange(0, 32 * 24 * 40, 40, dtype=np.uint16).reshape(24, 32))
    image = image if mode == "I;16" else noise(1).convert(mode)
    (item,) = read([(image, "x")])
    assert decode(item.load(64)).tobytes() == decode(image).tobytes()
    assert isinstance(item.data, Slice)
    data = item.data.read()  # the file that others would be sent
    assert decode(data).tobytes() == decode(image).tobytes() and item.content_sha256() == sha256_bytes(data)
    assert dataclasses.replace(item, sha256=None).content_sha256() == sha256_bytes(data)


def test_a_colour_profile_survives() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = noise(2)
    image.info["icc_profile"] = profile
    (item,) = read([(image, "x")])
    data = item.load(64)
    assert isinstance(data, bytes)
    with Image.open(io.BytesIO(data)) as kept:
        assert kept.info["icc_profile"] == profile


def test_a_picture_that_was_opened_from_a_file_is_turned_as_the_file_is() -> None:
    image = Image.new("RGB", (64, 32), "red")
    image.paste("blue", (0, 0, 16, 32))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, quality=95)
    opened = Image.open(io.BytesIO(buffer.getvalue()))
    rows = [buffer.getvalue(), opened, opened.convert("RGB"), opened.convert("CMYK"), np.asarray(opened)]
    file, *others, array = (decode(item.load(64)) for item in read(rows, missing_captions="keep"))
    assert file.size == (32, 64) and [picture.size for picture in others] == [(32, 64)] * 3
    assert others[0].tobytes() == others[1].tobytes() == file.tobytes()
    assert array.size == (64, 32)  # pixels say nothing about which side is up
    assert opened.size == (64, 32)  # the caller's own


@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    mode=st.sampled_from(["RGB", "L", "RGBA", "CMYK", "1"]),
    seed=st.integers(0, 99),
)
@example(width=640, height=480, mode="RGB", seed=0)
@example(width=640, height=480, mode="L", seed=0)
@example(width=40, height=40, mode="RGB", seed=-1)
def test_pixels_have_the_hashes_of_their_bytes(width: int, height: int, mode: str, seed: int) -> None:
    image = Image.new("RGB", (40, 40), "red") if seed < 0 else noise(seed)
    image = image.resize((width, height)).convert(mode)
    (item,) = read([(image, "x")], hashed=True)
    assert (item.hashes is not None) == (mode in ("RGB", "L"))
    if item.hashes is not None:
        assert HashItem()(item) == (item.split, item.hashes)
    (other,) = read([(image, "x")])
    assert other.hashes is None and other.load(64) == item.load(64)


def test_the_limits_of_size_hold_for_decoded_pictures_too() -> None:
    rows = [(noise(0), "a"), (noise(1).resize((20, 15)), "b"), (noise(2).resize((300, 300)), "c")]
    options = ["resolution=64", "min_side=16", "max_pixels=50000"]
    found = conceptlib.build("icd-qr", source=rows, overrides=options, workers=1)
    assert found.info["rejects"] == {"tiny": 1, "too-large": 1} and found.info["written"] == 1


def test_copies_are_found_among_decoded_pictures_encoded_ones_and_files(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    noise(1).save(buffer, "PNG")
    noise(1).resize((320, 240)).save(tmp_path / "a.jpg")
    rows = [(noise(1), "a"), (buffer.getvalue(), "b"), (tmp_path / "a.jpg", "c"), (noise(2), "d"), (noise(2), "e")]
    options = ["resolution=64", "duplicates=drop"]
    found = conceptlib.build("icd-qr", source=rows, overrides=options, workers=1)
    assert found.info["rejects"] == {"duplicate": 3} and found.info["duplicates"]["groups"] == 2


def test_a_worker_is_told_where_a_picture_lies() -> None:
    (item,) = read([(noise(0).resize((800, 600)), "x")])
    sent = pickle.dumps(item)
    assert len(sent) < 1000 and pickle.loads(sent).load(64) == item.load(64)
