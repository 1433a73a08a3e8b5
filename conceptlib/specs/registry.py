"""Registries: the modules of a package, found on disk by their file names. Adding a file registers it; so does a
plug-in of the user's own, see `conceptlib.plugins`.

A module that makes something may say which version of itself does, `VERSION = 2` (1 where it says nothing). It is
raised whenever the same spec comes to mean other results; the store then makes anew what the old code made. A plug-in
is named in locks by the hash of its file, or by its package's version, as well.
"""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import conceptlib
from conceptlib import plugins
from conceptlib.errors import ConceptlibError, NotFound, did_you_mean
from conceptlib.specs.params import Params

_CODE = "code_version"
_PLUGIN = "plugin"
_LOGGER = logging.getLogger("conceptlib.plugins")


class Registry:
    """The public modules of a package, `geom_erasing.py` under the name `geom-erasing`, and the user's plug-ins.

    Listing imports nothing, not even the package; `get` imports one module. Names that begin with an underscore are
    helpers, not entries. Where a plug-in is called like one of ours, ours is taken.

    Args:
        package: where ours are.
        name: what the registry is called outside: the folder of the user's files (`plugins/NAME/`), the group of entry
            points (`conceptlib.NAME`). By default the package's last part.
        packages_only: list sub-packages, not plain modules (the worlds, and the models that their recipes train).
        needs: what a module must define; of a plug-in it is looked at when it is loaded.
    """

    def __init__(
        self, package: str, *, name: str = "", packages_only: bool = False, needs: tuple[str, ...] = ()
    ) -> None:
        self.package = package
        self.name = name or package.rpartition(".")[2]
        self.packages_only = packages_only
        self.needs = needs
        self._told: set[str] = set()

    def builtin(self) -> list[str]:
        """The names of ours, sorted."""
        inside = self.package.split(".")[1:]
        folders = [str(Path(folder, *inside)) for folder in conceptlib.__path__]
        return sorted(
            module.name.replace("_", "-")
            for module in pkgutil.iter_modules(folders)
            if not module.name.startswith("_") and (module.ispkg or not self.packages_only)
        )

    def names(self) -> list[str]:
        """All names, sorted; plug-ins that were not allowed to run among them."""
        return sorted({*self.builtin(), *plugins.names(self.name)})

    def __contains__(self, name: object) -> bool:
        return name in self.builtin() or (isinstance(name, str) and plugins.find(self.name, name) is not None)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def get(self, name: str) -> ModuleType:
        """The module behind a name.

        Raises:
            NotFound: there is none; with the nearest name.
            ConceptlibError: a plug-in that may not run, or is broken.
        """
        outside = self.plugin(name)
        if outside is not None:
            module = plugins.load(outside)
            for needed in self.needs:
                if not hasattr(module, needed):
                    raise plugins.fault(outside, f"it has no `{needed}`")
            return module
        if name not in self.builtin():
            noun = self.package.rpartition(".")[2].removesuffix("s")
            raise NotFound(f"there is no {noun} {name!r}", where=self.package, hint=did_you_mean(name, self.names()))
        return import_module(f"{self.package}.{name.replace('-', '_')}")

    def plugin(self, name: str) -> plugins.Plugin | None:
        """The plug-in that answers to a name; None where the name is ours, or nobody's. For a name of ours no installed
        package is looked at, which would read the metadata of all.
        """
        ours = name in self.builtin()
        found = plugins.find(self.name, name, packages=not ours)
        if found is None or not ours:
            return found
        if name not in self._told:
            self._told.add(name)
            _LOGGER.warning("%s is conceptlib's own; the plug-in %s is left aside: rename it", name, found.place)
        return None

    def modules(self) -> Iterator[tuple[str, ModuleType]]:
        """Every module with its name: ours, then the plug-ins that may run. One that is broken is told, and left out:
        whoever asks all of them does not need that one.
        """
        for name in self.builtin():
            yield name, self.get(name)
        for name in plugins.names(self.name):
            try:
                outside = self.plugin(name)
                if outside is None or plugins.state(outside) != "allowed":
                    continue
                module = self.get(name)
            except ConceptlibError as error:
                if name not in self._told:
                    self._told.add(name)
                    _LOGGER.warning("%s (%s): it is left out", error.what, error.where)
                continue
            yield name, module

    def params(self, name: str) -> type[Params]:
        """The `Params` class of a registered module (an empty one where the module has none). Raises as `get`."""
        found = getattr(self.get(name), "Params", Params)
        if not (isinstance(found, type) and issubclass(found, Params)):
            raise self._mistake(name, "Params must inherit from conceptlib.specs.Params")
        return found

    def version_lock(self, name: str) -> dict[str, Any]:
        """What a lock says of the code of a registered module: see `version_lock`, and of a plug-in
        `{"plugin": "sha256:..."}` of its file or `{"plugin": "PACKAGE VERSION"}`. Raises as `get`.
        """
        module = self.get(name)
        outside = self.plugin(name)
        try:
            lock: dict[str, Any] = version_lock(getattr(module, "VERSION", 1), f"{self.package}.{name}")
        except TypeError as error:
            raise self._mistake(name, str(error).partition(": ")[2]) from error
        return lock | ({_PLUGIN: plugins.identity(outside)} if outside else {})

    def _mistake(self, name: str, what: str) -> Exception:
        """A mistake in code: ours, which is a bug, or a plug-in's."""
        outside = self.plugin(name)
        return plugins.fault(outside, what) if outside else TypeError(f"{self.package}.{name}: {what}")


