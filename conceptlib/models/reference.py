"""`ModelRef`: what a user named as a model, resolved once to its files, its hash and its family, and handed on.

Making one checks the name alone and imports nothing heavy. What is asked of it is found out then, and kept: files of
a base are hashed once, however many steps of a job want to know.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptlib.models.bases import Source, resolve_base

if TYPE_CHECKING:
    from conceptlib.models.devices import Placement
    from conceptlib.models.family import Defaults, Model


class ModelRef:
    """A base: `tiny`, a diffusers folder, or a repository on the Hub (see `models.bases`).

    source: where its files are.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    @classmethod
    def of(cls, base: str | Path | ModelRef) -> ModelRef:
        """What `base` names; one that is resolved already is handed back as it is.

        Raises:
            ConceptlibError: see `models.bases.resolve_base`.
        """
        return base if isinstance(base, ModelRef) else cls(resolve_base(base))

    def __str__(self) -> str:
        return self.source.ref

    @cached_property
    def lock(self) -> dict[str, str | None]:
        """What pins it: `{"ref", "revision", "sha256"}`, see `models.loading.base_lock`."""
        from conceptlib.models.loading import base_lock

        return base_lock(self.source)

    @cached_property
    def family(self) -> type[Model]:
        """The family of its index.

        Raises:
            ConceptlibError: an index that cannot be read, or of no family that can be used.
        """
        from conceptlib.models.loading import family_of

        return family_of(self.source)

    @cached_property
    def defaults(self) -> Defaults:
        """What it is run with where nothing is said, from its configuration files alone."""
        from conceptlib.models.loading import defaults_of

        return defaults_of(self.source)

    def load(self, placement: Placement, *, stored: Collection[str] = (), forwards: bool = True) -> Any:
        """The pipeline, see `models.loading.load_source`."""
        from conceptlib.models.loading import load_source

        return load_source(self.source, placement, stored=stored, forwards=forwards)
