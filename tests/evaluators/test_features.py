"""Feature networks: pinned by hash, and whatever transformers can open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.features import load_extractor
from conceptlib.store.hashing import sha256_file
from conceptlib.worlds import tiny
from conceptlib.worlds.tiny import world


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random vision transformer with its image processor, as on the Hub."""
    import torch
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(**size, image_size=32, patch_size=8)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_the_worlds_features_do_not_depend_on_the_batch() -> None:
    pictures = [row.image() for row in world.rows(0, 70)]
    extractor = load_extractor("tiny")
    features = extractor.features(pictures)
    assert features.shape == (70, 192) and features.dtype == np.float32
    np.testing.assert_allclose(features[65:], extractor.features(pictures[65:]), rtol=1e-4, atol=1e-4)
    assert extractor.sha256 == sha256_file(tiny.path() / "classifier" / "model.safetensors")


def test_any_vision_model_of_transformers_will_do(vision: Path) -> None:
    extractor = load_extractor(str(vision))
    pictures = [Image.new("RGB", (40 + i, 30), (9 * i, 0, 255 - 9 * i)) for i in range(5)]
    features = extractor.features(pictures)
    assert features.shape == (5, 16) and np.isfinite(features).all() and np.ptp(features, axis=0).max() > 0
    assert extractor.lock() == {"features": str(vision), "features_sha256": extractor.sha256}
    np.testing.assert_allclose(features, load_extractor(str(vision)).features(pictures), rtol=1e-5)


def test_what_is_no_network_is_told(tmp_path: Path, vision: Path) -> None:
    with pytest.raises(ConceptlibError, match="no safetensors"):
        load_extractor(str(tmp_path))
    with pytest.raises(ConceptlibError, match="not on this machine"):
        load_extractor("nobody/nothing")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes((vision / "model.safetensors").read_bytes())
    with pytest.raises(ConceptlibError, match="no vision model"):
        load_extractor(str(broken))
    with pytest.raises(ConceptlibError, match="no pictures"):
        load_extractor("tiny").features([])
