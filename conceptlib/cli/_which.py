"""Say which artifact a bare name meant, where other kinds have the name too."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from conceptlib.cli.output import Output
    from conceptlib.store import Artifact, Store


class _Kind(click.ParamType):
    """A kind of artifact. Which there are is asked for when one is given: `--help` need not know."""

    name = "kind"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from conceptlib.store import kinds

        known = kinds.names()
        if value not in known:
            self.fail(f"{value!r} is not one of {', '.join(known)}.", param, ctx)
        return value


def kind_option_of(help: str) -> Callable[..., Any]:
    """`--kind` of artifacts."""
    return click.option("--kind", type=_Kind(), metavar="KIND", default=None, help=help)


kind_option = kind_option_of("Where several kinds share a name: dataset, checkpoint, images, ...")


def say_which(out: Output, store: Store, ref: str | os.PathLike[str], artifact: Artifact, kind: str | None) -> None:
    """A note on stderr if `ref` is a name alone that means something of other kinds as well, and none was asked for."""
    if kind is not None or str(ref) not in (artifact.name, f"{artifact.name}@latest"):
        return
    if others := store.namesakes(artifact):
        named = " and ".join(f"{one.kind} {one.id}" for one in others)
        out.note(
            f"{artifact.name} is taken for the {artifact.kind} {artifact.id}; it is also {named} (--kind says which)"
        )
