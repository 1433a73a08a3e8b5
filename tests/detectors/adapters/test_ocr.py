"""Readers of text: RapidOCR and EasyOCR on their own networks, EasyOCR also on random ones in the right files."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from conceptlib.detectors.adapters import easyocr, rapidocr
from conceptlib.detectors.base import level_of, reads
from conceptlib.detectors.load import load_detector
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections, iou


def sign(text: str, at: tuple[int, int] = (30, 40), size: tuple[int, int] = (256, 128)) -> tuple[np.ndarray, list[int]]:
    """White words on green, and the box of their ink."""
    image, font = Image.new("RGB", size, (60, 110, 60)), ImageFont.load_default(30)
    draw = ImageDraw.Draw(image)
    draw.text(at, text, font=font, fill=(255, 255, 255))
    return np.asarray(image), list(draw.textbbox(at, text, font=font))


def rapid(**params: Any) -> rapidocr.RapidOcrDetector:
    return rapidocr.load(
        SimpleNamespace(name="r", params=rapidocr.Params.model_validate({"min_side": 128} | params)), device="cpu"
    )


def test_rapidocr_reads_a_word_where_it_stands() -> None:
    detector = rapid()
    image, ink = sign("Harbour 1987")
    found, nothing = detector.detect([image, np.zeros((64, 64, 3), np.uint8)])
    assert found.labels == ("text",) and found.payloads == ("Harbour 1987",) and found.scores[0] > 0.9
    assert iou(found.boxes, [ink])[0, 0] > 0.5 and found.quads is not None and len(nothing) == 0
    lock = detector.lock()
    assert set(lock["weights"]) == {"det", "rec"} and lock["rapidocr"] and "models" not in lock["params"]
    assert all(len(value) == 64 for value in lock["weights"].values())


def test_rapidocr_may_only_find() -> None:
    detector = rapid(read=False, label="caption")
    image, ink = sign("Harbour 1987")
    (found,) = detector.detect([image])
    assert found.labels == ("caption",) and found.payloads is None and set(detector.lock()["weights"]) == {"det"}
    assert iou(found.boxes, [ink])[0, 0] > 0.5 and 0.5 <= found.scores[0] <= 1
    sure = rapid(read=False, confidence=0.999)
    assert len(sure.detect([image])[0]) == 0 and len(sure.detect([image], min_score=0.1)[0]) == 1


def test_lines_of_a_block() -> None:
    boxes = [[10, 40, 90, 60], [12, 10, 80, 30], [100, 12, 140, 30], [10, 100, 60, 120]]
    lines = Detections(boxes, [0.8, 0.6, 0.9, 0.7], ("text",) * 4, payloads=("two", "one", "beside", "below"))
    blocks = rapidocr.joined(lines, 0.6)
    found = sorted(zip(blocks.boxes.tolist(), blocks.payloads or (), blocks.scores.tolist(), strict=True))
    assert [(box, text) for box, text, _ in found] == [
        ([10, 10, 90, 60], "one\ntwo"),
        ([10, 100, 60, 120], "below"),
        ([100, 12, 140, 30], "beside"),
    ]
    assert found[0][2] == pytest.approx(0.7)
    assert len(rapidocr.joined(lines, 0.4)) == 4 and len(rapidocr.joined(lines, 3)) == 2
    assert len(rapidocr.joined(Detections.empty(), 1)) == 0


def test_rapidocr_looks_nowhere_else_for_its_networks(tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match=r"0 files are called \*_det_\*.onnx") as error:
        rapid(models=str(tmp_path))
    assert "conceptlib[ocr]" in error.value.hint


@pytest.mark.parametrize(("module", "library"), [(rapidocr, "rapidocr"), (easyocr, "easyocr")])
def test_missing_extras(module: Any, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConceptlibError, match="cannot be imported") as error:
        module.load(SimpleNamespace(name="x", params=module.Params()))
    assert "pip install 'conceptlib[" in error.value.hint


def test_easyocr_says_what_is_missing_and_where_it_is(tmp_path: Path) -> None:
    import easyocr as package

    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(ConceptlibError, match=r"missing: craft_mlt_25k\.pth, english_g2\.pth") as error:
        easyocr.load(SimpleNamespace(name="e", params=easyocr.Params(models=str(folder))))
    for model in (package.config.detection_models["craft"], package.config.recognition_models["gen2"]["english_g2"]):
        assert model["url"] in error.value.hint
    assert not list(folder.iterdir())
    with pytest.raises(ConceptlibError, match="does not read 'xx'"):
        easyocr.needed(["en", "xx"])


def test_easyocr_says_what_brings_the_weights_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASYOCR_MODULE_PATH", str(tmp_path))
    monkeypatch.setattr(easyocr, "PACKAGE", "no_such_package")
    with pytest.raises(ConceptlibError, match="are missing") as error:
        easyocr.load(SimpleNamespace(name="e", params=easyocr.Params()))
    assert error.value.where == str(tmp_path / "model") and "conceptlib[easyocr-en]" in error.value.hint
    with pytest.raises(ConceptlibError, match=r"latin_g2\.pth") as error:
        easyocr.load(SimpleNamespace(name="e", params=easyocr.Params(languages=("de",))))
    assert "easyocr-en" not in error.value.hint and "latin_g2.zip" in error.value.hint


def test_easyocr_reads_with_the_weights_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASYOCR_MODULE_PATH", str(tmp_path))
    image, ink = sign("Harbour street")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        detector = load_detector("easyocr", device="cpu")
        found, nothing = detector.detect([image, np.zeros((64, 64, 3), np.uint8)])
    assert " ".join(found.payloads or ()) == "Harbour street" and len(nothing) == 0
    assert iou(found.boxes, [ink])[0, 0] > 0.5 and found.scores.min() > 0.5
    assert level_of(detector) == "line" and reads(detector)


@pytest.mark.parametrize(
    ("languages", "file"),
    [
        (["en"], "english_g2.pth"),
        (["de", "fr"], "latin_g2.pth"),
        (["ch_sim", "en"], "zh_sim_g2.pth"),
        (["ru"], "cyrillic_g2.pth"),
        (["ar"], "arabic.pth"),
        (["th"], "thai.pth"),
        (["hi"], "devanagari.pth"),
    ],
)
def test_easyocr_needs_the_file_that_its_reader_opens(languages: list[str], file: str, tmp_path: Path) -> None:
    """The reader itself, asked without a finder, complains of the same file."""
    import easyocr as package

    assert easyocr.needed(languages)[1][0] == file
    with pytest.raises(FileNotFoundError, match=file):
        package.Reader(
            languages,
            gpu=False,
            detector=False,
            verbose=False,
            download_enabled=False,
            model_storage_directory=str(tmp_path),
            user_network_directory=str(tmp_path),
        )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the two files that English needs, in the form of the released ones."""
    from easyocr import config
    from easyocr.craft import CRAFT
    from easyocr.model.vgg_model import Model

    folder = tmp_path_factory.mktemp("easyocr")
    torch.manual_seed(0)
    reader = config.recognition_models["gen2"]["english_g2"]
    network = Model(num_class=len(reader["characters"]) + 1, input_channel=1, output_channel=256, hidden_size=256)
    for name, model in (("craft_mlt_25k.pth", CRAFT()), ("english_g2.pth", network)):
        torch.save({f"module.{key}": value for key, value in model.state_dict().items()}, folder / name)
    return folder


