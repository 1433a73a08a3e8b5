"""Nothing but new tokens: rows of the embedding table, and the tokenizer that knows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptlib.erasers.adapters._tokens import apply_tokens, save_tokens

if TYPE_CHECKING:
    from conceptlib.erasers.base import Result
    from conceptlib.erasers.checkpoint import Checkpoint

WHOLE = False


def save(folder: Path, pipe: Any, result: Result, record: Checkpoint) -> None:
    """Write `learned_embeds.safetensors` and `tokenizer/`."""
    save_tokens(folder, pipe, result)


def apply(folder: Path, record: Checkpoint, pipe: Any) -> None:
    """Set the rows. Raises ConceptlibError unless there is exactly one for each token."""
    apply_tokens(folder, record, pipe)
