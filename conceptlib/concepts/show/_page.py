"""A page about a dataset: what it is made of, and what the user may ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conceptlib.store import Artifact

_HEAD = ("rows", "read", "written", "rejected", "polluted", "polluted_share", "concepts")


@dataclass(frozen=True)
class Options:
    """What the user wants to see.

    n: how many examples; None: as many as the page thinks right. show_prompts: whether prompts that are meant to
    provoke unsafe pictures are shown in clear. annotations: the annotation set whose boxes are drawn (name, name@id or
    id); None: the exact ones, `truth`. sheet: where the contact sheet goes; None: below the store's `sheets/`.
    """

    n: int | None = None
    show_prompts: bool = False
    annotations: str | None = None
    sheet: Path | None = None


@dataclass(frozen=True)
class Section:
    """A table with a title: rows are mappings with the columns as keys."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Page:
    """What is told of a dataset: first `head`, then the sections, then remarks."""

    artifact: Artifact
    head: Mapping[str, Any]
    sections: tuple[Section, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the head, and the rows of each section by its title."""
        return {**self.head, **{one.title.replace(" ", "_"): list(one.rows) for one in self.sections}}


def head(artifact: Artifact) -> dict[str, Any]:
    """What every page begins with: which artifact it is, and its counts."""
    known = {key: artifact.info[key] for key in _HEAD if key in artifact.info}
    return {"name": artifact.name, "id": artifact.id, "created": artifact.created, **known, "path": str(artifact.path)}
