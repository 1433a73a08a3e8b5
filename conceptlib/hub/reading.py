"""Names on the Hub: which repository a word names, and which words never name one. (Fetching: `conceptlib.hubfiles`.)

A word that may be one of our own names is never asked for on the Hub, or whoever takes that name there decides what is
drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class HubName:
    """`org/name[@revision]`. explicit: it was written `hf:org/name`, so that nothing else can be meant."""

    repo: str
    revision: str | None
    explicit: bool


def hub_name(text: str) -> HubName | None:
    """The repository that `org/name[@revision]`, `hf:org/name` or `hf://org/name` names; None for anything else."""
    bare = without_scheme(text)
    name, _, revision = bare.partition("@")
    return HubName(name, revision or None, bare != text) if _REPO.fullmatch(name) else None


def without_scheme(text: str) -> str:
    """`text` without a leading `hf://`, `hf://models/` or `hf:`."""
    for scheme in ("hf://models/", "hf://", "hf:"):
        if text.startswith(scheme):
            return text.removeprefix(scheme)
    return text


def is_ours(name: str, checkpoints: Iterable[str] = ()) -> bool:
    """Whether `first/rest` may be the name of a recipe or of a checkpoint: its first part is a method's, or one that a
    recipe here begins with, or one of `checkpoints`.
    """
    from conceptlib.specs import discover
    from conceptlib.specs.registry import METHODS

    first = name.partition("/")[0]
    known = {*METHODS, *(other.partition("/")[0] for other in (*discover.names("recipe"), *checkpoints))}
    return first in known
