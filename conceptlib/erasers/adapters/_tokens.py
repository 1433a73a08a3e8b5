"""New tokens beside any form of weights: `tokenizer/` and `learned_embeds.safetensors`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from conceptlib.erasers.files import read_tensors
from conceptlib.erasers.tokens import LEARNED_EMBEDS, save_learned, set_rows
from conceptlib.errors import ConceptlibError
from conceptlib.models.loading import quiet

if TYPE_CHECKING:
    from conceptlib.erasers.base import Result
    from conceptlib.erasers.checkpoint import Checkpoint


def save_tokens(folder: Path, pipe: Any, result: Result) -> None:
    """Write the tokenizer and the new tokens' rows; nothing if there are none."""
    if result.tokens:
        with quiet():
            pipe.tokenizer.save_pretrained(folder / "tokenizer")
        save_learned(folder, pipe, result.tokens)


def apply_tokens(folder: Path, record: Checkpoint, pipe: Any) -> None:
    """Give the pipeline the checkpoint's tokenizer and rows."""
    learned = read_learned(folder, record)
    if learned:
        with quiet():
            pipe.tokenizer = type(pipe.tokenizer).from_pretrained(folder / "tokenizer")
        set_rows(pipe, learned)


def read_learned(folder: Path, record: Checkpoint) -> dict[str, torch.Tensor]:
    """The learned rows, one for each token of the checkpoint, neither more nor fewer."""
    if not record.tokens:
        return {}
    rows = read_tensors(folder / LEARNED_EMBEDS, "the learned embeddings")
    odd = set(rows) ^ set(record.tokens)
    if odd:
        raise ConceptlibError(
            f"learned embeddings and tokens differ: {', '.join(sorted(odd)[:3])}",
            where=str(folder),
            hint="the checkpoint is incomplete",
        )
    return {token: rows[token] for token in record.tokens}
