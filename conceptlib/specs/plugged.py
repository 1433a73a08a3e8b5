"""The user's plug-ins beside the registries that they belong to: what `conceptlib plugins` shows and allows."""

from __future__ import annotations

from dataclasses import dataclass

from conceptlib import plugins
from conceptlib.errors import ConceptlibError, NotFound, UsageError, did_you_mean
from conceptlib.plugins import Plugin
from conceptlib.specs.registry import registries


@dataclass(frozen=True)
class Row:
    """A plug-in as it is listed.

    plugin: `registry/name`. state: `allowed`, `not allowed`, `changed` since it was allowed, `off`, `shadowed` (by one
    of ours, or by a file of that name), `unknown registry`, or `broken` with what is wrong. version: of a file its
    sha256 (12 digits), of a package its name and version.
    """

    plugin: str
    state: str
    version: str
    place: str


def overview() -> list[Row]:
    """Every plug-in, sorted. Those that may run are imported, to see whether they can be."""
    return sorted((_row(one) for one in plugins.listed()), key=lambda row: (row.plugin, row.place))


def _row(plugin: Plugin) -> Row:
    try:
        version = plugins.sha256(plugin)[:12] if plugin.path else plugin.package
        return Row(plugin.ref, _state(plugin), version, plugin.place)
    except ConceptlibError as error:
        where = f" ({error.where})" if error.where not in ("", plugin.place) else ""
        return Row(plugin.ref, f"{error.what}{where}", "", plugin.place)


def _state(plugin: Plugin) -> str:
    known = registries()
    if plugin.registry not in known:
        return f"unknown registry: {did_you_mean(plugin.registry, known)}"
    registry = known[plugin.registry]
    if plugin.name in registry.builtin():
        return "shadowed: conceptlib has one of this name"
    if plugins.find(plugin.registry, plugin.name) != plugin:
        return "shadowed: a file has this name"
    state = plugins.state(plugin)
    if state == "allowed":
        registry.get(plugin.name)
    return state


def named(ref: str) -> Plugin:
    """The plug-in that a user means by `registry/name`, to be allowed.

    Raises:
        UsageError: it is not written so, or there is no such registry. NotFound: there is none.
        ConceptlibError: it would never run, since one of ours has its name.
    """
    known = registries()
    registry, slash, name = ref.partition("/")
    if not slash or registry not in known:
        hint = did_you_mean(registry, known) if slash else "such as overlays/stripes"
        raise UsageError(f"{ref!r} is no REGISTRY/NAME of a plug-in", hint=hint)
    name = name.removesuffix(".py").replace("_", "-")
    found = plugins.find(registry, name)
    if found is None:
        there = [one.ref for one in plugins.listed()]
        raise NotFound(f"there is no plug-in {ref!r}", where=plugins.folder(), hint=did_you_mean(ref, there))
    if name in known[registry].builtin():
        raise ConceptlibError(
            f"conceptlib has a {name} of its own in {registry}, which is always taken",
            where=found.place,
            hint="rename the file",
        )
    return found


def runnable() -> list[Plugin]:
    """Every file that would run if it were allowed."""
    known = registries()
    return [
        one
        for one in plugins.listed()
        if one.path and one.registry in known and one.name not in known[one.registry].builtin()
    ]
