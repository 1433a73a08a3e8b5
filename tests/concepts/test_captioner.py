"""Captions by a model: a tiny BLIP with random weights, made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conceptlib.concepts.build import build
from conceptlib.concepts.captioner import Captioner
from conceptlib.concepts.tables import ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.store import Store


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BLIP of the usual shape, some thousand weights and twenty words."""
    import torch
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    folder = tmp_path_factory.mktemp("models") / "blip"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]"]
    words += ["a", "the", "red", "blue", "cat", "dog", "on", "in", "with", "sky"]
    vocabulary = {word: k for k, word in enumerate(words)}
    tokenizer = BertTokenizerFast(vocab=vocabulary, additional_special_tokens=["[DEC]"])
    text = {"vocab_size": len(words), "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 16}
    text |= {"num_hidden_layers": 1, "num_attention_heads": 2, "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3}
    text |= {"pad_token_id": 0, "max_position_embeddings": 64, "projection_dim": 16}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 16, "projection_dim": 16}
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    model = BlipForConditionalGeneration(config)
    torch.manual_seed(9)
    for parameter in model.parameters():  # wide enough that pictures differ in their captions
        torch.nn.init.normal_(parameter, std=1.5)
    model.save_pretrained(folder)
    processor = BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for k in range(6):
        noise = np.random.default_rng(k).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((60, 50), Image.Resampling.BICUBIC).save(folder / f"{k}.png")
    (folder / "2.txt").write_text("its own caption")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def captions(folder: Path, blip: Path, store: Store | None = None, *more: str) -> dict[str, str]:
    options = [f"source={folder}", "resolution=32", "duplicates=off", f"missing_captions={blip}", *more]
    artifact = build("icd-qr", overrides=options, workers=1, store=store)
    return {row["image_id"]: row["caption"] for row in ImageTable(artifact).rows(columns=["image_id", "caption"])}


def test_pictures_without_captions_get_the_models(photos: Path, blip: Path, tmp_path: Path) -> None:
    found = captions(photos, blip)
    assert found["2.png"] == "its own caption" and set(found) == {f"{k}.png" for k in range(6)}
    captioner = Captioner(str(blip))
    for k in (0, 1, 3, 4, 5):
        assert found[f"{k}.png"] == captioner.caption(Image.open(photos / f"{k}.png").convert("RGB")) != ""
    assert len(set(found.values())) > 2
    (artifact,) = Store().list("dataset")
    assert artifact.info["captions"] == {"machine": 5, "source": 1} and artifact.info["rejects"] == {"unreadable": 1}
    lock = artifact.lock["builder"]["captioner"]
    assert lock["model"] == "blip" and lock["revision"] is None and len(lock["sha256"]) == 64
    assert str(tmp_path) not in json.dumps(artifact.lock) and str(blip) not in json.dumps(artifact.lock)
    assert captions(photos, blip, Store(tmp_path / "other")) == found


def test_captions_are_not_made_twice(photos: Path, blip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = captions(photos, blip, None, "rows=4")
    monkeypatch.setattr(Captioner, "caption", lambda self, image: "new")
    more = captions(photos, blip)
    assert {k: v for k, v in more.items() if k in found} == found and more["5.png"] == "new"
    assert Store().list("dataset")[-1].info["captions"] == {"machine": 5, "source": 1}


def test_a_picture_is_captioned_once_for_all_its_variants(
    photos: Path, blip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(Captioner, "caption", lambda self, image: seen.append(image) or f"caption {len(seen)}")
    found = captions(photos, blip, None, "variants=3")
    assert len(found) == 18 and len(seen) == 5
    for k in range(6):
        assert len({found[key] for key in (f"{k}.png", f"{k}~1.png", f"{k}~2.png")}) == 1
    assert len(set(found.values())) == 6


def test_other_weights_are_another_lock(photos: Path, blip: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy" / "blip"
    shutil.copytree(blip, copy)
    assert Captioner(str(copy)).lock() == Captioner(str(blip)).lock()
    weights = copy / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    assert Captioner(str(copy)).lock() != Captioner(str(blip)).lock()


def test_what_is_no_captioner_is_an_error(photos: Path, blip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match="no such captioner"):  # the suite has no network
        captions(photos, Path("someone/captioner"))
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ConceptlibError, match="no safetensors"):
        captions(photos, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ConceptlibError, match="the captioner cannot be loaded"):
        captions(photos, tmp_path / "pickled")
