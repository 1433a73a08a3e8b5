"""Changes of weight matrices as products of two thin ones, where they are such products."""

from __future__ import annotations

import torch

TOLERANCE = 1e-5
"""Singular values below this share of the largest one are rounding: float32 weights hold about seven digits."""


def factor(delta: torch.Tensor, *, scale: float, tolerance: float = TOLERANCE) -> tuple[torch.Tensor, torch.Tensor]:
    """`up` (out, r) and `down` (r, in), float32, with up @ down = delta but for rounding; r is delta's numerical rank.

    Args:
        delta: (out, in, ...): further dimensions (a convolution's kernel) count as inputs.
        scale: the largest absolute weight of the matrix that the change was made to; what is smaller than its rounding
            error is no change.
        tolerance: relative to the largest singular value.
    """
    flat = delta.detach().double().flatten(1)
    left, values, right = torch.linalg.svd(flat, full_matrices=False)
    # Each entry of W' - W may be off by W's own rounding, which adds singular values of up to about this size.
    noise = scale * torch.finfo(torch.float32).eps * sum(flat.shape) ** 0.5
    floor = max(tolerance * float(values[0]), noise) if len(values) else 0.0
    rank = int((values > floor).sum())
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).float(), (root[:, None] * right[:rank]).float()
