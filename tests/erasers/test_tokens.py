from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conceptlib.erasers.tokens import (
    PromptBuilder,
    SplitEmbedding,
    add_tokens,
    initial_rows,
    merge_table,
    save_learned,
    set_rows,
    split_table,
)
from conceptlib.errors import ConceptlibError
from conceptlib.geometry.bins import Grid
from conceptlib.models.encoding import encode_ids, token_count, token_ids
from tests.support.models import build_pipeline

GRID = Grid(2, 3)


def located(grid: Grid = GRID, **options: Any) -> tuple[Any, list[int], SplitEmbedding]:
    pipe = build_pipeline(**options)
    ids = add_tokens(pipe.tokenizer, grid.tokens())
    return pipe, ids, split_table(pipe.text_encoder, ids, initial_rows(pipe, grid, "random", ["QR code"], 0))


def test_tokens_are_one_id_each_wherever_they_stand() -> None:
    pipe = build_pipeline()
    before = len(pipe.tokenizer)
    ids = add_tokens(pipe.tokenizer, GRID.tokens())
    assert ids == list(range(before, before + 6))
    assert add_tokens(pipe.tokenizer, GRID.tokens()) == ids and len(pipe.tokenizer) == before + 6
    text = "a ring, QR code " + " ".join(GRID.tokens()) + GRID.tokens()[0]
    assert pipe.tokenizer(text, add_special_tokens=False).input_ids[-7:] == [*ids, ids[0]]


def test_new_rows_are_looked_up_and_the_table_is_not_copied_into_the_gradient() -> None:
    table = torch.nn.Embedding(5, 4).requires_grad_(False)
    rows = torch.arange(8.0).view(2, 4)
    split = SplitEmbedding(table, [6, 2], rows)  # one beyond the table, one in its middle
    ids = torch.tensor([[0, 6, 2], [2, 1, 4]])
    wanted = torch.stack([table.weight[0], rows[0], rows[1], rows[1], table.weight[1], table.weight[4]]).view(2, 3, 4)
    out = split(ids)
    assert torch.equal(out, wanted)
    out.sum().backward()
    assert table.weight.grad is None
    assert split.rows.grad is not None and split.rows.grad[:, 0].tolist() == [1.0, 2.0]


def test_training_moves_new_rows_only_and_merging_keeps_the_old_bytes() -> None:
    pipe, ids, split = located()
    old = split.table.weight.clone()
    split.rows.requires_grad_(True)
    optimizer = torch.optim.AdamW([split.rows], lr=0.1, weight_decay=0.5)
    prompt = token_ids(pipe.tokenizer, [f"a ring {GRID.token(1, 0)}"])
    encode_ids(pipe.text_encoder, pipe.tokenizer, prompt).square().sum().backward()
    optimizer.step()
    after = encode_ids(pipe.text_encoder, pipe.tokenizer, prompt).detach()
    rows = split.rows.detach().clone()
    merge_table(pipe.text_encoder)
    table = pipe.text_encoder.get_input_embeddings()
    assert (
        isinstance(table, torch.nn.Embedding)
        and pipe.text_encoder.config.vocab_size == table.num_embeddings == max(ids) + 1
    )
    assert torch.equal(table.weight[: len(old)], old) and torch.equal(table.weight[ids], rows)
    assert torch.equal(encode_ids(pipe.text_encoder, pipe.tokenizer, prompt), after)


def test_tokens_that_a_base_has_already_are_trained_in_place() -> None:
    pipe, ids, _ = located()
    merge_table(pipe.text_encoder)
    size = pipe.text_encoder.config.vocab_size
    split = split_table(pipe.text_encoder, add_tokens(pipe.tokenizer, GRID.tokens()), torch.ones(6, 32))
    merge_table(pipe.text_encoder)
    table = pipe.text_encoder.get_input_embeddings().weight
    assert len(table) == size and torch.equal(table[ids], torch.ones(6, 32)) and split.ids == ids


@pytest.mark.parametrize("init", ["mean", "random", "sincos2d"])
def test_new_rows_start_among_the_old_ones(init: str) -> None:
    pipe = build_pipeline()
    old = pipe.text_encoder.get_input_embeddings().weight
    rows = initial_rows(pipe, Grid(4, 4), init, ["QR code", "barcode"], 3)
    assert rows.shape == (16, 32) and rows.dtype == torch.float32
    assert torch.equal(rows, initial_rows(pipe, Grid(4, 4), init, ["QR code", "barcode"], 3))
    if init == "mean":
        ids = pipe.tokenizer("QR code barcode", add_special_tokens=False).input_ids
        torch.testing.assert_close(rows[5], old[ids].mean(dim=0))
    else:
        assert len(torch.unique(rows, dim=0)) == 16
        assert 0.5 < (rows.std() / old.std()).item() < 2


def test_the_position_code_puts_columns_in_one_half_and_rows_in_the_other() -> None:
    rows = initial_rows(build_pipeline(), Grid(3, 3), "sincos2d", ["x"], 0)
    torch.testing.assert_close(rows[0, :16], rows[3, :16])  # the same column, another row
    torch.testing.assert_close(rows[0, 16:], rows[1, 16:])  # the same row, another column
    assert not torch.allclose(rows[0, :16], rows[1, :16]) and not torch.allclose(rows[0, 16:], rows[3, 16:])