@pytest.fixture
def known(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """EasyOCR believes that the random weights are the released ones."""
    from easyocr import config

    models = (config.detection_models["craft"], config.recognition_models["gen2"]["english_g2"])
    for model in models:
        digest = hashlib.md5((weights / model["filename"]).read_bytes()).hexdigest()
        monkeypatch.setitem(model, "md5sum", digest)
    return weights


def test_easyocr_from_a_folder(known: Path) -> None:
    # With thresholds of 0 even random networks see a line: the whole picture.
    blind = easyocr.Params(models=str(known), text_threshold=0, low_text=0, link_threshold=0, confidence=0)
    detector = easyocr.load(SimpleNamespace(name="e", params=blind), device="cpu")
    image, _ = sign("Harbour 1987")
    (found,) = detector.detect([image])
    assert found.labels == ("text",) and found.boxes.tolist() == [[0, 0, 256, 128]] and found.payloads is not None
    assert len(detector.detect([image], min_score=0.99)[0]) == 0
    lock = detector.lock()
    assert set(lock["weights"]) == {"craft_mlt_25k.pth", "english_g2.pth"} and lock["easyocr"]
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_easyocrs_other_weights_are_refused(weights: Path) -> None:
    with pytest.raises(ConceptlibError, match="MD5 mismatch") as error:
        easyocr.load(SimpleNamespace(name="e", params=easyocr.Params(models=str(weights))), device="cpu")
    assert "craft_mlt_25k.zip" in error.value.hint


def test_easyocrs_pickles_run_nothing(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from easyocr import config

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "was-here"),)

    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "english_g2.pth").symlink_to(weights / "english_g2.pth")
    torch.save({"module.a": Evil()}, folder / "craft_mlt_25k.pth")
    digest = hashlib.md5((folder / "craft_mlt_25k.pth").read_bytes()).hexdigest()
    monkeypatch.setitem(config.detection_models["craft"], "md5sum", digest)
    reader = config.recognition_models["gen2"]["english_g2"]
    monkeypatch.setitem(reader, "md5sum", hashlib.md5((weights / "english_g2.pth").read_bytes()).hexdigest())
    with pytest.raises(ConceptlibError, match="cannot load its weights"):
        easyocr.load(SimpleNamespace(name="e", params=easyocr.Params(models=str(folder))), device="cpu")
    assert not (tmp_path / "was-here").exists()


def test_the_specs_load() -> None:
    assert load_detector("rapidocr", device="cpu").labels == ("text",)
