"""New tokens: rows of the embedding table that are trained while the old ones stay as they are, and the prompts that
use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from conceptlib.errors import ConceptlibError
from conceptlib.geometry.bins import Bin, Grid, Policy
from conceptlib.models.encoding import token_count
from conceptlib.models.family import Encoder, of

LEARNED_EMBEDS = "learned_embeds.safetensors"
"""The rows of the first text encoder; see `learned_file`."""
_WRONG_MARK = 2
_RESERVED = 8
"""Location tokens that an overlong caption has to leave room for (if the boxes cover as many)."""


class SplitEmbedding(nn.Module):
    """An embedding table whose new rows are a parameter of their own.

    The optimiser never sees the old rows, so neither weight decay nor momentum can move them, and no gradient of the
    size of the whole table is ever made.

    Args:
        table: the old table, `nn.Embedding` (V, D); left untouched.
        ids: token id of each new row, distinct; they may lie inside the old table (tokens that a base has already) or
            beyond it.
        rows: (K, D), where the new rows start.
    """

    row_of: torch.Tensor

    def __init__(self, table: nn.Embedding, ids: Sequence[int], rows: torch.Tensor) -> None:
        super().__init__()
        self.table = table
        self.rows = nn.Parameter(rows.detach().to(table.weight.device, torch.float32).clone())
        self.ids = list(ids)
        row_of = torch.full((max([table.num_embeddings - 1, *self.ids]) + 1,), -1, dtype=torch.long)
        row_of[self.ids] = torch.arange(len(self.ids))
        self.register_buffer("row_of", row_of.to(table.weight.device), persistent=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings (..., D) of token ids (...)."""
        row = self.row_of[ids]
        new = row >= 0
        old = self.table(ids.masked_fill(new, 0))
        return torch.where(new[..., None], functional.embedding(row.clamp(min=0), self.rows).to(old.dtype), old)

    def merged(self) -> nn.Embedding:
        """One ordinary table (max id + 1, D) with the new rows in their places; the old ones byte for byte."""
        table = nn.Embedding(
            len(self.row_of), self.table.embedding_dim, dtype=self.table.weight.dtype, device=self.table.weight.device
        )
        with torch.no_grad():
            table.weight[: self.table.num_embeddings] = self.table.weight
            table.weight[self.ids] = self.rows.to(table.weight.dtype)
        return table.requires_grad_(False)


def add_tokens(tokenizer: Any, tokens: Sequence[str]) -> list[int]:
    """Add tokens that are matched as they are written, wherever they stand; returns the id of each. Known ones are
    kept.
    """
    from tokenizers import AddedToken

    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in tokens])
    return [int(index) for index in tokenizer.convert_tokens_to_ids(list(tokens))]


def split_table(text_encoder: Any, ids: Sequence[int], rows: torch.Tensor) -> SplitEmbedding:
    """Put a `SplitEmbedding` in the place of the text encoder's table and return it."""
    split = SplitEmbedding(text_encoder.get_input_embeddings(), ids, rows)
    text_encoder.set_input_embeddings(split)
    return split


def pool_at_end_mark(encoder: Encoder) -> None:
    """Let a text encoder take its pooled embedding at the end mark. Published CLIPs say that it is 2, which is wrong:
    transformers then takes the highest token id of a prompt for the end mark; a new token's id is higher.
    """
    if not hasattr(encoder.module, "text_projection"):
        return  # it is not asked for a pooled embedding
    mark = encoder.tokenizer.eos_token_id
    for part in encoder.module.modules():
        if getattr(part, "eos_token_id", None) == _WRONG_MARK:
            part.eos_token_id = mark
    if encoder.module.config.eos_token_id == _WRONG_MARK:
        encoder.module.config.eos_token_id = mark


def merge_table(text_encoder: Any) -> None:
    """Put an ordinary table back in the place of a `SplitEmbedding`; the configuration learns its new size."""
    split = text_encoder.get_input_embeddings()
    if isinstance(split, SplitEmbedding):
        table = split.merged()
        text_encoder.set_input_embeddings(table)
        text_encoder.config.vocab_size = table.num_embeddings


