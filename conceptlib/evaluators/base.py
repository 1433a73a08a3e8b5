"""What metrics, judges and prompt sources are: the contracts of the three registries of this package.

A **prompt source** (`evaluators/prompts/NAME.py`) says what is drawn:

    class Params(conceptlib.specs.Params)         its settings in a suite
    def prompts(params, job) -> Prompts

A **judge** (`evaluators/judges/NAME.py`) says what is in an image:

    GIVES = ("labels",)                           of `NEEDS`
    class Params(conceptlib.specs.Params)
    def load(params, job, prompts) -> object      with `lock() -> dict` and `read(images, rows) -> Reading`

A **metric** (`evaluators/metrics/NAME.py`) makes numbers of it:

    METRIC = Metric("sharpness", unit="score", higher_is_better=True, needs=("images",))
    class Params(conceptlib.specs.Params)
    def compute(inputs, params) -> list[Score]
    def lock(params, prompts) -> dict             what else decides the scores, such as a network's hash; optional

All three may say `VERSION = 2`, see `conceptlib.specs.registry`. None of them knows artifacts or other parts: the
runner (`conceptlib.evaluators.run`) brings them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from conceptlib.errors import ConceptlibError
from conceptlib.stats import Estimate

if TYPE_CHECKING:
    from PIL import Image

    from conceptlib.geometry import Detections
    from conceptlib.store import Artifact

T = TypeVar("T")
Unit = Literal["share", "score", "distance", "count", "seconds"]
NEEDS = {
    "images": "the subject's images",
    "captions": "the captions that they were drawn from",
    "detections": "where a detector finds the concepts",
    "labels": "a word for each label column, read in each image",
    "recognised": "whether each image shows what its caption names",
    "similarity": "how near each image is to what its caption names",
    "base_images": "the base's images of the same captions and seeds",
    "reference_images": "clean images",
}
"""What a metric may need, and with that what a runner supplies."""


@dataclass(frozen=True)
class Metric:
    """What a number means.

    Args:
        name: in `scores.json`; `*` at its end stands for anything (`concept_rate.*`).
        unit: `share` (in [0, 1]; shown in percent), `score`, `distance`, `count` or `seconds`.
        higher_is_better: None where neither is.
        interval: which kind of interval its scores have: a key of `conceptlib.stats.INTERVALS`, or `none`.
        needs: names of `NEEDS`.
        change: whether it is a difference of two values, the later one minus the earlier.
    """

    name: str
    unit: Unit
    higher_is_better: bool | None = None
    interval: str = "none"
    needs: tuple[str, ...] = ()
    change: bool = False

    def changed(self) -> Metric:
        """The metric of the difference between two models on the same rows."""
        interval = "newcombe95" if self.interval == "wilson95" else "normal95"
        return replace(self, name=f"{self.name}_change", change=True, interval=interval)


@dataclass(frozen=True)
class Score:
    """One number of one subject.

    Args:
        metric: its name, one that the metric's module declares.
        estimate: value, interval and count.
        about: what else its row in `scores.json` says.
        each: one value a row, bool or float (n,); where it is given the runner also reports the paired difference to
            the base, `<metric>_change`.
    """

    metric: str
    estimate: Estimate
    about: Mapping[str, Any] = field(default_factory=dict)
    each: np.ndarray | None = None

    def row(self, subject: str) -> dict[str, Any]:
        """Its row of `scores.json`."""
        return self.estimate.score(subject, self.metric, **self.about)


class Skip(Exception):
    """Raised by a metric that cannot be measured here; the reason is told, the other metrics go on."""


@dataclass(frozen=True)
class Prompts:
    """What is drawn, one image a row, and what is known of it.

    Args:
        source: the prompt source, as the evaluation tells it.
        rows: `caption` and `seed`, label columns, and `value`, what the caption names, where there is a target.
        columns: label columns of the rows. stated: those that every caption says in words.
        target: what was erased, as the captions name it; "" where they name nothing. values: the target, then its
            neighbours. domain: the label column that target and neighbours are words of, "" for none.
        world: the world whose words the labels are, "" for none. features: the network that images of this kind are
            compared by, "" for none.
        lock: what decides the scores beside the suite (JSON). info: what else should be known.
        reference: gives up to n clean images; None where there are none.
        rendered: what a perfect model would draw, as rows of an image table in the order of `rows`, and what decides
            them (JSON); None where nobody knows.
    """

    source: str
    rows: list[dict[str, Any]]
    columns: tuple[str, ...] = ()
    stated: tuple[str, ...] = ()
    target: str = ""
    values: tuple[str, ...] = ()
    domain: str = ""
    world: str = ""
    features: str = ""
    lock: Mapping[str, Any] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    reference: Callable[[int], Iterable[Image.Image]] | None = None
    rendered: tuple[Callable[[], Iterator[dict[str, Any]]], Mapping[str, Any]] | None = None

    @property
    def neighbours(self) -> tuple[str, ...]:
        """What should survive: the values beside the target."""
        return self.values[1:]

    def of(self, *values: str) -> np.ndarray:
        """Which rows name one of the values: bool (n,)."""
        return np.array([row.get("value") in values for row in self.rows], bool)


@dataclass(frozen=True)
class Reading:
    """What a judge says of n images. A judge that cannot tell raises; it never answers "no" instead.

    Args:
        labels: label column to the word read in each image.
        recognised: bool (n,), whether each image shows what its caption names (`value`); None if it does not say.
        similarity: float (n,), of each image with what its caption names; None if it does not say.
    """

    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    recognised: np.ndarray | None = None
    similarity: np.ndarray | None = None

    @staticmethod
    def joined(parts: Sequence[Reading]) -> Reading:
        """The readings of several batches as one."""

        def join(name: str) -> np.ndarray | None:
            found = [getattr(part, name) for part in parts]
            return None if any(one is None for one in found) else np.concatenate(found)

        labels = {name: [word for part in parts for word in part.labels[name]] for name in parts[0].labels}
        return Reading(labels, join("recognised"), join("similarity"))


@dataclass(frozen=True)
class Inputs:
    """What a metric is given of one subject.

    Args:
        subject: `base`, `checkpoint`, ...
        prompts: what was drawn; its rows are those of the images, in order.
        concepts: names of the concepts that were erased.
        images: goes through the subject's images, RGB.
        readings: what each judge said, by need: `labels`, `recognised`, `similarity`.
        detections: one an image, where a detector judges. detector: what a score says of that detector.
        base: the same of the base, on the same rows; None for the base itself.
        artifact: the `images` artifact; None for images that are not in a store. checkpoint: what was measured.
        seed: of the suite. device: where networks run; None to choose. model: reference of the base.
        shared: what the subjects' computations share, see `once`.
    """

    subject: str
    prompts: Prompts
    concepts: tuple[str, ...] = ()
    images: Callable[[], Iterator[Image.Image]] = lambda: iter(())
    readings: Mapping[str, Reading] = field(default_factory=dict)
    detections: tuple[Detections, ...] | None = None
    detector: Mapping[str, Any] = field(default_factory=dict)
    base: Inputs | None = None
    artifact: Artifact | None = None
    checkpoint: Artifact | None = None
    seed: int = 0
    device: str | None = None
    dtype: str | None = None
    model: str = ""
    shared: dict[str, Any] = field(default_factory=dict)

    def once(self, key: str, make: Callable[[], T]) -> T:
        """`make()`, computed for the first subject that asks and kept for the others."""
        if key not in self.shared:
            self.shared[key] = make()
        found: T = self.shared[key]
        return found

    @property
    def target(self) -> np.ndarray:
        """Which rows name the target: bool (n,). Raises Skip where no caption names one."""
        if not self.prompts.target:
            raise Skip("these prompts name no target")
        return self.prompts.of(self.prompts.target)

    @property
    def recognised(self) -> np.ndarray:
        """Whether each image shows what its caption names: bool (n,)."""
        reading = self.readings.get("recognised")
        if reading is not None and reading.recognised is not None:
            return np.asarray(reading.recognised, bool)
        return self.right(self.prompts.domain)

    @property
    def others(self) -> dict[str, np.ndarray]:
        """Of each label column but the target's: whether the image shows the caption's word; empty where no judge
        reads labels.
        """
        reading = self.readings.get("labels")
        read = reading.labels if reading else {}
        return {name: self.right(name) for name in self.prompts.columns if name in read and name != self.prompts.domain}

    def right(self, column: str) -> np.ndarray:
        """Whether the word read in each image is the one of its row, for one label column: bool (n,)."""
        reading = self.readings.get("labels")
        if reading is None or column not in reading.labels:
            raise Skip(f"no judge here reads {column or 'what the captions name'}")
        pairs = zip(self.prompts.rows, reading.labels[column], strict=True)
        return np.array([row.get(column) == word for row, word in pairs], bool)


def reference_images(prompts: Prompts, n: int) -> Iterable[Image.Image]:
    """Clean images to compare with.

    Raises:
        ConceptlibError: the prompt source has none.
    """
    if prompts.reference is None:
        raise ConceptlibError(
            f"the prompts of {prompts.source!r} come without clean images to compare with",
            hint="leave this metric out, or take the prompts from a dataset",
        )
    return prompts.reference(n)
