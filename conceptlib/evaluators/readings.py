"""What a judge reads in the pictures of a probe: does each show what its caption names?

Two judges. The classifier of the embedded world names one word an attribute; a picture is right when it is the
caption's. A CLIP compares with the anchor; a picture is right when it is nearer to what its caption names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from conceptlib.detectors.batches import batches
from conceptlib.evaluators.clip import Clip
from conceptlib.evaluators.features import BATCH, world_pixels
from conceptlib.evaluators.probes import Probe
from conceptlib.worlds.tiny import world


@dataclass(frozen=True)
class Reading:
    """The verdict on n pictures.

    Args:
        named: bool (n,), whether the picture shows the value that its caption names.
        others: attribute to bool (n,): whether the picture shows the caption's word of each other attribute; empty
            where there are none.
        seen: the value that was read, one a picture; empty for a judge that reads none.
        cosines: float (n,), of the picture with what its caption names; None for a judge without.
    """

    named: np.ndarray
    others: dict[str, np.ndarray] = field(default_factory=dict)
    seen: tuple[str, ...] = ()
    cosines: np.ndarray | None = None

    @property
    def cross(self) -> np.ndarray:
        """Share of the other attributes that are right, float (n,)."""
        return np.mean(list(self.others.values()), axis=0)

    def read_as(self, mask: np.ndarray) -> dict[str, int]:
        """How often each value was read in some of the pictures, the most frequent first."""
        words = [word for word, chosen in zip(self.seen, mask, strict=True) if chosen] if self.seen else []
        return dict(sorted(((word, words.count(word)) for word in set(words)), key=lambda pair: (-pair[1], pair[0])))


def read_world(pictures: Iterable[Image.Image], probe: Probe) -> Reading:
    """By the world's classifier.

    Style counts among the attributes: a caption without a style asks for `plain`.
    """
    from conceptlib.worlds.tiny.classifier import predict

    seen: dict[str, list[str]] = {name: [] for name in world.ATTRIBUTES}
    for batch in batches(pictures, BATCH):
        words = predict(world_pixels(batch))
        for name in seen:
            seen[name] += words[name]
    right = {
        name: np.array([row[name] == word for row, word in zip(probe.rows, words, strict=True)], bool)
        for name, words in seen.items()
    }
    named = right.pop(probe.domain)
    return Reading(named, right, tuple(seen[probe.domain]))


def read_clip(pictures: Iterable[Image.Image], probe: Probe, clip: Clip, anchor: str) -> Reading:
    """By a CLIP, against the anchor."""
    cosines = clip.cosines(clip.embed(pictures), [*probe.values, anchor])
    column = [probe.values.index(row["value"]) for row in probe.rows]
    own = cosines[np.arange(len(column)), column]
    return Reading(own > cosines[:, -1], cosines=own)
