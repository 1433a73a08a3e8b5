"""What transformers before version 5 looks for in a folder; `benchmarks/older_transformers.py` opens one there."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import CLIPTokenizer

from conceptlib.models.loading import load_pipeline
from conceptlib.models.saving import save_folder
from tests.support.models import build_pipeline


def test_a_folder_has_the_names_of_every_version_and_opens_as_it_was(tmp_path: Path) -> None:
    pipe = build_pipeline()
    pipe.tokenizer.add_tokens(["<l0,0>"])
    pipe.text_encoder.resize_token_embeddings(len(pipe.tokenizer))
    save_folder(pipe, tmp_path / "model")
    with safe_open(tmp_path / "model/text_encoder/model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert all(name.startswith("text_model.") for name in list(file.keys()))
    opened = load_pipeline(tmp_path / "model", device="cpu")
    for name, value in pipe.text_encoder.named_parameters():
        assert torch.equal(opened.text_encoder.get_parameter(name), value)

    folder = tmp_path / "model" / "tokenizer"
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    added = json.loads((folder / "added_tokens.json").read_text(encoding="utf-8"))
    assert vocabulary | added == pipe.tokenizer.get_vocab() and added == {"<l0,0>": len(vocabulary)}
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert merges[0].startswith("#version") and len(merges) == 1
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    older = CLIPTokenizer.from_pretrained(folder)
    assert older("a red <l0,0>").input_ids == pipe.tokenizer("a red <l0,0>").input_ids


def test_merges_are_written_in_their_order(tmp_path: Path) -> None:
    from conceptlib.worlds import tiny

    pipe = load_pipeline("tiny", device="cpu")
    save_folder(pipe, tmp_path / "model")
    written = (tmp_path / "model/tokenizer/merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    whole = json.loads((tiny.path() / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in whole["model"]["merges"]]
    assert written == merges and len(merges) > 10