def test_rows_are_saved_by_name_and_given_to_another_pipeline(tmp_path: Path) -> None:
    pipe, _, _ = located()
    merge_table(pipe.text_encoder)
    save_learned(tmp_path, pipe, GRID.tokens())
    learned = load_file(tmp_path / "learned_embeds.safetensors")
    assert set(learned) == set(GRID.tokens()) and all(row.shape == (32,) for row in learned.values())
    other = build_pipeline()
    other.tokenizer = pipe.tokenizer
    set_rows(other, learned)
    assert torch.equal(
        other.text_encoder.get_input_embeddings().weight, pipe.text_encoder.get_input_embeddings().weight
    )
    with pytest.raises(ConceptlibError, match="lacks the learned token"):
        set_rows(build_pipeline(), learned)
    with pytest.raises(ConceptlibError, match="wants 48"):
        set_rows(build_pipeline(text_width=48), learned)


class TestPrompts:
    """Byte tokens: a letter is a token, so that lengths are easy to count."""

    def builder(self, grid: Grid | None, *, named: bool = True, policy: Any = "coarsen") -> PromptBuilder:
        pipe = build_pipeline()
        if grid:
            add_tokens(pipe.tokenizer, grid.tokens())
        return PromptBuilder(pipe.tokenizer, grid, named=named, policy=policy)

    def count(self, builder: PromptBuilder, text: str) -> int:
        return token_count(builder._tokenizer, text)

    def test_name_and_covered_bins_follow_the_caption(self) -> None:
        prompt = self.builder(Grid(4, 4)).build("a ring", [("QR code", np.array([[0, 0, 9, 3]]))], 32, 32)
        assert prompt.text == "a ring, QR code <l0,0> <l1,0>"
        assert prompt.located and not prompt.overflowed and not prompt.shortened

    def test_switches(self) -> None:
        found = [("QR code", np.array([[0, 0, 3, 3]]))]
        assert self.builder(Grid(4, 4), named=False).build("a ring", found, 32, 32).text == "a ring, <l0,0>"
        named = self.builder(None).build("a ring", found, 32, 32)
        assert (named.text, named.located) == ("a ring, QR code", False)
        assert self.builder(None, named=False).build("a ring", found, 32, 32).text == "a ring"

    def test_a_clean_picture_keeps_its_caption(self) -> None:
        prompt = self.builder(Grid(4, 4)).build("a ring", [], 32, 32)
        assert (prompt.text, prompt.located) == ("a ring", False)

    def test_an_empty_caption_leaves_no_comma(self) -> None:
        assert self.builder(Grid(1, 1)).build("", [("QR", np.array([[0, 0, 3, 3]]))], 32, 32).text == "QR <l0,0>"

    def test_several_concepts_each_bring_their_own_bins(self) -> None:
        found = [("QR code", np.array([[0, 0, 3, 3]])), ("mark", np.array([[30, 30, 32, 32]]))]
        assert self.builder(Grid(2, 2)).build("a ring", found, 32, 32).text == "a ring, QR code <l0,0>, mark <l1,1>"

    @pytest.mark.parametrize("policy", ["coarsen", "corners"])
    @pytest.mark.parametrize("length", [10, 60, 75, 200])
    def test_no_prompt_exceeds_the_77_positions_and_every_box_keeps_its_corners(self, policy: str, length: int) -> None:
        builder = self.builder(Grid(9, 9), policy=policy)
        caption = ("ab " * length)[:length].strip()
        prompt = builder.build(caption, [("QR code", np.array([[0, 0, 32, 32]]))], 32, 32)
        assert self.count(builder, prompt.text) <= 75
        assert prompt.overflowed and "<l0,0>" in prompt.text and "<l8,8>" in prompt.text
        assert prompt.shortened == (self.count(builder, caption) > 60)  # 75 less the name and eight bins
        if prompt.shortened:
            assert prompt.text.startswith("ab ab") and prompt.text.count("<l") >= 2

    def test_the_policy_error_says_so(self) -> None:
        with pytest.raises(ConceptlibError, match="81 bins"):
            self.builder(Grid(9, 9), policy="error").build("a ring", [("QR code", np.array([[0, 0, 32, 32]]))], 32, 32)

    def test_a_caption_that_just_fits_is_left_alone(self) -> None:
        builder = self.builder(Grid(4, 4))
        caption = "x" * (75 - self.count(builder, ", QR code") - 1)
        prompt = builder.build(caption, [("QR code", np.array([[0, 0, 3, 3]]))], 32, 32)
        assert prompt.text.startswith(caption) and not prompt.shortened and not prompt.overflowed
        assert self.count(builder, prompt.text) == 75

    def test_the_negative_prompt_names_every_bin(self) -> None:
        assert self.builder(Grid(2, 2)).negative(["QR code"]) == "QR code <l0,0> <l1,0> <l0,1> <l1,1>"
        assert self.builder(None).negative(["QR code", "mark"]) == "QR code mark"
        assert self.builder(None, named=False).negative(["QR code"]) == ""

    def test_a_negative_prompt_of_too_many_bins_is_coarser(self) -> None:
        builder = self.builder(Grid(10, 10))
        text = builder.negative(["QR code"])
        assert self.count(builder, text) <= 75 and "<l0,0>" in text and "<l9,9>" in text and text.count("<l") > 20