def version_lock(version: int, where: str = "") -> dict[str, int]:
    """What a lock says of a version of code: `{"code_version": 2}`.

    Nothing of version 1, so that keys and ids from before anybody counted stay what they are.

    where: who has this version, for the error. Raises TypeError (a mistake in code) unless it is an integer from 1 on.
    """
    if type(version) is not int or version < 1:
        raise TypeError(f"{where}: VERSION must be an integer, 1 or more, not {version!r}")
    return {_CODE: version} if version > 1 else {}


def code_versions(lock: Any) -> dict[str, Any]:
    """Every version of code, and every plug-in, that a lock names, by its place:
    `{"builder.overlays.text.code_version": 2}`.
    """
    found: dict[str, Any] = {}
    inside = lock.items() if isinstance(lock, Mapping) else enumerate(lock) if isinstance(lock, list) else ()
    for key, value in inside:
        if key == _CODE or (key == _PLUGIN and isinstance(value, str)):
            found[key] = value
        else:
            found |= {f"{key}.{place}": version for place, version in code_versions(value).items()}
    return found


BUILDERS = Registry("conceptlib.concepts.builders", needs=("prepare",))
OVERLAYS = Registry("conceptlib.concepts.overlays", needs=("CONCEPT",))
ADAPTERS = Registry("conceptlib.detectors.adapters", name="detectors", needs=("load",))
METHODS = Registry("conceptlib.erasers.methods", needs=("run",))
ERASURE_ADAPTERS = Registry("conceptlib.erasers.adapters", name="weight_formats", needs=("WHOLE", "save", "apply"))
FOREIGN = Registry("conceptlib.erasers.foreign.formats", name="importers", needs=("matches", "locate"))
MODEL_FAMILIES = Registry("conceptlib.models.families", needs=("Family",))
METRICS = Registry("conceptlib.evaluators.metrics", needs=("METRIC",))
JUDGES = Registry("conceptlib.evaluators.judges", needs=("GIVES", "load"))
PROMPTS = Registry("conceptlib.evaluators.prompts", needs=("prompts",))
FAMILIES = Registry("conceptlib.worlds", packages_only=True)
FORMATS = Registry("conceptlib.formats")
ENGINES = Registry("conceptlib.engines", needs=("check", "run"))
# For `conceptlib plugins`; who needs the kinds themselves asks `conceptlib.store.kinds`, which lies below.
KINDS_OF_ARTIFACT = Registry("conceptlib.store.kinds", name="kinds", needs=("KIND",))
PAGES = Registry("conceptlib.concepts.show", name="pages", needs=("page",))


def registries() -> dict[str, Registry]:
    """Every registry of this module by the name that plug-ins use: `overlays`, `methods`."""
    found = [value for value in globals().values() if isinstance(value, Registry)]
    return {registry.name: registry for registry in sorted(found, key=lambda registry: registry.name)}
