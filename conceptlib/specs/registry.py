"""Registries: the modules of a package, found on disk by their file names. Adding a file registers it.

A module that makes something may say which version of itself does, `VERSION = 2` (1 where it says nothing). It is
raised whenever the same spec comes to mean other results; the store then makes anew what the old code made.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import conceptlib
from conceptlib.errors import NotFound, did_you_mean
from conceptlib.specs.params import Params

_CODE = "code_version"


class Registry:
    """The public modules of a package, `geom_erasing.py` under the name `geom-erasing`.

    Listing imports nothing, not even the package; `get` imports one module. Names that begin with an underscore are
    helpers, not entries.
    packages_only: list sub-packages, not plain modules (the worlds, and the models that their recipes train).
    """

    def __init__(self, package: str, *, packages_only: bool = False) -> None:
        self.package = package
        self.packages_only = packages_only

    def names(self) -> list[str]:
        """All names, sorted."""
        inside = self.package.split(".")[1:]
        folders = [str(Path(folder, *inside)) for folder in conceptlib.__path__]
        return sorted(
            module.name.replace("_", "-")
            for module in pkgutil.iter_modules(folders)
            if not module.name.startswith("_") and (module.ispkg or not self.packages_only)
        )

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def get(self, name: str) -> ModuleType:
        """The module behind a name. Raises NotFound with the nearest name."""
        names = self.names()
        if name not in names:
            noun = self.package.rpartition(".")[2].removesuffix("s")
            raise NotFound(f"there is no {noun} {name!r}", where=self.package, hint=did_you_mean(name, names))
        return import_module(f"{self.package}.{name.replace('-', '_')}")

    def params(self, name: str) -> type[Params]:
        """The `Params` class of a registered module (an empty one where the module has none). Raises NotFound."""
        found = getattr(self.get(name), "Params", Params)
        if not (isinstance(found, type) and issubclass(found, Params)):
            raise TypeError(f"{self.package}.{name}: Params must inherit from conceptlib.specs.Params")
        return found

    def version_lock(self, name: str) -> dict[str, int]:
        """What a lock says of the code of a registered module, see `version_lock`. Raises NotFound."""
        return version_lock(getattr(self.get(name), "VERSION", 1), f"{self.package}.{name}")


def version_lock(version: int, where: str = "") -> dict[str, int]:
    """What a lock says of a version of code: `{"code_version": 2}`.

    Nothing of version 1, so that keys and ids from before anybody counted stay what they are.

    where: who has this version, for the error. Raises TypeError (a mistake in code) unless it is an integer from 1 on.
    """
    if type(version) is not int or version < 1:
        raise TypeError(f"{where}: VERSION must be an integer, 1 or more, not {version!r}")
    return {_CODE: version} if version > 1 else {}


def code_versions(lock: Any) -> dict[str, int]:
    """Every version of code that a lock names, by its place: `{"builder.overlays.text.code_version": 2}`."""
    found: dict[str, int] = {}
    inside = lock.items() if isinstance(lock, Mapping) else enumerate(lock) if isinstance(lock, list) else ()
    for key, value in inside:
        if key == _CODE:
            found[key] = value
        else:
            found |= {f"{key}.{place}": version for place, version in code_versions(value).items()}
    return found


BUILDERS = Registry("conceptlib.concepts.builders")
OVERLAYS = Registry("conceptlib.concepts.overlays")
ADAPTERS = Registry("conceptlib.detectors.adapters")
METHODS = Registry("conceptlib.erasers.methods")
ERASURE_ADAPTERS = Registry("conceptlib.erasers.adapters")
FOREIGN = Registry("conceptlib.erasers.foreign.formats")
SUITES = Registry("conceptlib.evaluators.suites")
FAMILIES = Registry("conceptlib.worlds", packages_only=True)
FORMATS = Registry("conceptlib.formats")