def learned_file(position: int) -> str:
    """The file of the new tokens' rows of a model's text encoder, by its position: `learned_embeds.safetensors`,
    `learned_embeds_2.safetensors`, as diffusers' scripts of textual inversion name them.
    """
    return LEARNED_EMBEDS if position == 0 else LEARNED_EMBEDS.replace(".", f"_{position + 1}.", 1)


def set_rows(pipe: Any, *learned: dict[str, torch.Tensor]) -> None:
    """Give a pipeline tokens that were learned elsewhere, `{token: (D,)}` for each of its text encoders in order. Every
    one must be in their tokenizers.
    """
    for encoder, rows in zip(of(pipe).encoders, learned, strict=True):
        _set_rows(encoder, rows)


def _set_rows(encoder: Encoder, learned: dict[str, torch.Tensor]) -> None:
    width, tokenizer = encoder.width, encoder.tokenizer
    wrong = [token for token, row in learned.items() if tuple(row.shape) != (width,)]
    if wrong:
        raise ConceptlibError(
            f"the token {wrong[0]} has {learned[wrong[0]].shape[-1]} numbers, this base's text encoder wants {width}",
            hint="use the base that the checkpoint was trained on",
        )
    unknown = tokenizer.unk_token_id
    ids = [int(index) for index in tokenizer.convert_tokens_to_ids(list(learned))]
    missing = [token for token, index in zip(learned, ids, strict=True) if index == unknown]
    if missing:
        raise ConceptlibError(
            f"the tokenizer lacks the learned token {missing[0]}", hint="the checkpoint is incomplete"
        )
    split_table(encoder.module, ids, torch.stack(list(learned.values())))
    merge_table(encoder.module)
    pool_at_end_mark(encoder)


def save_learned(folder: Path, pipe: Any, tokens: Sequence[str]) -> None:
    """Write `learned_embeds.safetensors`: a float32 (D,) tensor a token, under the token's own name. Rows of a second
    text encoder have a file of their own.
    """
    from safetensors.torch import save_file

    for position, encoder in enumerate(of(pipe).encoders):
        ids = encoder.tokenizer.convert_tokens_to_ids(list(tokens))
        table = encoder.module.get_input_embeddings().weight.detach().float().cpu()
        rows = {token: table[index].clone() for token, index in zip(tokens, ids, strict=True)}
        save_file(rows, folder / learned_file(position))


