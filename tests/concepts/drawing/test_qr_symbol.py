"""Symbols, module by module, against segno's."""

from __future__ import annotations

import numpy as np
import pytest
import segno

from conceptlib.concepts.drawing.qr_symbol import modules
from conceptlib.concepts.overlays.qr import ERROR_LEVELS, MODES, random_payload


@pytest.mark.parametrize("version", range(1, 11))
@pytest.mark.parametrize("level", ERROR_LEVELS)
def test_a_symbol_is_segnos(version: int, level: str) -> None:
    rng = np.random.default_rng(version)
    for mode in MODES:
        mask = int(rng.integers(8))
        payload = random_payload(rng, mode, version, level)
        symbol = segno.make_qr(payload, error=level, version=version, mode=mode, boost_error=False, mask=mask)
        expected = np.array([list(line) for line in symbol.matrix], bool)
        assert np.array_equal(modules(payload, mode, version, level, mask), expected)


@pytest.mark.parametrize("mask", range(8))
@pytest.mark.parametrize("length", [1, 2, 3, 16, 17])
def test_every_mask_and_the_last_free_bit(mask: int, length: int) -> None:
    for mode, payload in (("byte", "a" * length), ("numeric", "7" * length), ("alphanumeric", "A" * length)):
        symbol = segno.make_qr(payload, error="L", version=1, mode=mode, boost_error=False, mask=mask)
        expected = np.array([list(line) for line in symbol.matrix], bool)
        assert np.array_equal(modules(payload, mode, 1, "L", mask), expected)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        modules("a" * 18, "byte", 1, "L", 0)
