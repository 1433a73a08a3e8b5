"""UCE and RECE against the papers' sums, layer by layer, solved directly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from conceptlib.erasers.closed_form import ROWS, Edit, derive, gram, uce
from conceptlib.errors import ConceptlibError

WIDTH = 12
SHAPES = (8, 8, 20, 5)


def rows(n: int, seed: int, width: int = WIDTH) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layers(seed: int = 9) -> list[torch.Tensor]:
    return [rows(out, seed + index) for index, out in enumerate(SHAPES)]


def uce_by_the_paper(
    w: torch.Tensor, c: torch.Tensor, target: torch.Tensor, k: torch.Tensor, lamb: float, e: float, p: float
) -> torch.Tensor:
    """The sums as written, outer product by outer product, for one matrix, and a general solve."""
    left, right = lamb * w, lamb * torch.eye(w.shape[1], dtype=torch.float64)
    for ci, ti in zip(c, target, strict=True):
        left = left + e * torch.outer(w @ ti, ci)
        right = right + e * torch.outer(ci, ci)
    for kj in k:
        left = left + p * torch.outer(w @ kj, kj)
        right = right + p * torch.outer(kj, kj)
    return torch.linalg.solve(right, left, left=False)


@given(
    n=st.integers(1, 20),
    m=st.integers(0, 20),
    lamb=st.floats(0.01, 10),
    e=st.floats(0.1, 5),
    p=st.floats(0.1, 5),
    seed=st.integers(0, 99),
)
def test_uce_is_the_papers_sum_for_every_layer(n: int, m: int, lamb: float, e: float, p: float, seed: int) -> None:
    c, target, k = rows(n, seed), rows(n, seed + 100), rows(m, seed + 200)
    edit = uce(c, target, k, lamb=lamb, erase_scale=e, preserve_scale=p)
    assert edit.rank == n
    for w in layers(seed):
        torch.testing.assert_close(edit.apply(w), uce_by_the_paper(w, c, target, k, lamb, e, p), rtol=1e-8, atol=1e-9)


def test_more_concepts_than_dimensions_are_no_trouble_and_compact_drops_what_is_not_needed() -> None:
    edit = uce(rows(40, 1), rows(40, 2))
    small = edit.compact()
    assert edit.rank == 40 and small.rank == WIDTH
    torch.testing.assert_close(small.matrix(), edit.matrix())


def test_compact_finds_the_rank() -> None:
    c, target = rows(2, 1), rows(2, 2)
    edit = uce(c[[0, 1, 0]], target[[0, 1, 0]])
    assert edit.rank == 3 and edit.compact().rank == 2
    assert uce(c, c).compact().rank == 0
    torch.testing.assert_close(uce(c, c).compact().apply(layers()[0]), layers()[0])


def test_a_lora_is_the_edit_to_float32() -> None:
    edit = uce(rows(3, 1), rows(3, 2), rows(4, 3))
    for w in (layer.float() for layer in layers()):
        b, a = edit.lora(w)
        assert b.shape == (len(w), 3) and a.shape == (3, WIDTH) and b.dtype == a.dtype == torch.float32
        torch.testing.assert_close(w + b @ a, edit.apply(w), rtol=1e-5, atol=1e-5)
        assert (edit.apply(w) - w).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("out", [1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS, 3 * ROWS + 5])
def test_a_matrix_edited_in_parts_is_the_whole_product(out: int, dtype: torch.dtype) -> None:
    edit = uce(rows(3, 1), rows(3, 2), rows(4, 3))
    for weight in (rows(out, 5).to(dtype), rows(WIDTH, 6, out).to(dtype).T):  # one of them not contiguous
        before = weight.clone()
        exact = before.double() @ edit.matrix()
        found, (b, a) = edit.apply(torch.nn.Parameter(weight)), edit.lora(weight)
        assert found.dtype == dtype and not found.requires_grad and torch.equal(weight, before)
        torch.testing.assert_close(found, exact.to(dtype))
        torch.testing.assert_close(b.double() @ a.double(), exact - before.double(), rtol=1e-5, atol=1e-5)


def test_an_edit_of_rank_0_changes_nothing() -> None:
    edit, weight = uce(rows(2, 1), rows(2, 1)).compact(), rows(ROWS + 3, 5).float()
    b, a = edit.lora(weight)
    assert torch.equal(edit.apply(weight), weight) and b.shape == (ROWS + 3, 0) and a.shape == (0, WIDTH)


def test_no_float64_copy_of_a_whole_matrix_is_made() -> None:
    """Of what an edit calculates, the largest float64 tensor has `ROWS` rows."""
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor) and made.dtype == torch.float64:
                largest = max(largest, made.numel())
            return made

    edit, weight = uce(rows(3, 1), rows(3, 2)), rows(20 * ROWS, 5).float()
    with Watch():
        edit.apply(weight)
        _, first = edit.lora(weight)
        _, second = edit.lora(weight)
    assert largest == ROWS * WIDTH and first is second


def test_what_is_preserved_moves_less_and_what_is_erased_goes_to_its_target() -> None:
    c, target, k = rows(1, 1), rows(1, 2), rows(1, 3) + rows(1, 1)
    w = layers()[2]

    def moved(edit: Edit, vector: torch.Tensor, to: torch.Tensor) -> float:
        return float((edit.apply(w) @ vector.T - w @ to.T).norm())

    free, held = uce(c, target, lamb=1e-6), uce(c, target, k, lamb=1e-6)
    assert moved(held, k, k) < 1e-4 < moved(free, k, k)
    assert moved(held, c, target) < 1e-3
    assert moved(uce(c, target, k, lamb=1e9), c, c) < 1e-5


def test_edits_compose() -> None:
    first, second = uce(rows(2, 1), rows(2, 2)), uce(rows(3, 4), rows(3, 5), rows(2, 6))
    both = first.then(second)
    for w in layers():
        torch.testing.assert_close(both.apply(w), second.apply(first.apply(w)))


@pytest.mark.parametrize("rho", [1e-3, 1e-1, 5.0])
def test_rece_derives_what_the_paper_derives(rho: float) -> None:
    """Σ over the layers' own edited weights, as in the paper, inverted; twice in a row."""
    c, k = rows(5, 1), rows(2, 3)
    edit = uce(c, rows(5, 2), k)
    originals = layers()
    edited = [uce_by_the_paper(w, c, rows(5, 2), k, 0.5, 1, 1) for w in originals]
    for round_ in range(2):
        left = rho * torch.eye(WIDTH, dtype=torch.float64) + sum(new.T @ new for new in edited)
        right = sum(new.T @ old for new, old in zip(edited, originals, strict=True))
        wanted = (torch.linalg.inv(left) @ right @ c.T).T
        found = derive(edit, gram(originals), c, regularisation=rho)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)
        target = rows(5, 20 + round_)
        edited = [uce_by_the_paper(w, wanted, target, k, 0.5, 1, 1) for w in edited]
        edit = edit.then(uce(found, target, k))
        for new, old in zip(edited, originals, strict=True):
            torch.testing.assert_close(edit.apply(old), new, rtol=1e-6, atol=1e-8)


