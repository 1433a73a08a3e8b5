from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.store.seeds import row_generator, row_seed

numbers = st.integers(0, 2**32)


@given(numbers, numbers, st.text(max_size=10))
def test_a_row_draws_the_same_numbers_every_time(seed: int, row: int, stream: str) -> None:
    first, second = row_generator(seed, row, stream), row_generator(seed, row, stream)
    assert first.integers(0, 2**62, 4).tolist() == second.integers(0, 2**62, 4).tolist()
    assert 0 <= row_seed(seed, row, stream) < 2**63


def test_rows_seeds_and_streams_differ() -> None:
    drawn = {
        row_seed(seed, row, stream) for seed in range(5) for row in range(200) for stream in ("", "caption", "overlay")
    }
    assert len(drawn) == 5 * 200 * 3


def test_without_a_stream_it_is_the_seed_sequence_of_seed_and_row() -> None:
    expected = np.random.default_rng(np.random.SeedSequence([3, 7])).random(5)
    assert row_generator(3, 7).random(5).tolist() == expected.tolist()
