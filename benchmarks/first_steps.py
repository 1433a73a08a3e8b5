"""How often a sampler draws an overlay that lies in one of four corners: exact posterior, 20 or more DDIM steps.

    python benchmarks/first_steps.py

No network: a picture has an overlay with probability q, in one of four corners, and each corner's overlay is a vector
of length D that is orthogonal to the others. Then E[x | z] is known, and what is lost is lost by the steps alone. D is
about 16 to 28 for `tiny`'s latents of unit variance. Each step moves towards a mean of all corners, and the fewer steps
there are while that mean is all there is, the seldomer one corner wins (docs/tiny.md).
"""

from __future__ import annotations

import numpy as np

from conceptlib.worlds.tiny.diffusion import shifted_cosine_betas

Q, CORNERS = 0.45, 4


def rate(length: float, shift: float, steps: int, n: int = 20_000, seed: int = 0) -> float:
    """Share of `n` samples that end in an overlay, 0 to 1."""
    alphas = np.cumprod(1 - np.array(shifted_cosine_betas(shift)))
    timesteps = np.round(1000 - np.arange(steps) * 1000 / steps).astype(int) - 1  # "trailing"
    z = np.random.default_rng(seed).standard_normal((n, CORNERS))
    prior = np.log([1 - Q] + [Q / CORNERS] * CORNERS)
    for step, t in enumerate(timesteps):
        alpha, sigma = np.sqrt(alphas[t]), np.sqrt(1 - alphas[t])
        after = alphas[timesteps[step + 1]] if step + 1 < steps else 1.0
        evidence = (alpha * length * z - (alpha * length) ** 2 / 2) / sigma**2
        logits = prior + np.concatenate([np.zeros((n, 1)), evidence], 1)
        weights = np.exp(logits - logits.max(1, keepdims=True))
        mean = length * (weights / weights.sum(1, keepdims=True))[:, 1:]
        z = np.sqrt(after) * mean + np.sqrt(1 - after) * (z - alpha * mean) / sigma
    return float((z.max(1) > length / 2).mean())


if __name__ == "__main__":
    print(f"overlay in {Q:.0%} of the data; share of samples that have one\n")
    print("| D | shift | 20 steps | 40 steps | 100 steps |\n|---|---|---|---|---|")
    for length in (16, 22, 28):
        for shift in (1, 2, 4):
            print(f"| {length} | {shift} |", " | ".join(f"{rate(length, shift, s):.1%}" for s in (20, 40, 100)), "|")
