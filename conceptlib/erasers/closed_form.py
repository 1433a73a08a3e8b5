"""Edits of linear maps in closed form: UCE (Gandikota et al., WACV 2024) and RECE (Gong et al., ECCV 2024).

UCE wants, for every matrix W that reads prompt embeddings (the keys and values of cross-attention),

    W' = (λW + e·Σ W c_i* c_iᵀ + p·Σ W k_j k_jᵀ)(λI + e·Σ c_i c_iᵀ + p·Σ k_j k_jᵀ)⁻¹

where c_i are embeddings to be redirected, c_i* what they shall be read as, k_j what must not move. With M the right
factor, D = [c* − c] and C = [c], this is W' = W (I + e·D Cᵀ M⁻¹): the same map of the embeddings for every W. So M is
factored once, whatever the number of layers; the edit has rank ≤ the number of embeddings, and is a LoRA as it stands.
Edits compose: a second one of W' is a second factor on the right.

Everything is float64 and lives on the CPU; embeddings are rows, (n, D). Matrices (out, D) are edited a few rows at a
time: float64 copies of whole ones, made and freed between the results that stay, leave gaps in the heap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch

from conceptlib.errors import ConceptlibError

ROWS: Final = 16
"""How many rows of a matrix are edited at a time; more need more memory (`benchmarks/uce.py`) and are hardly faster."""


@dataclass(frozen=True)
class Edit:
    """The map I + U V of embeddings, by which every edited matrix is multiplied from the right.

    up: U, float64 (D, r). down: V, float64 (r, D).
    """

    up: torch.Tensor
    down: torch.Tensor

    @property
    def rank(self) -> int:
        """r, an upper bound of the rank of what is added."""
        return self.up.shape[1]

    def matrix(self) -> torch.Tensor:
        """I + U V, float64 (D, D)."""
        return torch.eye(len(self.up), dtype=torch.float64) + self.up @ self.down

    def apply(self, weight: torch.Tensor) -> torch.Tensor:
        """W (I + U V), (out, D), in the weight's dtype and on its device."""
        edited = torch.empty_like(weight.detach())
        for exact, rows in zip(_blocks(weight), edited.split(ROWS), strict=True):
            rows.copy_(torch.addmm(exact, exact @ self.up, self.down))
        return edited

    def lora(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """LoRA matrices of what is added to W: B, float32 (out, r), and A, float32 (r, D), with W' = W + B A.

        A is one tensor for all layers.
        """
        up = torch.empty(len(weight), self.rank)
        for exact, rows in zip(_blocks(weight), up.split(ROWS), strict=True):
            rows.copy_(exact @ self.up)
        return up, self._a

    @cached_property
    def _a(self) -> torch.Tensor:
        return self.down.float().contiguous()

    def then(self, other: Edit) -> Edit:
        """This edit followed by one of the matrices that it gave: (I + U₁V₁)(I + U₂V₂)."""
        moved = other.up + self.up @ (self.down @ other.up)
        return Edit(torch.cat([self.up, moved], 1), torch.cat([self.down, other.down]))

    def compact(self, tolerance: float = 1e-12) -> Edit:
        """The same map with as small an r as there is, its two factors of equal size, so that float32 rounds both
        alike.

        tolerance: singular values below this share of the largest are rounding errors.
        """
        left, upper = torch.linalg.qr(self.up)
        right, lower = torch.linalg.qr(self.down.T)
        u, values, v = torch.linalg.svd(upper @ lower.T)
        kept = int((values > tolerance * values.max()).sum()) if len(values) else 0
        roots = values[:kept].sqrt()
        return Edit((left @ u[:, :kept]) * roots, (roots[:, None] * v[:kept]) @ right.T)


def uce(
    sources: torch.Tensor,
    targets: torch.Tensor,
    preserved: torch.Tensor | None = None,
    *,
    lamb: float = 0.5,
    erase_scale: float = 1.0,
    preserve_scale: float = 1.0,
) -> Edit:
    """The edit that reads `sources` as `targets` and leaves `preserved` where it is, as far as λ lets it.

    Args:
        sources: c, (n, D).
        targets: c*, (n, D); equal rows of both do nothing but hold the row in place.
        preserved: k, (m, D), or None.
        lamb: λ > 0, how strongly each matrix is held where it is.
        erase_scale, preserve_scale: e and p.

    Raises:
        ConceptlibError: shapes that differ, values that are not finite, a λ of 0 or less.
    """
    c, target = _exact(sources), _exact(targets)
    k = c[:0] if preserved is None else _exact(preserved)
    if c.shape != target.shape or k.shape[1] != c.shape[1]:
        raise ConceptlibError(
            f"embeddings of unlike shapes: {tuple(c.shape)}, {tuple(target.shape)}, {tuple(k.shape)}",
            hint="a target for every source, all of one width",
        )
    if lamb <= 0:
        raise ConceptlibError(f"lamb {lamb} must be above 0", where="uce")
    m = torch.eye(c.shape[1], dtype=torch.float64).mul_(lamb)
    m.addmm_(c.T, c, alpha=erase_scale).addmm_(k.T, k, alpha=preserve_scale)
    solved = torch.cholesky_solve(c.T, _factor(m))  # M⁻¹C; M is symmetric, so its transpose is CᵀM⁻¹
    return Edit((target - c).mul_(erase_scale).T, solved.T)


def gram(weights: list[torch.Tensor]) -> torch.Tensor:
    """Σ WᵀW over matrices (out, D): float64 (D, D)."""
    total = torch.zeros(weights[0].shape[1], weights[0].shape[1], dtype=torch.float64)
    for weight in weights:
        exact = weight.detach().to("cpu", torch.float64)
        total.addmm_(exact.T, exact)
    return total


def derive(edit: Edit, gram_matrix: torch.Tensor, concepts: torch.Tensor, *, regularisation: float) -> torch.Tensor:
    """RECE: the embeddings that the edited matrices read as the original ones read `concepts`.

    c̃ = (ρI + Σ W'ᵀW')⁻¹ (Σ W'ᵀW) c. With W' = W T it needs the layers only through G = Σ WᵀW: Σ W'ᵀW' = TᵀGT and
    Σ W'ᵀW = TᵀG.

    Args:
        edit: T.
        gram_matrix: G, of the unedited matrices.
        concepts: c, (n, D).
        regularisation: ρ > 0.

    Returns:
        c̃, float64 (n, D).
    """
    if regularisation <= 0:
        raise ConceptlibError(f"regularisation {regularisation} must be above 0", where="rece")
    t = edit.matrix()
    pulled = t.T @ gram_matrix
    m = pulled @ t
    m = (m + m.T) / 2
    m.diagonal().add_(regularisation)
    return torch.cholesky_solve(pulled @ _exact(concepts).T, _factor(m)).T


def _blocks(weight: torch.Tensor) -> Iterator[torch.Tensor]:
    """A matrix (out, D), `ROWS` of it at a time, in float64."""
    return (rows.to("cpu", torch.float64) for rows in weight.detach().split(ROWS))


def _exact(rows: torch.Tensor) -> torch.Tensor:
    exact = rows.detach().to("cpu", torch.float64)
    if exact.ndim != 2 or not bool(torch.isfinite(exact).all()):
        raise ConceptlibError("embeddings must be finite and of shape (n, D)", where="closed form")
    return exact


def _factor(m: torch.Tensor) -> torch.Tensor:
    factor, failed = torch.linalg.cholesky_ex(m)
    if int(failed):
        raise ConceptlibError(
            "the system has no solution to double precision", where="closed form", hint="a larger lamb (λ, ρ) helps"
        )
    return factor
