"""Which files of a folder are its table, and of which split: what `datasets` would read, without its ways out.

In this order: the files that `Dataset.save_to_disk` names, those of the README's `configs:`, shards called
`data/SPLIT-00000-of-00004.parquet`, and all Parquet and Arrow files of the folder. Names and patterns stay in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from conceptlib.concepts.rejects import Reject, first_line
from conceptlib.concepts.safe import MAX_TEXT_BYTES, Root, leads_out, read_file
from conceptlib.concepts.sources.base import walk
from conceptlib.concepts.sources.splits import split_called, split_of_file
from conceptlib.concepts.sources.text import parse_json
from conceptlib.errors import ConceptlibError

SUFFIXES = (".parquet", ".arrow")
Files = dict[str, list[Path]]
_SHARD = re.compile(r"(?P<split>\w+)-\d{5}-of-\d{5}[^/]*\.(parquet|arrow)")


def is_data_file(path: Path | PurePosixPath) -> bool:
    """By its name: Parquet or Arrow."""
    return path.suffix.lower() in SUFFIXES


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote the folder."""
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def split_files(folder: Path, subset: str | None) -> Files:
    """The files of every split of a folder, in the order in which they are read.

    Args:
        subset: a configuration of the README; None: its default one.

    Raises:
        ConceptlibError: a name or pattern that leads out of the folder; no such subset; a README that is no YAML.
    """
    if is_saved(folder):
        return _saved(folder)
    if configs := _configs(folder):
        return _configured(folder, configs, subset)
    if subset is not None:
        raise ConceptlibError(f"there is no subset {subset!r}", where=str(folder), hint="its README names none")
    return _by_name(folder)


def _saved(folder: Path) -> Files:
    """By the names in `dataset_dict.json` and `state.json`."""
    parts = [("train", PurePosixPath())]
    if (folder / "dataset_dict.json").is_file():
        names = _json(folder, PurePosixPath("dataset_dict.json")).get("splits") or []
        parts = [(split_called(str(name)) or str(name), PurePosixPath(str(name))) for name in names]
    found: Files = {}
    for split, part in parts:
        where = part / "state.json"
        _inside(part.as_posix(), folder / "dataset_dict.json")
        files = _json(folder, where).get("_data_files") or []
        names = [str(file.get("filename")) if isinstance(file, Mapping) else str(file) for file in files]
        found.setdefault(split, []).extend(folder / part / _inside(name, folder / where) for name in names)
    return found


def _json(folder: Path, name: PurePosixPath) -> Mapping[str, Any]:
    try:
        value = parse_json(read_file(folder / name, MAX_TEXT_BYTES, Root(folder)).decode("utf-8", "replace"))
    except Reject as reject:
        raise ConceptlibError(f"the file is not read: {reject.detail}", where=str(folder / name)) from reject
    return value if isinstance(value, Mapping) else {}


def _configs(folder: Path) -> list[Mapping[str, Any]]:
    """The configurations with `data_files` in the README's header."""
    readme = folder / "README.md"
    if not readme.exists():
        return []
    try:
        text = read_file(readme, MAX_TEXT_BYTES, Root(folder)).decode("utf-8", "replace")
    except Reject as reject:
        raise ConceptlibError(f"the README is not read: {reject.detail}", where=str(readme)) from reject
    header = re.match(r"\s*---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    if header is None:
        return []
    try:
        given = yaml.load(header[1], _NoAliases)  # noqa: S506  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConceptlibError(f"the README's header is no YAML: {first_line(error)}", where=str(readme)) from error
    configs = given.get("configs") if isinstance(given, Mapping) else None
    there = [one for one in configs if isinstance(one, Mapping)] if isinstance(configs, list) else []
    return [one for one in there if one.get("data_files")]


class _NoAliases(yaml.SafeLoader):
    """Without aliases, by which ten lines can become a billion values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def _configured(folder: Path, configs: list[Mapping[str, Any]], subset: str | None) -> Files:
    names = [str(one.get("config_name", "default")) for one in configs]
    wanted = (
        subset
        if subset is not None
        else next((n for n, c in zip(names, configs, strict=True) if c.get("default")), None)
    )
    if wanted is None:
        wanted = "default" if "default" in names else names[0]
    if wanted not in names:
        raise ConceptlibError(f"there is no subset {wanted!r}", where=str(folder), hint=f"one of {', '.join(names)}")
    given = configs[names.index(wanted)]["data_files"]
    found: Files = {}
    for split, patterns in _by_split(given):
        for pattern in patterns:
            _inside(pattern, folder / "README.md")
            try:
                there = sorted(folder.glob(pattern)) if pattern else []
            except (ValueError, NotImplementedError, OSError) as error:
                raise ConceptlibError(f"{pattern!r} is no pattern: {first_line(error)}", where="README.md") from error
            known = found.setdefault(split_called(split) or split, [])
            known.extend(path for path in there if is_data_file(path) and path not in known)
    return {split: paths for split, paths in found.items() if paths}


def _by_split(given: Any) -> Iterable[tuple[str, list[str]]]:
    """`data_files` in its four forms: a pattern, patterns, patterns by split, or a list of {split, path}."""
    if isinstance(given, Mapping):
        return [(str(split), _texts(patterns)) for split, patterns in given.items()]
    if isinstance(given, list) and all(isinstance(one, Mapping) for one in given):
        return [(str(one.get("split", "train")), _texts(one.get("path"))) for one in given]
    return [("train", _texts(given))]


def _texts(value: Any) -> list[str]:
    return [str(one) for one in (value if isinstance(value, list) else [value]) if one is not None]


def _inside(name: str, where: Path) -> str:
    if leads_out(name) or "://" in name or "::" in name:
        raise ConceptlibError(
            f"{name!r} leads out of the folder",
            where=str(where),
            hint="only files of the folder are read; correct the name, or remove the line",
        )
    return name


def _by_name(folder: Path) -> Files:
    files = [path for path in walk(folder) if is_data_file(path)]
    shards = [
        (match["split"], path)
        for path in files
        if path.parent == folder / "data" and (match := _SHARD.fullmatch(path.name))
    ]
    found: Files = {}
    for name, path in shards:
        found.setdefault(split_called(name) or name, []).append(path)
    if not shards:
        for path in files:
            split = split_of_file(PurePosixPath(path.relative_to(folder).as_posix()))
            found.setdefault(split or "train", []).append(path)
    return found