def initial_rows(
    pipe: Any, grid: Grid, init: str, phrases: Sequence[str], seed: int, encoder: Encoder | None = None
) -> torch.Tensor:
    """Where the location tokens' rows start: float32 (rows * cols, D), in the order of `grid.tokens()`.

    Args:
        init: `mean` (of the rows of the phrases' tokens), `random` (normal, with the old table's mean and spread) or
            `sincos2d` (GeoDiffusion: half the width encodes the column, half the row, scaled to the old table's
            spread).
        phrases: what the concepts are called.
        seed: of the random start.
        encoder: whose rows; by default those of the model's first text encoder.
    """
    encoder = encoder or of(pipe).encoders[0]
    table = encoder.module.get_input_embeddings().weight.detach().float().cpu()
    count, width = grid.rows * grid.cols, table.shape[1]
    if init == "mean":
        ids = encoder.tokenizer(list(phrases), add_special_tokens=False).input_ids
        return table[[index for phrase in ids for index in phrase]].mean(dim=0).expand(count, width).clone()
    if init == "random":
        noise = torch.randn((count, width), generator=torch.Generator().manual_seed(seed))
        return noise * table.std(dim=0) + table.mean(dim=0)
    code = np.stack([np.concatenate([_sincos(m, width // 2), _sincos(n, width - width // 2)]) for m, n in _bins(grid)])
    code = torch.from_numpy(code).float()
    return code / code.std() * table.std() + table.mean(dim=0)


def _bins(grid: Grid) -> list[Bin]:
    """Bins in the order of `grid.tokens()`: (m, n), column and row, row by row."""
    return [(m, n) for n in range(grid.rows) for m in range(grid.cols)]


def _sincos(position: int, width: int) -> np.ndarray:
    rates = 1 / 10_000 ** (np.arange((width + 1) // 2) / max(1, (width + 1) // 2))
    return np.stack([np.sin(position * rates), np.cos(position * rates)], axis=1).reshape(-1)[:width]


@dataclass(frozen=True)
class Prompt:
    """A training prompt; whether it holds location tokens, whether their cover is coarser than the boxes', whether
    words were cut.
    """

    text: str
    located: bool = False
    overflowed: bool = False
    shortened: bool = False


class PromptBuilder:
    """y' = caption ⊕ concept name ⊕ the token of every bin that a box covers (Geom-Erasing, section 3.2).

    Args:
        tokenizer: it must know the grid's tokens already.
        grid: bins; None for no location tokens.
        named: whether the concept's name is appended.
        policy: what to do when the text encoder's positions (77 with the two marks) do not suffice: see `Grid.cover`.
    """

    def __init__(self, tokenizer: Any, grid: Grid | None, *, named: bool, policy: Policy) -> None:
        self._tokenizer, self._grid, self._named, self._policy = tokenizer, grid, named, policy
        self.room = int(tokenizer.model_max_length) - 2

    def build(self, caption: str, found: Sequence[tuple[str, np.ndarray]], width: int, height: int) -> Prompt:
        """The prompt of an image.

        Args:
            caption: as it is in the dataset.
            found: (concept's phrase, its boxes (N, 4) in pixels) of each concept in the image; empty: the plain
                caption.
            width, height: pixels of the image.

        Raises:
            ConceptlibError: it does not fit and the policy is `error`.
        """
        if not found or not (self._named or self._grid):
            return Prompt(caption)
        names = [name if self._named else "" for name, _ in found]
        bins = [tuple(self._grid.covered(boxes, width, height)) if self._grid else () for _, boxes in found]
        reserved = sum(token_count(self._tokenizer, f", {name}") for name in names) + sum(
            min(len(b), _RESERVED) for b in bins
        )
        kept = self._shorten(caption, self.room - reserved)
        # The least that every later concept needs is set aside before an earlier one may spread.
        room = self.room - token_count(self._tokenizer, kept) - reserved
        parts, overflowed = [], False
        for name, (_, boxes), own in zip(names, found, bins, strict=True):
            budget = room + min(len(own), _RESERVED)
            if self._grid and own:
                cover = self._grid.cover(boxes, width, height, budget, self._policy)
                own, overflowed = cover.bins, overflowed or cover.overflowed
                room = budget - len(own)
            parts.append(self._join(name, own))
        return Prompt(
            ", ".join([*([kept] if kept else []), *parts]), self._grid is not None, overflowed, kept != caption
        )

    def negative(self, phrases: Sequence[str]) -> str:
        """The concepts' names ⊕ the tokens of all bins (of a coarser cover if the positions do not suffice)."""
        names = " ".join(phrases) if self._named else ""
        if not self._grid:
            return names
        everything = np.array([[0, 0, self._grid.cols, self._grid.rows]], np.float32)
        budget = self.room - token_count(self._tokenizer, names)
        cover = self._grid.cover(everything, self._grid.cols, self._grid.rows, budget, "coarsen")
        return self._join(names, cover.bins)

    def _join(self, name: str, bins: Sequence[Bin]) -> str:
        tokens = [self._grid.token(m, n) for m, n in bins] if self._grid else []
        return " ".join([*([name] if name else []), *tokens])

    def _shorten(self, caption: str, room: int) -> str:
        """The caption without as many of its last words as do not fit `room` tokens."""
        words = caption.split(" ")
        while words and token_count(self._tokenizer, " ".join(words)) > room:
            words.pop()
        return caption if len(words) == len(caption.split(" ")) else " ".join(words)
