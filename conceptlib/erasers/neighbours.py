"""Neighbours: what should survive an erasure, as data.

Three sources, which a recipe's `neighbours:` may mix:

* `given`: phrases by hand.
* `nearest`: the k words of the model's own vocabulary nearest to the concept in text-embedding space.
* `gaussian`: samples around the concept's embedding. Most such points are no prompt at all, so each is decoded to the
  nearest real word, and `gap` says how far that word is from the sample; a gap as large as the distance between words
  means that the sample said nothing.

Every distance is the cosine distance 1 − cos, in [0, 2], between states of the text encoder at the phrase's last token,
the phrase alone in the prompt. A concept is as far away as its nearest phrase. Words that share a stem with a concept
("stars" for "star") are no neighbours: they should go with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conceptlib.specs.neighbours import NeighbourSpec

if TYPE_CHECKING:
    import torch

_STEM = 3


@dataclass(frozen=True)
class Neighbour:
    """A phrase that should survive.

    distance: to the nearest concept. source: `given`, `nearest` or `gaussian`. gap: for `gaussian`, the distance from
    the sample to the phrase that it was decoded to.
    """

    phrase: str
    distance: float
    source: str
    gap: float | None = None


def find_neighbours(pipe: Any, concepts: Sequence[str], wanted: NeighbourSpec, *, seed: int = 0) -> list[Neighbour]:
    """The neighbours that a recipe asks for, by hand first, then by distance; a phrase is listed once.

    Args:
        pipe: a pipeline of a known family, or its `Model`; its text encoders say what is near.
        concepts: the phrases that are erased, one or more.
        seed: of the Gaussian samples.
    """
    import torch

    from conceptlib.models.family import of
    from conceptlib.models.words import phrase_states, vocabulary, vocabulary_states

    if not wanted:
        return []
    centres = phrase_states(pipe, concepts)
    distances = cosine_distance(phrase_states(pipe, wanted.given), centres).amin(1)
    found = [
        Neighbour(phrase, _rounded(distance), "given") for phrase, distance in zip(wanted.given, distances, strict=True)
    ]
    known = {phrase.lower() for phrase in wanted.given}
    words = [
        word
        for word in (vocabulary(of(pipe).tokenizer) if wanted.nearest or wanted.gaussian else ())
        if word not in known and not any(related(word, concept) for concept in concepts)
    ]
    states = vocabulary_states(pipe, words)
    distance = cosine_distance(states, centres).amin(1)
    nearest = torch.argsort(distance, stable=True)[: wanted.nearest].tolist()
    found += [Neighbour(words[index], _rounded(distance[index]), "nearest") for index in nearest]
    if wanted.gaussian and words:
        samples = gaussian_samples(centres, wanted.gaussian, wanted.spread, seed)
        gaps, decoded = cosine_distance(samples, states).min(1)
        closest: dict[int, float] = {}
        for index, gap in zip(decoded.tolist(), gaps.tolist(), strict=True):
            closest[index] = min(gap, closest.get(index, gap))
        found += [
            Neighbour(words[index], _rounded(distance[index]), "gaussian", _rounded(closest[index]))
            for index in sorted(set(closest) - set(nearest), key=lambda index: float(distance[index]))
        ]
    return found


def cosine_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """1 − cos between every row of a, (n, D), and every row of b, (m, D): (n, m), in [0, 2]."""
    import torch

    unit = (torch.nn.functional.normalize(rows.double(), dim=1) for rows in (a, b))
    return (1 - next(unit) @ next(unit).T).clamp(0, 2)


def gaussian_samples(centres: torch.Tensor, count: int, spread: float, seed: int) -> torch.Tensor:
    """`count` points c + s·‖c‖/√D·z, z standard normal, around the rows of `centres` in turn: float64 (count, D).

    spread: s, so that a sample lies about s·‖c‖ from its centre.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    around = centres.double()[torch.arange(count) % len(centres)]
    noise = torch.randn(around.shape, generator=generator, dtype=torch.float64)
    return around + spread * around.norm(dim=1, keepdim=True) / around.shape[1] ** 0.5 * noise


def related(word: str, phrase: str) -> bool:
    """Whether a word is one of a phrase's words, or one begins the other and both have three letters or more."""
    for part in phrase.lower().split():
        shorter, longer = sorted((word.lower(), part), key=len)
        if shorter == longer or (len(shorter) >= _STEM and longer.startswith(shorter)):
            return True
    return False


def _rounded(distance: Any) -> float:
    """Six digits: what differs behind them is the machine."""
    return round(float(distance), 6)
