"""Plug-ins as modules: loading, what a lock says of them, and how they reach other processes."""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import CodeType, ModuleType
from typing import Any

from conceptlib.errors import ConceptlibError
from conceptlib.plugins import _allowed, _found
from conceptlib.plugins._found import Plugin, digest

_PACKAGE = "conceptlib.plugins."
_LOGGER = logging.getLogger("conceptlib.plugins")


@dataclass(frozen=True)
class Source:
    """A plug-in of the user's files, as it was read: what another process needs to run the same.

    origin: its path, for messages. code: its Python files by their relative paths (`__init__.py` of a single file).
    """

    registry: str
    name: str
    origin: str
    single: bool
    sha256: str
    code: dict[str, bytes] = field(repr=False)

    @property
    def module(self) -> str:
        return Plugin(self.registry, self.name).module

    def file(self, relative: str) -> str:
        """Where a file of it was."""
        return self.origin if self.single else str(Path(self.origin) / relative)


_read: dict[str, Source] = {}
"""By the module's name: each is read once a process, so that what is hashed is what runs."""
_received: set[str] = set()
_installed: set[str] = set()
"""The modules of installed packages that were asked for."""


def load(plugin: Plugin) -> ModuleType:
    """The module of a plug-in that may run.

    Raises:
        ConceptlibError: it may not run, or it is broken: one sentence with file and line.
    """
    if plugin.path is None:
        _allowed.check(plugin, "")
        if plugin.entry not in _installed:
            _installed.add(plugin.entry)
            _LOGGER.info("the plug-in %s runs from %s", plugin.ref, plugin.place)
        return _imported(plugin, plugin.entry)
    known = _read.get(plugin.module)
    if known is None or (known.origin != str(plugin.path) and plugin.module not in _received):
        files = plugin.files()
        sha256 = digest(files)
        _allowed.check(plugin, sha256)
        _forget(plugin.module)
        code = {name: content for name, content in files.items() if name.endswith(".py")}
        known = Source(plugin.registry, plugin.name, str(plugin.path), plugin.path.is_file(), sha256, code)
        _read[plugin.module] = known
        _LOGGER.info("the plug-in %s runs from %s (sha256 %s)", plugin.ref, known.origin, sha256[:12])
    return _imported(plugin, plugin.module)


def _imported(plugin: Plugin, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever somebody's file does while it is imported
        raise _broken(plugin, error) from error


def sha256(plugin: Plugin) -> str:
    """Of a file, or of all files of a folder, as they are now; empty: of a package. Raises ConceptlibError."""
    return digest(plugin.files()) if plugin.path else ""


def state(plugin: Plugin) -> str:
    """`allowed` to run, `not allowed`, `changed` since it was allowed, or `off`. Raises ConceptlibError."""
    if plugin.module in _received:
        return "allowed"
    return _allowed.state(plugin, sha256(plugin))


def identity(plugin: Plugin) -> str:
    """What a lock says of a plug-in that is loaded: `sha256:...` of its files, or its package and version."""
    return f"sha256:{_read[plugin.module].sha256}" if plugin.path else plugin.package


def fault(plugin: Plugin, what: str) -> ConceptlibError:
    """The error for a plug-in that lacks something."""
    return ConceptlibError(
        f"the plug-in {plugin.ref} is broken: {what}", where=plugin.place, hint="docs/plugins.md shows one of each kind"
    )


def _broken(plugin: Plugin, error: BaseException) -> ConceptlibError:
    where = plugin.place
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename}:{error.lineno}"
    elif place := _place(error, _belongs(plugin)):
        where = place
    said = str(error).splitlines()[0] if str(error) else ""
    name = type(error).__name__
    what = f"{name}: {said.partition(' (')[0] if isinstance(error, SyntaxError) else said}".rstrip(": ")
    if isinstance(error, ModuleNotFoundError) and error.name:
        what = f"it needs {error.name}, which is not there"
    return ConceptlibError(
        f"the plug-in {plugin.ref} is broken: {what}",
        where=where,
        hint="mend it; CONCEPTLIB_DEBUG=1 shows the traceback",
    )


def _belongs(plugin: Plugin) -> Sequence[str]:
    return (plugin.module,) if plugin.path else (plugin.entry.partition(".")[0],)


def _place(error: BaseException, modules: Sequence[str]) -> str:
    """`file:line` of the innermost line in one of the modules that the error came through."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__", ""))
        if any(name == module or name.startswith(f"{module}.") for module in modules):
            found = f"{frame.f_code.co_filename}:{line}"
    return found


def culprit(error: BaseException) -> str:
    """`file:line` in a plug-in's file that an error came through, here or in a worker process; empty: none."""
    if place := _place(error, [*_read, *(name.partition(".")[0] for name in _installed)]):
        return place
    notes = "\n".join(getattr(error, "__notes__", ()))
    files = {source.file(name) for source in _read.values() for name in source.code}
    lines = re.findall(r'File "(.+)", line (\d+)', notes)
    return next((f"{file}:{line}" for file, line in reversed(lines) if file in files), "")


# other processes


def sources() -> tuple[Source, ...]:
    """The user's files that this process has loaded, for `receive` in another one."""
    return tuple(_read.values())


def receive(given: Iterable[Source]) -> None:
    """Make what another process of this very command loaded importable, whatever this machine's home holds: it was
    allowed there.
    """
    for source in given:
        if _read.get(source.module) != source:
            _forget(source.module)
            _read[source.module] = source
        _received.add(source.module)


def find(registry: str, name: str, *, packages: bool = True) -> Plugin | None:
    """The plug-in of a name: that which another process sent, else what is here. packages: as for `listed`.

    Raises:
        ConceptlibError: two installed packages, or two files, have one of this name.
    """
    source = _read.get(Plugin(registry, name).module)
    if source is not None and source.module in _received:
        return Plugin(registry, name, Path(source.origin))
    return _found.find(registry, name, packages=packages)


def _forget(module: str) -> None:
    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        del sys.modules[name]


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `conceptlib.plugins.REGISTRY.NAME` (and what lies inside a folder) among the sources that were read."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(_PACKAGE):
            return None
        parts = fullname.removeprefix(_PACKAGE).split(".")
        if len(parts) == 1:  # the registry's own level
            known = any(source.registry == parts[0] for source in _read.values())
            return importlib.util.spec_from_loader(fullname, _Nothing(), is_package=True) if known else None
        source = _read.get(_PACKAGE + ".".join(parts[:2]))
        if source is None:
            return None
        inside = PurePosixPath(*parts[2:])
        for relative in (str(inside / "__init__.py"), f"{inside}.py"):
            if relative in source.code:
                loader = _Loader(source, relative)
                package = relative.endswith("__init__.py") and not source.single
                return importlib.util.spec_from_loader(
                    fullname, loader, origin=source.file(relative), is_package=package
                )
        return None


class _Nothing(importlib.abc.Loader):
    """The loader of a level that holds modules and no code."""

    def exec_module(self, module: ModuleType) -> None:
        return None


class _Loader(importlib.abc.Loader):
    """Runs one file of a source, from memory."""

    def __init__(self, source: Source, relative: str) -> None:
        self._source, self._relative = source, relative

    @functools.cached_property
    def _code(self) -> CodeType:
        content = self._source.code[self._relative]
        return compile(content, self._source.file(self._relative), "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self._source.file(self._relative)
        exec(self._code, module.__dict__)  # noqa: S102 - the user allowed it


if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.append(_Finder())
