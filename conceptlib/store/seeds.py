"""A seed belongs to a row: the same row draws the same numbers with 1 or 8 workers, in any order, in any batch.

New code draws its random numbers from here: `row_generator(seed, row, "what for")` for NumPy, `row_seed` for torch,
with a stream of its own for each use, so that a new use shifts no other. What existed before keeps its own scheme,
since its results are pinned: the world's images, and the overlays (`SeedSequence` with the hash of a row's key).
"""

from __future__ import annotations

import zlib

import numpy as np


def row_generator(seed: int, row: int, stream: str = "") -> np.random.Generator:
    """NumPy's generator for one row of one job. ``stream`` separates the uses within a row ("caption", "overlay").

    Args:
        seed: >= 0, from the spec.
        row: >= 0, the row's number in the whole job.
    """
    return np.random.Generator(np.random.PCG64(_sequence(seed, row, stream)))


def row_seed(seed: int, row: int, stream: str = "") -> int:
    """A seed in [0, 2**63) for a ``torch.Generator`` of one row."""
    return int(_sequence(seed, row, stream).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _sequence(seed: int, row: int, stream: str) -> np.random.SeedSequence:
    # Without a stream this is SeedSequence([seed, row]), as everywhere in the project; hash() would differ from run to
    # run.
    return np.random.SeedSequence([seed, row, zlib.crc32(stream.encode())] if stream else [seed, row])
