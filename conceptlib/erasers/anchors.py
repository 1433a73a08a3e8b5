"""Anchors: what a concept is to mean instead, and the pairs of prompts that say so."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from conceptlib.errors import ConceptlibError
from conceptlib.specs.schema import ConceptSpec

T = TypeVar("T")
Kind = Literal["object", "style", "memorised"]
Pair = tuple[str, str]
"""Anchor prompt a, and the prompt c* that is to mean the same."""

TEMPLATES: dict[Kind, tuple[str, ...]] = {
    "object": (
        "{}",
        "a photo of a {}",
        "a close-up photo of a {}",
        "a picture of a {} outdoors",
        "a {} in a room",
        "a drawing of a {}",
        "a {} seen from the side",
        "the {} is in the middle of the picture",
    ),
    "style": (
        "a {} of a house by a river",
        "a {} of a woman reading",
        "a {} of mountains under clouds",
        "a {} of a street at night",
        "a {} of flowers in a vase",
        "a {} of ships in a harbour",
        "a {} of a field in summer",
        "a {} of two people at a table",
    ),
    "memorised": ("{}",),
}


@dataclass(frozen=True)
class Anchors:
    """How prompts about concepts are made from prompts about their anchors.

    kind: `object` puts the concept in the anchor's place, `style` adds ", in the style of" the concept, `memorised`
        takes the concept (a whole caption) as it is.
    shared: anchors of every concept that has none of its own; "painting" for styles if there are none.
    own: anchors by a concept's name or phrase.
    templates: anchor prompts, {} for the anchor; none: those of `TEMPLATES`.
    """

    kind: Kind
    shared: tuple[str, ...] = ()
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    templates: tuple[str, ...] = ()

    def of(self, concept: ConceptSpec) -> tuple[str, ...]:
        """The anchors of a concept, at least one.

        Raises:
            ConceptlibError: none are given, or one is the concept itself.
        """
        found = self.own.get(concept.name) or self.own.get(concept.phrase) or self.shared
        found = found or (("painting",) if self.kind == "style" else ())
        if not found or not all(anchor.strip() for anchor in found):
            raise ConceptlibError(
                f"the concept {concept.phrase!r} has no anchor: what should it mean instead?",
                where="anchor",
                hint="name something broader, such as anchor='[cat]' for a grumpy cat",
            )
        called = {phrase.casefold() for phrase in (concept.name, *concept.phrases)}
        same = [anchor for anchor in found if anchor.strip().casefold() in called]
        if same:
            raise ConceptlibError(
                f"the anchor {same[0]!r} is the concept itself: nothing would change",
                where="anchor",
                hint="name something broader",
            )
        return found

    def pairs(self, concept: ConceptSpec) -> list[Pair]:
        """(a, c*) for every anchor and template of a concept."""
        found = []
        for anchor in self.of(concept):
            for template in self.templates or TEMPLATES[self.kind]:
                filled = template.format(anchor)
                about = template.format(concept.phrase) if self.kind == "object" else self._styled(filled, concept)
                found.append((filled, about))
        return found

    def drawn(self, concepts: Sequence[ConceptSpec], count: int) -> list[Pair]:
        """The pairs of `count` pictures, every distinct one in turn.

        Raises:
            ConceptlibError: an anchor that is missing or is the concept; more distinct pairs than pictures.
        """
        distinct = [pair for concept in concepts for pair in self.pairs(concept)]
        if count < len(distinct):
            raise ConceptlibError(
                f"{count} pictures do not reach for {len(distinct)} anchor prompts",
                where="images",
                hint=f"use images={len(distinct)} or more",
            )
        return cycle(distinct, count)

    def of_captions(self, concept: ConceptSpec, captions: Sequence[str]) -> dict[int, Pair]:
        """The pairs that captions of given pictures make, by position: those that name an anchor as words of their own;
        of a memorised caption all, since they are its paraphrases.
        """
        if self.kind == "memorised":
            return {index: (caption, concept.phrase) for index, caption in enumerate(captions) if caption}
        words = "|".join(re.escape(anchor) for anchor in self.of(concept))
        pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
        found = {}
        for index, caption in enumerate(captions):
            if pattern.search(caption):
                replaced = pattern.sub(lambda _: concept.phrase, caption, count=1)
                found[index] = (caption, replaced if self.kind == "object" else self._styled(caption, concept))
        return found

    def _styled(self, prompt: str, concept: ConceptSpec) -> str:
        return f"{prompt}, in the style of {concept.phrase}" if self.kind == "style" else concept.phrase


def cycle(items: Sequence[T], count: int) -> list[T]:
    """`count` items, taking each in turn."""
    return [items[index % len(items)] for index in range(count)]
