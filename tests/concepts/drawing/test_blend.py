"""Blend modes against the W3C's formulas, computed here in floating point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conceptlib.concepts.drawing.blend import BLENDS, blend


def hard_light(cb: np.ndarray, cs: np.ndarray) -> np.ndarray:
    return np.where(cs <= 0.5, cb * 2 * cs, cb + (2 * cs - 1) - cb * (2 * cs - 1))


# Compositing and Blending Level 1, 10.1; overlay is hard-light with the layers swapped.
FORMULAS = {
    "normal": lambda cb, cs: cs,
    "multiply": lambda cb, cs: cb * cs,
    "screen": lambda cb, cs: cb + cs - cb * cs,
    "overlay": lambda cb, cs: hard_light(cs, cb),
}


def test_every_mode_has_its_formula() -> None:
    assert set(FORMULAS) == set(BLENDS)


@pytest.mark.parametrize("mode", BLENDS)
@given(seed=st.integers(0, 2**32))
def test_the_result_is_the_formulas(mode: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    backdrop, source = (rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(2))
    alpha = rng.integers(0, 256, (16, 16), dtype=np.uint8)
    got = np.asarray(blend(Image.fromarray(backdrop), Image.fromarray(source), Image.fromarray(alpha), mode))
    cb, cs, a = backdrop / 255, source / 255, alpha[..., None] / 255
    wanted = (1 - a) * cb + a * FORMULAS[mode](cb, cs)
    assert np.abs(got - wanted * 255).max() <= 2


@pytest.mark.parametrize("mode", BLENDS)
def test_what_is_transparent_changes_nothing(mode: str) -> None:
    backdrop = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    assert (
        blend(backdrop, Image.new("RGB", (8, 8), "red"), Image.new("L", (8, 8)), mode).tobytes() == backdrop.tobytes()
    )
