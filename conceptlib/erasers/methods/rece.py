"""RECE (Gong et al., ECCV 2024): UCE, then again against the embedding that would bring the concept back.

After a UCE edit from W to W', the embedding that the edited model reads as the old one read the concept c is

    c̃ = (ρI + Σ_l W'_lᵀ W'_l)⁻¹ (Σ_l W'_lᵀ W_l) c

over all cross-attention keys and values l. Each round derives c̃ at all 77 positions of the concept's prompt and edits
it away from the weights as they are. All of it is one map of the embeddings, the same for every layer (see
`erasers.closed_form`), so the layers are read once, whatever the number of rounds.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from conceptlib.erasers.base import Job, Result
from conceptlib.erasers.methods import uce as _uce
from conceptlib.specs.params import PositiveFloat


class Params(_uce.Params):
    """Settings: those of UCE, and two more. The authors take ρ = 0.1 with 3 rounds (nudity), 2 (other unsafe concepts)
    or 1 (easy objects), and ρ = 0.001 for artists and hard objects.
    """

    rounds: Annotated[int, Field(ge=1, le=20)] = 1
    regularisation: PositiveFloat = 0.1
    """ρ: how near to 0 the derived embedding is kept; a smaller one erases more and spares less."""


FORWARDS = False
"""The denoiser is edited and never run."""


def needs(params: Params) -> frozenset[str]:
    """Nothing but the model."""
    return frozenset()


def run(job: Job) -> Result:
    """Edit `job.model` in closed form, in rounds; see the module."""
    from conceptlib.erasers.closed_form import derive, gram, uce
    from conceptlib.erasers.methods._closed_form import PART, finish, held, moves, pairs, refuse_unmoved

    params: Params = job.params
    wanted, kept = moves(job), held(job)
    refuse_unmoved(job, wanted)
    scales = {"lamb": params.lamb, "erase_scale": params.erase_scale, "preserve_scale": params.preserve_scale}
    preserved, _ = pairs(job.model, {phrase: phrase for phrase in kept}, params.templates, params.positions)
    begin = params.convention == "release"
    edit = uce(*pairs(job.model, wanted, params.templates, params.positions, begin=begin), preserved, **scales)
    concepts, targets = pairs(job.model, wanted, params.templates, "all")
    layers = gram(list(job.model.select(PART).values()))
    found = []
    for _ in range(params.rounds):
        derived = derive(edit, layers, concepts, regularisation=params.regularisation)
        # How much of the concept could still be brought back: 1 right after nothing was erased.
        found.append(round(float((derived.norm(dim=1) / concepts.double().norm(dim=1)).mean()), 6))
        edit = edit.then(uce(derived, targets, preserved, **scales))
    return finish(
        job.model,
        edit,
        params.adapter,
        f"UCE (positions: {params.positions}), {params.rounds} rounds at all positions, rho {params.regularisation:g}"
        + (", an empty anchor is the begin mark" if begin else ""),
        {"edited": len(wanted), "preserved": len(kept), "rounds": params.rounds, "derived_norms": found},
    )
