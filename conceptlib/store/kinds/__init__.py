"""The kinds of artifact: one file a kind, here or among the user's plug-ins (`plugins/kinds/NAME.py`).

A module has `KIND = Kind(...)`: what the name of such an artifact means beside others, how one is made, the catalog's
view of them, and how they are published. Whoever needs a list of kinds asks `names()` or `by_precedence()`, so that a
new file is all that a new kind takes.
"""

from __future__ import annotations

import functools
import os
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Final

from conceptlib import plugins
from conceptlib.errors import ConceptlibError

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Kind:
    """A kind of artifact.

    Args:
        name: the folder's below `artifacts/`, and what `--kind` takes.
        order: where it stands in lists; by tens, so that others fit between.
        precedence: where several kinds have a name, it means the one of the lowest: what a spec makes comes before what
            was made with that.
        made_by: the command that makes one, `{name}` for its name.
        view: of the catalog, in SQL; "" for none. columns: beside id, name, created, seconds and size: name to SQL over
            `lock`, `info` (JSON) and `parent('role')`.
        publisher: the module that publishes it: `REPO_TYPE` and `contents(artifact, store, card)`, see
            `conceptlib.hub.kinds`; "" where it is not published by itself, and `travels` says how it is.
    """

    name: str
    order: int
    precedence: int
    made_by: str
    view: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    publisher: str = ""
    travels: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConceptlibError(f"not a name of a kind: {self.name[:64]!r}", hint="small letters, digits and -")
        for word in (*([self.view] if self.view else []), *self.columns):
            if not _COLUMN.fullmatch(word):
                raise ConceptlibError(f"not a name for SQL: {word[:64]!r}", where=f"the kind {self.name}")


COMMON: Final = ("id", "name", "created", "seconds", "size")
"""The columns that every view begins with."""


def parent(role: str) -> str:
    """SQL for the id of an artifact's parent, for `Kind.columns`."""
    return f"(SELECT min(p.parent_id) FROM parents p WHERE p.folder = a.folder AND p.role = '{role}')"


def names() -> tuple[str, ...]:
    """The names of all kinds, in their order."""
    return tuple(_all())


def by_precedence() -> tuple[str, ...]:
    """The names of all kinds: which one a name means, the first that has it."""
    return tuple(sorted(_all(), key=lambda name: _all()[name].precedence))


def get(name: str) -> Kind:
    """The kind of a name. Raises ``ConceptlibError`` for one that the store does not keep."""
    try:
        return _all()[name]
    except KeyError:
        hint = f"one of {', '.join(names())}"
        raise ConceptlibError(f"unknown kind of artifact: {name!r}", hint=hint) from None


def known() -> tuple[Kind, ...]:
    """All kinds, in their order."""
    return tuple(_all().values())


def views() -> dict[str, str]:
    """The SQL of the catalog's views of kinds, by the view's name."""
    made = {}
    for kind in known():
        if kind.view:
            columns = [*COMMON, *(f"{sql} AS {name}" for name, sql in kind.columns.items())]
            made[kind.view] = f"SELECT {', '.join(columns)} FROM artifacts a WHERE kind = '{kind.name}'"
    return made


def of_users() -> list[str]:
    """The names of the kinds that are plug-ins."""
    return [name for name in names() if name not in _builtin()]


def _all() -> dict[str, Kind]:
    # Kinds are asked for all the time: the plug-ins are looked for once a home.
    return _found(os.environ.get("CONCEPTLIB_HOME", ""), os.environ.get("CONCEPTLIB_PLUGINS", ""))


@functools.cache
def _builtin() -> tuple[str, ...]:
    return tuple(one.name for one in pkgutil.iter_modules(__path__) if not one.name.startswith("_"))


@functools.cache
def _found(home: str, switch: str) -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for name in _builtin():
        kind = _of(import_module(f"{__name__}.{name}"), f"{__name__}.{name}")
        found[kind.name] = kind
    # Files alone: every command asks for kinds, and reading what packages are installed takes a tenth of a second.
    for outside in plugins.listed("kinds", packages=False):
        if plugins.state(outside) != "allowed":
            continue
        kind = _of(plugins.load(outside), outside.place)
        if kind.name in found or kind.name != outside.name:
            raise plugins.fault(outside, f"its kind is called {kind.name!r}, which is not its own name")
        found[kind.name] = kind
    return dict(sorted(found.items(), key=lambda item: (item[1].order, item[0])))


def _of(module: ModuleType, where: str) -> Kind:
    kind = getattr(module, "KIND", None)
    if not isinstance(kind, Kind):
        raise ConceptlibError("it has no KIND of the type conceptlib.store.kinds.Kind", where=where)
    return kind
