"""Importing an archive like the public ICD.zip: checked, concepts by folder, no geometry that nobody knows."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptlib.concepts.build import build, truth_of
from conceptlib.concepts.builders import icd
from conceptlib.concepts.builders.icd_zip import SHA256, SIZE, concept_of
from conceptlib.concepts.tables import ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.store import Store


def picture(seed: int, size: tuple[int, int] = (90, 70)) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def archive(tmp_path: Path) -> list[str]:
    path = tmp_path / "ICD.zip"
    with zipfile.ZipFile(path, "w") as opened:
        for k in range(10):
            opened.writestr(f"ICD/QR/{k}.png", picture(k))
        for k in range(6):
            opened.writestr(f"ICD/Text images/{k}.png", picture(100 + k, (170, 60)))
        opened.writestr("ICD/other/x.png", picture(200))
        opened.writestr("ICD/QR/broken.png", b"no picture")
        opened.writestr("ICD/README.md", b"about")
    data = path.read_bytes()
    return [f"file={path}", f"size={len(data)}", f"sha256={hashlib.sha256(data).hexdigest()}"]


def test_pictures_keep_their_size_and_have_their_folders_concept(archive: list[str], tmp_path: Path) -> None:
    artifact = build("icd-public", overrides=archive, workers=1)
    info = artifact.info
    assert (info["read"], info["written"], info["rejects"]) == (18, 17, {"unreadable": 1})
    assert info["polluted"] == {"qr-code": 10, "text": 6} and info["polluted_share"] == round(16 / 17, 4)
    assert info["source"]["other_files"] == 1 and info["captions"] == {"none": 17}
    rows = {row["image_id"]: row for row in ImageTable(artifact).rows()}
    assert (rows["ICD/Text images/3.png"]["width"], rows["ICD/QR/1.png"]["width"]) == (170, 90)
    assert rows["ICD/QR/1.png"]["caption"] is None
    assert str(tmp_path) not in json.dumps(artifact.lock)
    assert not (artifact.path / "truth").exists() and not Store().list("annotations")
    with pytest.raises(ConceptlibError, match="no exact geometry"):
        truth_of(artifact)
    assert not Store().verify()
    assert build("icd-public", overrides=archive, workers=2, store=Store(tmp_path / "b")).id == artifact.id


def test_the_lock_has_the_version_of_the_code_that_stores_the_pictures(
    archive: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build("icd-public", overrides=archive, workers=1)
    assert set(first.lock) == {"spec", "source", "builder", "copies"} and set(first.lock["builder"]) == {"names"}
    monkeypatch.setattr(icd, "VERSION", 2, raising=False)
    assert build("icd-public", overrides=archive, workers=1) == first  # made anew, and the same
    lock = first.lock | {"builder": first.lock["builder"] | {"artist": {"code_version": 2}}}
    assert Store().done("dataset", first.name, lock=lock) == first


def test_an_archive_that_is_not_the_one_expected_is_refused(archive: list[str]) -> None:
    with pytest.raises(ConceptlibError, match=f"not {SIZE}"):
        build("icd-public", overrides=archive[:1])
    with pytest.raises(ConceptlibError, match=f"not {SHA256}"):
        build("icd-public", overrides=archive[:2])
    with pytest.raises(ConceptlibError, match="no such file"):
        build("icd-public")


@pytest.mark.parametrize(
    ("path", "concept"),
    [
        ("QR/1.png", "qr-code"),
        ("ICD/qr_codes/train/1.png", "qr-code"),
        ("ICD/QR code/1.png", "qr-code"),
        ("text/qr/1.png", "qr-code"),
        ("TEXT-v2/1.png", "text"),
        ("ICD/train/1.png", None),
        ("qr.png", None),
        ("q/1.png", None),
    ],
)
def test_the_nearest_folder_that_is_called_like_a_concept(path: str, concept: str | None) -> None:
    assert concept_of(path, {"qrcode": "qr-code", "text": "text"}) == concept
