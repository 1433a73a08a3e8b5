"""Worlds that come with conceptlib: what draws pictures and says their captions, who judges them, and the models of it.

A world is a package with `WORLD = World(...)`, see `conceptlib.worlds.base`; adding a package registers it. Its words
are known to itself alone.

    world("tiny").row(0, 7, "train").caption        # "a blue moon at night"
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from conceptlib.errors import ConceptlibError
from conceptlib.specs.registry import FAMILIES
from conceptlib.worlds.base import Drawn as Drawn
from conceptlib.worlds.base import Judge as Judge
from conceptlib.worlds.base import Row as Row
from conceptlib.worlds.base import World as World

FIRST = "tiny"
"""The world that `source=world` means: the only one there was when its locks were given their form."""
_SOURCE = re.compile(r"world(?::(?P<name>[a-z0-9][a-z0-9-]*))?")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def world(name: str = FIRST) -> World:
    """A world by its name.

    Raises:
        NotFound: there is no such package. ConceptlibError: it is no world.
    """
    found = getattr(FAMILIES.get(name), "WORLD", None)
    if not isinstance(found, World):
        raise ConceptlibError(f"{name!r} is no world: its package has no WORLD", where="conceptlib.worlds")
    return found


def worlds() -> list[World]:
    """All worlds: ours, then those of plug-ins that may run and are not broken."""
    return [module.WORLD for _, module in FAMILIES.modules() if isinstance(getattr(module, "WORLD", None), World)]


def of_source(ref: str) -> World | None:
    """The world that a dataset's `source` names, `world` or `world:NAME`; None for any other source.

    Raises:
        NotFound: there is no world of that name.
    """
    match = _SOURCE.fullmatch(ref)
    return world(match["name"] or FIRST) if match else None


def source_lock(name: str) -> dict[str, Any]:
    """What a lock says of a source that is a world, with the version of its code or the plug-in that it is."""
    return {"kind": "world"} | ({} if name == FIRST else {"world": name}) | FAMILIES.version_lock(name)


def code_lock(one: World | None) -> dict[str, Any]:
    """What decides, beside a scene, how it is drawn: the version of a world's code, or the plug-in that it is."""
    return FAMILIES.version_lock(one.name) if one else {}


def of_lock(lock: Any) -> World | None:
    """The world that rows were drawn from, by the lock of their source; None for another source, or a world that is not
    here.
    """
    if not isinstance(lock, Mapping) or lock.get("kind") != "world":
        return None
    name = str(lock.get("world", FIRST))
    return world(name) if name in FAMILIES else None


def of_columns(columns: Collection[str]) -> World | None:
    """The world whose label columns are all among these; None if there is none."""
    return next((one for one in worlds() if set(one.labels) <= set(columns)), None)


def labels_in(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The label columns of the world of which rows have some words; none where they have none."""
    known = worlds()
    for row in rows:
        for one in known:
            if any(row.get(column) is not None for column in one.labels):
                return tuple(one.labels)
    return ()


def locked_labels(row: Mapping[str, Any], columns: Collection[str]) -> dict[str, Any]:
    """What a lock says of a row's labels. Those of the first world are always there, null where unknown: keys from when
    there were no others stay what they are.
    """
    return {column: row.get(column) for column in (*world().labels, *columns)}


def of_word(word: str) -> tuple[World, str] | None:
    """The world and the label column that a word belongs to; None if it is none's."""
    return next(((one, column) for one in worlds() for column in one.columns_of(word)), None)


def weights(name: str) -> Path | None:
    """The folder of a model that comes with conceptlib, by the name of its spec; None if there is none.

    Raises:
        SpecError: there is a spec of that name, and it is wrong.
    """
    from conceptlib.specs import discover, load_spec

    if not _NAME.fullmatch(name) or name not in discover.names("model"):
        return None
    module = FAMILIES.get(load_spec("model", name).entry)
    find = getattr(module, "weights", None)
    return find(name) if find is not None else None
