"""Say which artifact a bare name meant, where other kinds have the name too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from conceptlib.cli.output import Output
    from conceptlib.store import Artifact, Store

kind_option = click.option(
    "--kind", metavar="KIND", default=None, help="Where several kinds share a name: dataset, checkpoint, images, ..."
)


def say_which(out: Output, store: Store, ref: str | os.PathLike[str], artifact: Artifact, kind: str | None) -> None:
    """A note on stderr if `ref` is a name alone that means something of other kinds as well, and none was asked for."""
    if kind is not None or str(ref) not in (artifact.name, f"{artifact.name}@latest"):
        return
    if others := store.namesakes(artifact):
        named = " and ".join(f"{one.kind} {one.id}" for one in others)
        out.note(
            f"{artifact.name} is taken for the {artifact.kind} {artifact.id}; it is also {named} (--kind says which)"
        )
