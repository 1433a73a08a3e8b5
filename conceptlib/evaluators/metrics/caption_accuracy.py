"""Caption accuracy: does the image show what its caption says?

A judge reads a word for each label column in each image; they are compared with the caption's. An image is *right*
when every compared column is: those that all captions state (in the embedded world object, colour and background: a
caption leaves "plain" out, so style is not asked). Reported are

- `caption_accuracy`: share of images with all columns right. The strict figure, and the one in the tables;
- `accuracy_<column>`: share of images with that column right.

Both with Wilson 95 % intervals. Images whose caption does not state all the columns are left out of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from conceptlib.evaluators.base import Inputs, Metric, Score, Skip
from conceptlib.specs.params import Params as BaseParams
from conceptlib.stats import Estimate, wilson

METRIC = Metric("caption_accuracy", "share", higher_is_better=True, interval="wilson95", needs=("labels",))
ALSO = (replace(METRIC, name="accuracy_*"),)


class Params(BaseParams):
    """Nothing to set: what the captions state is compared."""


def compute(inputs: Inputs, params: Params) -> list[Score]:
    """Caption accuracy, and the accuracy of each column that the captions state."""
    read = inputs.readings["labels"].labels
    columns = [name for name in inputs.prompts.stated if name in read]
    if not columns:
        raise Skip("no judge here reads what these captions state")
    asked = stated(inputs.prompts.rows, columns)
    verdicts = {name: verdict[asked] for name, verdict in right(inputs.prompts.rows, read, columns).items()}
    each = {"caption_accuracy": verdicts["caption"]}
    return [Score(name, estimate, each=each.get(name)) for name, estimate in caption_accuracy(verdicts).items()]


def stated(labels: Sequence[Mapping[str, str | None]], attributes: Sequence[str]) -> np.ndarray:
    """Which rows state every attribute: bool (n,)."""
    return np.array([all(row.get(name) for name in attributes) for row in labels], dtype=bool)


def right(
    labels: Sequence[Mapping[str, str | None]],
    seen: Mapping[str, Sequence[str]],
    attributes: Sequence[str],
) -> dict[str, np.ndarray]:
    """Compare what is seen with what was asked for.

    Args:
        labels: what each caption says, one mapping of attribute to word an image.
        seen: what the judge read: attribute to one word an image.
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
