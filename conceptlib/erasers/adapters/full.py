"""The whole model, as a folder that plain diffusers opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from conceptlib.erasers.adapters._tokens import read_learned
from conceptlib.erasers.tokens import save_learned
from conceptlib.errors import ConceptlibError
from conceptlib.models.family import Encoder, of

if TYPE_CHECKING:
    from conceptlib.erasers.base import Result
    from conceptlib.erasers.checkpoint import Checkpoint

WHOLE = True


def save(folder: Path, pipe: Any, result: Result, record: Checkpoint) -> None:
    """Write every component; the new tokens' rows once more beside them."""
    model = of(pipe)
    for module in model.components().values():
        module.to(memory_format=torch.contiguous_format)
    model.save_folder(folder)
    if result.tokens:
        save_learned(folder, pipe, result.tokens)


def apply(folder: Path, record: Checkpoint, pipe: Any) -> None:
    """Check that the model holds the rows that were learned, under the ids that its tokenizer gives."""
    for position, encoder in enumerate(of(pipe).encoders):
        _check_rows(folder, read_learned(folder, record, position), encoder)


def _check_rows(folder: Path, learned: Mapping[str, torch.Tensor], encoder: Encoder) -> None:
    table = encoder.module.get_input_embeddings().weight
    ids = encoder.tokenizer.convert_tokens_to_ids(list(learned))
    for (token, row), index in zip(learned.items(), ids, strict=True):
        if index >= len(table) or not torch.equal(table[index].cpu(), row.to(table.dtype)):
            raise ConceptlibError(
                f"the text encoder's row for {token} is not the learned one",
                where=str(folder),
                hint="the checkpoint's files do not belong together",
            )
