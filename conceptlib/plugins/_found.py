"""What plug-ins there are: in the user's home, and in installed packages. Nothing here imports one."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conceptlib.errors import ConceptlibError

GROUP = "conceptlib."
"""What the name of a group of entry points begins with; the registry's name follows."""
_NO_CODE = {"__pycache__"}


@dataclass(frozen=True)
class Plugin:
    """A plug-in that was found, not yet read.

    registry, name: `overlays`, `stripes`. path: its file, or its folder; None in an installed package.
    entry: the module of an installed package. package: that package and its version, `my-plugins 1.2.0`.
    """

    registry: str
    name: str
    path: Path | None = None
    entry: str = ""
    package: str = ""

    @property
    def ref(self) -> str:
        """What the user calls it: `overlays/stripes`."""
        return f"{self.registry}/{self.name}"

    @property
    def module(self) -> str:
        """The name of the module that a file becomes."""
        return f"conceptlib.plugins.{self.registry}.{self.name.replace('-', '_')}"

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return str(self.path) if self.path else f"{self.entry} of {self.package}"

    def files(self) -> dict[str, bytes]:
        """The content of its files by their relative paths; of a single file under the name `__init__.py`.

        Raises:
            ConceptlibError: it cannot be read.
        """
        assert self.path is not None
        try:
            if self.path.is_file():
                return {"__init__.py": self.path.read_bytes()}
            inside = (path for path in sorted(self.path.rglob("*")) if path.is_file())
            return {
                path.relative_to(self.path).as_posix(): path.read_bytes()
                for path in inside
                if not _NO_CODE.intersection(path.parts) and path.suffix != ".pyc"
            }
        except OSError as error:
            raise ConceptlibError(
                f"the plug-in {self.ref} cannot be read: {error.strerror or error}", where=self.path
            ) from error


def digest(files: dict[str, bytes]) -> str:
    """The sha256 of a plug-in: of its one file as `sha256sum` prints it, else of all names and their sha256."""
    if list(files) == ["__init__.py"]:
        return hashlib.sha256(files["__init__.py"]).hexdigest()
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def folder() -> Path:
    """Where the user's files are. It need not exist."""
    from conceptlib.paths import home

    return home() / "plugins"


def listed(registry: str | None = None, *, packages: bool = True) -> Iterator[Plugin]:
    """All plug-ins (of one registry), those of a name in the order in which they go before each other: a file before a
    package. packages: look at installed packages too, which takes a tenth of a second once a process.
    """
    yield from _files(registry)
    if packages:
        yield from (one for one in _packaged(tuple(sys.path)) if registry in (None, one.registry))


def names(registry: str) -> list[str]:
    """The names of a registry's plug-ins, sorted."""
    return sorted({one.name for one in listed(registry)})


def find(registry: str, name: str, *, packages: bool = True) -> Plugin | None:
    """The plug-in of a name. packages: as for `listed`.

    Raises:
        ConceptlibError: two installed packages, or two files, have one of this name.
    """
    all_ = [one for one in listed(registry, packages=packages) if one.name == name]
    rivals = [one for one in all_ if bool(one.path) == bool(all_[0].path)]
    if len(rivals) > 1:
        raise ConceptlibError(
            f"there are two plug-ins {rivals[0].ref}",
            where=" and ".join(one.place for one in rivals),
            hint="remove one of them",
        )
    return all_[0] if all_ else None


def _files(registry: str | None) -> Iterator[Plugin]:
    root = folder()
    for base in [root / registry] if registry else _entries(root):
        if not base.is_dir() or base.name.startswith(("_", ".")):
            continue
        for path in _entries(base):
            is_module = path.suffix == ".py" and path.is_file()
            stem = path.stem if is_module else path.name
            named = stem.replace("-", "_").isidentifier() and not stem.startswith("_")
            if named and (is_module or (path / "__init__.py").is_file()):
                yield Plugin(base.name, stem.replace("_", "-"), path)


def _entries(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except OSError:  # there is none, or nobody may look into it
        return []


@functools.cache
def _packaged(path: tuple[str, ...]) -> tuple[Plugin, ...]:
    """Of the installed packages; looked for once a process and import path, since all their metadata is read."""
    import importlib.metadata  # 15 ms, which a name of ours does not need

    known = importlib.metadata.entry_points()
    found = {
        Plugin(
            point.group.removeprefix(GROUP),
            point.name.replace("_", "-"),
            entry=point.value,
            package=f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package",
        )
        for group in known.groups
        if group.startswith(GROUP)
        for point in known.select(group=group)
    }
    return tuple(sorted(found, key=lambda one: (one.registry, one.name, one.package, one.entry)))
