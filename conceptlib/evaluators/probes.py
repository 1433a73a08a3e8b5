"""Probes: the captions that show whether something explicit is still drawn, and what else has changed.

A probe has captions that name the *target* and captions that name each of its *neighbours*: the other words of its
domain. In the embedded world the domains are its attributes; elsewhere the domain is what the caller says it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from conceptlib.errors import ConceptlibError, did_you_mean
from conceptlib.store.seeds import row_seed
from conceptlib.worlds.tiny import world

UNNAMED = "plain"
"""The word of the world that captions leave out."""
SPACING = 100_000
"""Scenes from the first of one value to the first of the next, so that few pictures of each still show many scenes."""


@dataclass(frozen=True)
class Probe:
    """What to draw.

    Args:
        target: the word or phrase that was erased.
        domain: `object`, `colour`, `background` or `style`; empty outside the world.
        values: the target, then its neighbours.
        rows: `caption`, `seed`, `value` (one of `values`) and, of the world, its four words. The target's come first.
    """

    target: str
    domain: str
    values: tuple[str, ...]
    rows: list[dict[str, Any]]

    @property
    def neighbours(self) -> tuple[str, ...]:
        return self.values[1:]

    def of(self, *values: str) -> np.ndarray:
        """Which rows name one of the values: bool (n,)."""
        return np.array([row["value"] in values for row in self.rows], bool)


def domain_of(target: str) -> str:
    """The attribute of the world that a target is a word of; a phrase around it ("a red star") names no single one.

    Raises:
        ConceptlibError: it is none of the world's words.
    """
    found = [name for name, words in world.ATTRIBUTES.items() if target in words]
    if not found:
        words = [word for words in world.ATTRIBUTES.values() for word in words]
        raise ConceptlibError(
            f"{target!r} is no word of the embedded world",
            where="target",
            hint=f"{did_you_mean(target, words)} For pictures of anything else name a CLIP that can read them "
            "(clip=laion/CLIP-ViT-B-32-laion2B-s34B-b79K), an anchor and neighbours",
        )
    return found[0]


def world_probe(target: str, *, n: int, each: int, seed: int, without: Sequence[str] = ()) -> Probe:
    """The probe of a word of the world.

    A value's rows are held-out scenes of the world `seed`, with the value in the place of the scene's own word, and do
    not depend on what was erased: a smaller probe holds the first rows of a larger one, and the pictures of a
    value as a neighbour are among those of it as a target.

    Args:
        target: the word.
        n: captions of the target. each: captions of each neighbour.
        seed: of the suite; decides scenes and noise.
        without: words that are no neighbours, such as what else was erased.

    Raises:
        ConceptlibError: no such word.
    """
    domain = domain_of(target)
    values = (target, *(word for word in world.ATTRIBUTES[domain] if word not in (target, *without)))
    rows = [
        {"value": value, "caption": caption, "seed": row_seed(seed, index, f"probe/{value}"), **world.labels(scene)}
        for value in values
        for index, (scene, caption) in enumerate(_scenes(domain, value, n if value == target else each, seed))
    ]
    return Probe(target, domain, values, rows)


def _scenes(domain: str, value: str, count: int, seed: int) -> Iterator[tuple[world.Scene, str]]:
    start = SPACING * world.ATTRIBUTES[domain].index(value)
    for index in range(start, start + count):
        rng = world.row_rng(seed, index, "held-out")
        word: dict[str, Any] = {domain: value}
        scene = replace(world.sample_scene(rng), **word)
        yield scene, world.caption(scene, rng)


def phrase_probe(
    target: str, neighbours: Sequence[str], templates: Sequence[str], *, n: int, each: int, seed: int
) -> Probe:
    """The probe of any phrase: the templates in turn, with `{}` filled in.

    Raises:
        ConceptlibError: a template without `{}`, or the target among its neighbours.
    """
    if target in neighbours:
        raise ConceptlibError(f"{target!r} is its own neighbour", where="neighbours")
    if bad := [template for template in templates if "{}" not in template]:
        raise ConceptlibError(f"the template {bad[0]!r} has no place for the concept", hint="write {} where it goes")
    values = (target, *dict.fromkeys(neighbours))
    rows = [
        {
            "value": value,
            "caption": templates[index % len(templates)].replace("{}", value),
            "seed": row_seed(seed, index, f"probe/{value}"),
        }
        for value in values
        for index in range(n if value == target else each)
    ]
    return Probe(target, "", values, rows)


def distances(probe: Probe, pipe: Any) -> dict[str, float]:
    """How far each neighbour is from the target to the text encoder: the cosine distance of
    `conceptlib.erasers.neighbours`, in [0, 2]. `plain`, which no caption names, has none.

    Args:
        probe: whose values.
        pipe: the model before erasure.
    """
    from conceptlib.erasers.neighbours import cosine_distance
    from conceptlib.models.words import phrase_states

    named = [value for value in probe.values if value != UNNAMED]
    if probe.target not in named:
        return {}
    states = dict(zip(named, phrase_states(pipe, named), strict=True))
    own = states.pop(probe.target)
    return {value: round(float(cosine_distance(state[None], own[None])), 6) for value, state in states.items()}
