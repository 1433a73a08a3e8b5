"""Registries: the modules of a package, found on disk by their file names. Adding a file registers it."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import conceptlib
from conceptlib.errors import NotFound, did_you_mean
from conceptlib.specs.params import Params


class Registry:
    """The public modules of a package, `geom_erasing.py` under the name `geom-erasing`.

    Listing imports nothing, not even the package; `get` imports one module. Names that begin with an underscore are
    helpers, not entries.
    packages_only: list sub-packages, not plain modules (the model families beside their helpers).
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


BUILDERS = Registry("conceptlib.concepts.builders")
ADAPTERS = Registry("conceptlib.detectors.adapters")
METHODS = Registry("conceptlib.erasers.methods")
ERASURE_ADAPTERS = Registry("conceptlib.erasers.adapters")
FOREIGN = Registry("conceptlib.erasers.foreign.formats")
SUITES = Registry("conceptlib.evaluators.suites")
FAMILIES = Registry("conceptlib.models", packages_only=True)
FORMATS = Registry("conceptlib.formats")
