"""One evaluation that was asked for: what the runner, prompt sources and judges are given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from conceptlib.errors import ConceptlibError
from conceptlib.progress import Progress
from conceptlib.specs import SuiteSpec, load_concepts
from conceptlib.store import Artifact, Store


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

    @cached_property
    def lineage(self) -> dict[str, Artifact]:
        """The checkpoint's parents that are still in the store, by role (`dataset`, `annotations`, ...)."""
        found: dict[str, Artifact] = {}
        for role, parent in (self.checkpoint.parents if self.checkpoint else {}).items():
            try:
                found[role] = self.store.get(parent)
            except ConceptlibError:
                continue
        return found

    @property
    def phrases(self) -> list[str]:
        """What the concepts are called: as the checkpoint says, for its targets need no concept spec."""
        return list(self.targets) or [concept.phrase for concept in load_concepts(self.concepts)]
