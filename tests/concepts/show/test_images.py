"""The page of a dataset of pictures: counts against the rows, and a sheet with frames where the boxes are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptlib.cli.main import main
from conceptlib.concepts.build import build, truth_of
from conceptlib.concepts.show import Options, Page, show
from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.annotate import annotate
from conceptlib.errors import ConceptlibError
from conceptlib.reports.grid import FRAME
from conceptlib.store import Artifact, Store


@pytest.fixture
def world() -> Artifact:
    return build("icd-qr", overrides=["rows=24", "test_share=0.25"], workers=1)


def rows(page: Page, title: str) -> list[dict]:
    return [dict(row) for row in next(one for one in page.sections if one.title == title).rows]


def framed(path: Path) -> int:
    """Pixels in the colour of frames."""
    return int((np.asarray(Image.open(path).convert("RGB")) == FRAME).all(-1).sum())


def test_counts_are_those_of_the_rows(world: Artifact, tmp_path: Path) -> None:
    page = show("icd-qr", Options(sheet=tmp_path / "s.png"))
    truth = AnnotationTable(truth_of(world))
    polluted = {split: sum(bool(row["labels"]) for row in truth.rows(split)) for split in truth.splits}
    assert [(r["split"], r["pictures"], r["polluted"]) for r in rows(page, "splits")] == [
        ("train", 18, polluted["train"]),
        ("test", 6, polluted["test"]),
    ]
    total = sum(polluted.values())
    (concept,) = rows(page, "concepts")
    assert (concept["concept"], concept["pictures"], concept["boxes"]) == ("qr-code", total, total)
    assert concept["share"] == round(total / 24, 4) and concept["train"] == polluted["train"]
    assert [(r["pixels"], r["pictures"]) for r in rows(page, "picture sizes")] == [("64x64", 24)]
    sizes = {r["side"]: r["boxes"] for r in rows(page, "box sizes")}
    assert sum(sizes.values()) == total and sizes["30% to 40%"] + sizes["40% to 60%"] == total
    (captions,) = rows(page, "captions")
    words = [len(row["caption"].split()) for row in ImageTable(world).rows(columns=["caption"])]
    assert (captions["with"], captions["without"], captions["mean words"]) == (24, 0, round(sum(words) / 24, 1))


def test_the_sheet_frames_boxes_and_nothing_else(world: Artifact, tmp_path: Path) -> None:
    show(world, Options(sheet=tmp_path / "s.png"))
    assert framed(tmp_path / "s.png") > 1000
    clean = build("icd-qr", overrides=["rows=24", "test_share=0.25", "rate=0"], workers=1)
    page = show(clean, Options(sheet=tmp_path / "t.png"))
    assert framed(tmp_path / "t.png") < 50 and rows(page, "concepts")[0]["pictures"] == 0
    small = show(clean, Options(n=0))
    assert "contact_sheet" not in small.head
    sheet = Path(show(clean, Options(n=2)).head["contact_sheet"])
    assert sheet == Store().root / "sheets" / f"icd-qr@{clean.id}.png" and Image.open(sheet).width < 600


def test_boxes_of_a_detector(world: Artifact) -> None:
    annotate(world, "zxing")
    page = show(world, Options(annotations="zxing", n=1))
    assert page.head["boxes_of"].startswith("zxing@")
    other = build("icd-qr", overrides=["rows=4"], workers=1)
    with pytest.raises(ConceptlibError, match="annotates another dataset"):
        show(other, Options(annotations="zxing"))


def test_a_dataset_without_truth_and_without_captions(tmp_path: Path) -> None:
    import hashlib
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for k in range(15):
            Image.effect_noise((40 + 20 * k, 40), 60).save(tmp_path / "p.png")
            archive.write(tmp_path / "p.png", f"{'QR' if k < 9 else 'text'}/{k}.png")
    data = (tmp_path / "x.zip").read_bytes()
    options = [f"file={tmp_path / 'x.zip'}", f"size={len(data)}", f"sha256={hashlib.sha256(data).hexdigest()}"]
    page = show(build("icd-public", overrides=[*options, "duplicates=off"], workers=1), Options(n=3))
    known = {r["concept"]: r["pictures"] for r in rows(page, "concepts")}
    assert known == {"qr-code": 9, "text": 6, "watermark": 0}
    assert rows(page, "captions")[0]["without"] == 15 and rows(page, "captions")[0]["mean words"] is None
    assert [r["pixels"] for r in rows(page, "picture sizes")] == [
        "longer side 32 to 63",
        "longer side 64 to 127",
        "longer side 128 to 255",
        "longer side 256 to 511",
    ]
    assert "conceptlib annotate" in page.notes[0]


def test_the_command(world: Artifact, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["datasets", "show", "icd-qr", "--sheet", str(tmp_path / "s.png")]) == 0
    out = capsys.readouterr().out
    assert "picture sizes" in out and "64x64" in out and (tmp_path / "s.png").is_file()
    assert main(["datasets", "show", "icd-qr", "--json", "--n", "0"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["splits"][0]["pictures"] == 18 and page["name"] == "icd-qr"


@pytest.mark.parametrize(("name", "kind"), [("s.jpg", "JPEG"), ("s.webp", "WEBP"), ("S.PNG", "PNG")])
def test_a_sheet_is_what_its_name_says(world: Artifact, tmp_path: Path, name: str, kind: str) -> None:
    show(world, Options(n=2, sheet=tmp_path / name))
    with Image.open(tmp_path / name) as sheet:
        assert sheet.format == kind


def test_another_kind_of_sheet_is_refused(world: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match=r"\.png, \.jpg"):
        show(world, Options(sheet=tmp_path / "s.pdf"))
    assert not list(tmp_path.glob("s.*"))
