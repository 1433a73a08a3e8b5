"""Finding specs on disk: the working folder's, the user's, the built-in ones, in that order; the first of a name wins.

| kind | file |
|---|---|
| dataset | `datasets/NAME.yaml` |
| concept | `datasets/concepts/NAME.yaml` |
| detector | `detectors/NAME.yaml` |
| recipe | `recipes/METHOD/VARIANT.yaml`, name `METHOD/VARIANT` |
| suite | `recipes/suites/NAME.yaml` |
| model | `recipes/NAME.yaml` |
| sweep | `recipes/sweeps/NAME.yaml` |
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conceptlib import paths
from conceptlib.errors import ConceptlibError, NotFound, did_you_mean

_LAYOUT = {
    "dataset": ("datasets", "*.yaml"),
    "concept": ("datasets/concepts", "*.yaml"),
    "detector": ("detectors", "*.yaml"),
    "recipe": ("recipes", "*/*.yaml"),
    "suite": ("recipes/suites", "*.yaml"),
    "model": ("recipes", "*.yaml"),
    "sweep": ("recipes/sweeps", "*.yaml"),
}
_NO_METHODS = {"suites", "sweeps"}
KINDS = tuple(_LAYOUT)
_KIND_LINE = re.compile(rb"^kind:[ \t]*['\"]?(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class SpecFile:
    """A spec on disk, not yet read. origin: `folder` (working folder), `home` (the user's) or `builtin`."""

    kind: str
    name: str
    path: Path
    origin: str


def roots() -> list[tuple[str, Path]]:
    """The folders that hold `datasets/`, `detectors/`, `recipes/`, with their origin, first the one that wins."""
    builtin, user, cwd = paths.builtin(), paths.home() / "specs", Path.cwd()
    found = [("home", user), ("builtin", builtin)]
    if cwd.resolve() not in {builtin.resolve(), user.resolve()}:
        found.insert(0, ("folder", cwd))
    return found


def default_path(kind: str, name: str, root: Path) -> Path:
    """Where a spec of this kind and name lives under a root."""
    return root / _LAYOUT[kind][0] / f"{name}.yaml"


def name_of(kind: str, path: Path) -> str | None:
    """The name that a file has by its place in a folder of specs; None when it lies elsewhere."""
    depth = 2 if kind == "recipe" else 1
    parts = path.absolute().with_suffix("").parts
    folder = tuple(_LAYOUT[kind][0].split("/"))
    if parts[-depth - len(folder) : -depth] != folder:
        return None
    return "/".join(parts[-depth:])


def find_all(kinds: str | Sequence[str]) -> list[SpecFile]:
    """Every spec of the kinds, sorted by kind and name; of several with one name only the one that wins."""
    wanted = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    found: dict[tuple[str, str], SpecFile] = {}
    for kind in wanted:
        for origin, root in roots():
            for spec in sorted(_in_root(kind, origin, root), key=lambda spec: spec.name):
                found.setdefault((kind, spec.name), spec)
    return sorted(found.values(), key=lambda spec: (wanted.index(spec.kind), spec.name))


def names(kind: str) -> list[str]:
    """All names of a kind."""
    return [spec.name for spec in find_all(kind)]


def find(kinds: str | Sequence[str], ref: str | Path) -> SpecFile:
    """The spec behind a name, or behind a path that ends in `.yaml`. Raises NotFound with the nearest name."""
    wanted = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    text = str(ref)
    if text.endswith((".yaml", ".yml")):
        return _at_path(wanted, Path(ref).expanduser())
    known = find_all(wanted)
    for spec in known:
        if spec.name == text:
            return spec
    noun = " or ".join(wanted)
    hint = did_you_mean(text, [spec.name for spec in known], listing=f"known {noun} names are")
    raise NotFound(f"there is no {noun} {text!r}", where="; ".join(str(root) for _, root in roots()), hint=hint)


def _at_path(kinds: tuple[str, ...], path: Path) -> SpecFile:
    if not path.is_file():
        raise NotFound("there is no such file", where=path, hint="give the path of a spec, or the name of one")
    kind = _kind_in(path) or kinds[0]
    if kind in _LAYOUT and kind not in kinds:
        raise ConceptlibError(
            f"this is a spec of kind {kind!r}", where=path, hint=f"here {' or '.join(map(repr, kinds))} is needed"
        )
    kind = kind if kind in kinds else kinds[0]
    return SpecFile(kind, name_of(kind, path) or path.stem, path, "path")


def _in_root(kind: str, origin: str, root: Path) -> Iterator[SpecFile]:
    folder, pattern = _LAYOUT[kind]
    base = root / folder
    if not base.is_dir():
        return
    for path in base.glob(pattern):
        if not path.is_file() or (kind == "recipe" and path.parent.name in _NO_METHODS):
            continue
        # A working folder may hold a `datasets/` of something else; there only files that call themselves a spec count.
        if origin == "folder" and _kind_in(path) not in _LAYOUT:
            continue
        yield SpecFile(kind, path.relative_to(base).with_suffix("").as_posix(), path, origin)


def _kind_in(path: Path) -> str | None:
    """The value of the line `kind: ...`, without parsing the file."""
    try:
        with path.open("rb") as file:
            match = _KIND_LINE.search(file.read(65536))
    except OSError:
        return None
    return match.group(1).decode("ascii", "replace") if match else None
