"""What a suite gets and what it gives: the contract between `suite.evaluate` and the modules of
`conceptlib.evaluators.suites`.

A suite module has a `Params` and one function, `plan(job) -> Plan`. Planning makes (or finds) everything that is an
artifact of its own
- generated images, their annotations - and says what else decides the scores; `measure` is called only if those
  scores are not there yet. Its `VERSION` (1 where there is none) is raised whenever the same pictures come to get other
  scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conceptlib.progress import Progress
from conceptlib.specs import SuiteSpec
from conceptlib.store import Artifact, Store

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Job:
    """One evaluation that was asked for.

    Args:
        spec: the suite's spec, overrides applied.
        store: where artifacts come from and go to.
        source: what `generate` draws with: a checkpoint, or a base that is measured by itself.
        erased: whether `source` is a checkpoint.
        checkpoint: the checkpoint as an artifact; None for a base, and for a checkpoint that is not in the store (a
            published one).
        base: reference of the base: `tiny`, a folder or a Hub id.
        concepts: names of the concepts to look for; may be empty.
        targets: words or phrases that the checkpoint erased; empty for a base.
        detector: detector reference that goes before the suite's own; None for that.
        device, dtype: where generation runs; None to choose.
        progress: called with (stage, done, total); never None.
    """

    spec: SuiteSpec
    store: Store
    source: Artifact | str
    erased: bool
    checkpoint: Artifact | None
    base: str
    concepts: tuple[str, ...]
    targets: tuple[str, ...]
    detector: str | Artifact | None
    device: str | None
    dtype: str | None
    progress: Progress


@dataclass(frozen=True)
class Measured:
    """What came out.

    Args:
        scores: rows of `scores.json`; see `stats.Estimate.score`.
        picture: the grid, or None.
        info: what else should be known: counts, what was skipped and why.
    """

    scores: list[dict[str, Any]]
    picture: Image.Image | None = None
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What decides the scores, and how to get them.

    Args:
        parents: role to artifact id.
        lock: everything else that decides them, as JSON: detector, networks' hashes.
        measure: computes them.
    """

    parents: Mapping[str, str]
    lock: Mapping[str, Any]
    measure: Callable[[], Measured]
