"""Write a pipeline as a folder that plain diffusers opens, with today's transformers and with the one before.

transformers 5 names a CLIP text encoder's tensors without the `text_model.` that version 4 looks for, and writes its
tokenizer as `tokenizer.json` alone, where version 4 reads `vocab.json` and `merges.txt`. Version 4 would open such a
folder with random tensors, or not at all; version 5 reads the older names as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conceptlib.models.family import of
from conceptlib.models.loading import quiet

_PREFIX = "text_model."
_BESIDE = "text_projection."
"""Of a text encoder with a projection: stands beside the text model in every version."""


def save_folder(pipe: Any, folder: Path) -> None:
    """Write every component of `pipe` to `folder`, weights as safetensors."""
    with quiet():
        pipe.save_pretrained(folder, safe_serialization=True)
    for encoder in of(pipe).encoders:
        for path in sorted((folder / encoder.name).glob("*.safetensors")):
            _prefix(path)
        _write_vocabulary(folder / encoder.tokenizer_name)


def _prefix(path: Path) -> None:
    """Give the tensors of a text encoder's file the names that every version reads."""
    from safetensors.torch import load_file, save_file

    tensors = {
        name if name.startswith(_BESIDE) else _PREFIX + name.removeprefix(_PREFIX): tensor
        for name, tensor in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})


def _write_vocabulary(folder: Path) -> None:
    """`vocab.json`, `merges.txt` and `added_tokens.json` of a byte-pair tokenizer, from its `tokenizer.json`."""
    whole = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = whole["model"]["vocab"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in whole["model"]["merges"]]
    added = {token["content"]: token["id"] for token in whole["added_tokens"] if token["content"] not in vocabulary}
    _write(folder / "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    _write(folder / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))
    if added:
        _write(folder / "added_tokens.json", json.dumps(added, ensure_ascii=False, indent=2))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
