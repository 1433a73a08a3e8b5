"""New tokens beside any form of weights: `tokenizer/` and `learned_embeds.safetensors`, and one of each for every
further text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from conceptlib.erasers.files import read_tensors
from conceptlib.erasers.tokens import learned_file, save_learned, set_rows
from conceptlib.errors import ConceptlibError
from conceptlib.models.family import of
from conceptlib.models.loading import quiet

if TYPE_CHECKING:
    from conceptlib.erasers.base import Result
    from conceptlib.erasers.checkpoint import Checkpoint


def save_tokens(folder: Path, pipe: Any, result: Result) -> None:
    """Write the tokenizer and the new tokens' rows; nothing if there are none."""
    if result.tokens:
        with quiet():
            for encoder in of(pipe).encoders:
                encoder.tokenizer.save_pretrained(folder / encoder.tokenizer_name)
        save_learned(folder, pipe, result.tokens)


def apply_tokens(folder: Path, record: Checkpoint, pipe: Any) -> None:
    """Give the pipeline the checkpoint's tokenizer and rows."""
    if not record.tokens:
        return
    encoders = of(pipe).encoders
    learned = [read_learned(folder, record, position) for position in range(len(encoders))]
    with quiet():
        for encoder in encoders:
            tokenizer = type(encoder.tokenizer).from_pretrained(folder / encoder.tokenizer_name)
            setattr(pipe, encoder.tokenizer_name, tokenizer)
    set_rows(pipe, *learned)


def read_learned(folder: Path, record: Checkpoint, position: int = 0) -> dict[str, torch.Tensor]:
    """The learned rows of a text encoder, one for each token of the checkpoint, neither more nor fewer."""
    if not record.tokens:
        return {}
    rows = read_tensors(folder / learned_file(position), "the learned embeddings")
    odd = set(rows) ^ set(record.tokens)
    if odd:
        raise ConceptlibError(
            f"learned embeddings and tokens differ: {', '.join(sorted(odd)[:3])}",
            where=str(folder),
            hint="the checkpoint is incomplete",
        )
    return {token: rows[token] for token in record.tokens}
