"""Caption accuracy: does the picture show what its caption says?

A classifier reads each picture; its words are compared with the caption's. An image is *right* when every compared
attribute is (object, colour and background by default: the caption leaves "plain" out, so style is not asked).
Reported are

- `caption_accuracy`: share of images with all attributes right. The strict figure, and the one in the tables;
- `accuracy_<attribute>`: share of images with that attribute right.

Both with Wilson 95 % intervals. Images whose caption does not state all the attributes are left out of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from conceptlib.evaluators.stats import Estimate, wilson

ATTRIBUTES = ("object", "colour", "background")


def stated(labels: Sequence[Mapping[str, str | None]], attributes: Sequence[str] = ATTRIBUTES) -> np.ndarray:
    """Which rows state every attribute: bool (n,)."""
    return np.array([all(row.get(name) for name in attributes) for row in labels], dtype=bool)


def right(
    labels: Sequence[Mapping[str, str | None]],
    seen: Mapping[str, Sequence[str]],
    attributes: Sequence[str] = ATTRIBUTES,
) -> dict[str, np.ndarray]:
    """Compare what is seen with what was asked for.

    Args:
        labels: what each caption says, one mapping of attribute to word an image.
        seen: what the classifier read: attribute to one word an image.
        attributes: which to compare.

    Returns:
        attribute -> bool (n,), and `caption` -> bool (n,), true where all are right.
    """
    each = {
        name: np.array([row.get(name) == word for row, word in zip(labels, seen[name], strict=True)], bool)
        for name in attributes
    }
    return {**each, "caption": np.logical_and.reduce([each[name] for name in attributes])}


def caption_accuracy(verdicts: Mapping[str, np.ndarray]) -> dict[str, Estimate]:
    """Scores by metric name, from the verdicts of `right`.

    Raises:
        ConceptlibError: no images.
    """
    return {
        "caption_accuracy" if name == "caption" else f"accuracy_{name}": wilson(int(np.sum(verdict)), len(verdict))
        for name, verdict in verdicts.items()
    }