def test_what_rece_derives_brings_the_concept_back() -> None:
    c = rows(1, 1)
    edit = uce(c, rows(1, 2))
    found = derive(edit, gram(layers()), c, regularisation=1e-8)
    w = layers()[2]
    torch.testing.assert_close(edit.apply(w) @ found.T, w @ c.T, rtol=1e-5, atol=1e-5)


def test_dtype_and_device_are_the_weights() -> None:
    edit = uce(rows(2, 1).float(), rows(2, 2).half())
    assert edit.apply(layers()[0].half()).dtype == torch.float16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uce(rows(2, 1), rows(3, 1)), "unlike shapes"),
        (lambda: uce(rows(2, 1), rows(2, 1), rows(2, 1, 5)), "unlike shapes"),
        (lambda: uce(rows(2, 1), rows(2, 1), lamb=0), "above 0"),
        (lambda: uce(rows(2, 1) * float("nan"), rows(2, 1)), "finite"),
        (lambda: derive(uce(rows(1, 1), rows(1, 2)), gram(layers()), rows(1, 1), regularisation=0), "above 0"),
    ],
)
def test_what_cannot_be_solved_is_said(call: object, message: str) -> None:
    with pytest.raises(ConceptlibError, match=message):
        call()  # type: ignore[operator]
