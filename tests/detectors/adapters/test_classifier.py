"""Classifiers of timm and transformers with random weights, written here."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from conceptlib.detectors.adapters import classifier
from conceptlib.detectors.base import locates
from conceptlib.detectors.load import load_detector
from conceptlib.errors import ConceptlibError
from conceptlib.specs import load_spec
from conceptlib.store.hashing import sha256_file

IMAGE = np.random.default_rng(0).integers(0, 256, (100, 140, 3), dtype=np.uint8)


def load(**params: Any) -> classifier.ClassifierDetector:
    return classifier.load(SimpleNamespace(name="c", params=classifier.Params.model_validate(params)), device="cpu")


@pytest.fixture(scope="module")
def laion(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """LAION's watermark detector with random weights, put together as its users do."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model("efficientnet_b3", pretrained=False, num_classes=2)
    model.classifier = nn.Sequential(
        nn.Linear(in_features=1536, out_features=625),
        nn.ReLU(),
        nn.Dropout(p=0.3),
        nn.Linear(in_features=625, out_features=256),
        nn.ReLU(),
        nn.Linear(in_features=256, out_features=2),
    )
    path = tmp_path_factory.mktemp("laion") / "watermark_model_v1.safetensors"
    save_file(model.state_dict(), path)
    return model.eval(), path


def test_laions_watermark_detector(laion: tuple[nn.Module, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import transforms

    model, path = laion
    monkeypatch.chdir(path.parent)
    detector = load_detector("laion-watermark", device="cpu")
    prepare = transforms.Compose(
        [
            transforms.Resize((256, 256)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with torch.inference_mode():
        expected = model(prepare(Image.fromarray(IMAGE))[None]).softmax(dim=1)[0, 0]
    (found,) = detector.detect([IMAGE], min_score=0.0)
    assert found.labels == ("watermark",) and np.allclose(found.scores, expected, atol=1e-5)
    assert not found.located.any() and not locates(detector)
    lock = detector.lock()
    assert lock["weights"] == sha256_file(path) and lock["timm"] and "model" not in lock["params"]


def test_weights_must_be_the_ones_that_were_meant(laion: tuple[nn.Module, Path], tmp_path: Path) -> None:
    base = load_spec("detector", "laion-watermark").params.model_dump() | {"model": str(laion[1])}
    load(**base | {"sha256": sha256_file(laion[1])})
    with pytest.raises(ConceptlibError, match="the weights are others"):
        load(**base | {"sha256": "0" * 64})
    with pytest.raises(ConceptlibError, match="do not fit the architecture"):
        load(**base | {"hidden": (600, 256)})
    with pytest.raises(ConceptlibError, match="no weights in safetensors"):
        load(**base | {"model": str(tmp_path / "none.safetensors")})
    (tmp_path / "torn.safetensors").write_bytes(b"no weights")
    with pytest.raises(ConceptlibError, match="cannot be read"):
        load(**base | {"model": str(tmp_path / "torn.safetensors")})
    with pytest.raises(ConceptlibError, match="no class 'logo'"):
        load(**base | {"concepts": {"logo": "watermark"}})
    with pytest.raises(ConceptlibError, match="no architecture"):
        load(**base | {"architecture": "hf-hub:someone/else"})


@pytest.fixture
def small(tmp_path: Path) -> tuple[nn.Module, Path]:
    """A timm model as its repositories have it, with three classes."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=3).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    prepared = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0}
    config = {"architecture": "resnet18", "num_classes": 3, "label_names": ["a", "b", "c"], "pretrained_cfg": prepared}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return model, tmp_path


def test_a_folder_of_timm(small: tuple[nn.Module, Path]) -> None:
    model, folder = small
    detector = load(library="timm", model=str(folder), concepts={"a": "x", "b": "x", "c": "y"}, confidence=0.0)
    square = np.ascontiguousarray(IMAGE[:64, :64])
    with torch.inference_mode():
        values = torch.from_numpy(square / 127.5 - 1).float().permute(2, 0, 1)[None]
        expected = model(values).softmax(dim=1)[0].numpy()
    many, (found,) = detector.detect([IMAGE] * 20 + [square]), detector.detect([square])
    assert dict(zip(found.labels, found.scores.tolist(), strict=True)) == pytest.approx(
        {"x": expected[0] + expected[1], "y": expected[2]}, abs=1e-5
    )
    assert (np.diff(found.scores) <= 0).all() and np.allclose(many[-1].scores, found.scores, atol=1e-5)
    most = load(library="timm", model=str(folder), concepts={"a": "x", "b": "x"}, activation="sigmoid", confidence=0.0)
    with torch.inference_mode():
        assert most.detect([square])[0].scores[0] == pytest.approx(
            model(values).sigmoid()[0, :2].max().item(), abs=1e-5
        )
    sure = load(library="timm", model=str(folder), concepts={"a": "x"}, confidence=0.999)
    assert len(sure.detect([square])[0]) == 0


def test_a_folder_of_transformers(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    names = {0: "safe", 1: "unsafe"}
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = ViTConfig(**small, image_size=32, patch_size=16, id2label=names, label2id={"safe": 0, "unsafe": 1})
    model = ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    detector = load(library="transformers", model=str(tmp_path), concepts={"unsafe": "violence"}, confidence=0.0)
    square = np.ascontiguousarray(IMAGE[:32, :32])
    with torch.inference_mode():
        values = torch.from_numpy(square / 127.5 - 1).float().permute(2, 0, 1)[None]
        expected = model(values).logits.softmax(dim=1)[0, 1]
    (found,) = detector.detect([square])
    assert found.labels == ("violence",) and found.scores[0] == pytest.approx(expected.item(), abs=1e-4)
    assert detector.lock()["transformers"]


def test_what_is_not_pinned_or_not_complete_is_refused(tmp_path: Path) -> None:
    concepts = {"a": "x"}
    with pytest.raises(ValidationError, match="must be pinned"):
        classifier.Params(library="timm", model="timm/resnet18.a1_in1k", concepts=concepts)
    with pytest.raises(ValidationError, match="must be pinned"):
        classifier.Params(library="timm", model="timm/resnet18.a1_in1k", sha256="0" * 64, concepts=concepts)
    with pytest.raises(ValidationError, match="a file of weights alone"):
        classifier.Params(library="timm", model="w.safetensors", concepts=concepts)
    with pytest.raises(ConceptlibError, match="cannot be fetched"):
        load(library="timm", model="nobody/nothing", revision="0" * 40, sha256="0" * 64, concepts=concepts)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ConceptlibError, match=r"config\.json cannot be read"):
        load(library="timm", model=str(tmp_path), concepts=concepts)
