"""Which captions the before/after picture shows."""

from __future__ import annotations

import numpy as np
import pytest

from conceptlib.evaluators.framed import choose


@pytest.mark.parametrize(
    ("found", "examples", "expected"),
    [
        ("0110100111", 4, ([1, 2, 4], [0])),
        ("0110100111", 8, ([1, 2, 4, 7, 8, 9][:6], [0, 3])),
        ("0000010000", 4, ([5], [0, 1, 2])),
        ("0000", 4, ([], [0, 1, 2, 3])),
        ("1111", 4, ([0, 1, 2, 3], [])),
        ("10", 8, ([0], [1])),
        ("10", 1, ([0], [])),
    ],
)
def test_the_first_rows_are_chosen_mostly_with_the_concept(
    found: str, examples: int, expected: tuple[list[int], list[int]]
) -> None:
    assert choose(np.array([c == "1" for c in found]), examples) == expected
