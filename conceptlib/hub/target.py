"""Where to publish: a repository on the Hub, or a folder. Which of the two is meant is never guessed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from conceptlib.errors import UsageError

_REPO_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?/[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_LONGEST = 96  # characters in "org/name", as the Hub counts
_TYPES = {"datasets": "dataset", "models": "model"}
_HOW = "write ORG/NAME (or hf://ORG/NAME) for the Hub, ./DIR or /DIR for a folder"


@dataclass(frozen=True)
class HubTarget:
    """A repository on the Hub. repo_type is what the user said ("dataset", "model"), "" if nothing."""

    repo_id: str
    repo_type: str = ""

    @property
    def name(self) -> str:
        """How people and examples call it."""
        return self.repo_id


@dataclass(frozen=True)
class FolderTarget:
    """A folder on this machine (absolute)."""

    path: Path

    @property
    def name(self) -> str:
        """How people and examples call it: examples are run next to the folder."""
        return f"./{self.path.name}"


_REF = re.compile(r"(?!.*(?:\.\.|//|@\{|\.lock$|[./]$))[A-Za-z0-9_][A-Za-z0-9._/@+=,-]{0,200}")


def check_tag(tag: str | None) -> None:
    """Raise `UsageError` for what cannot be the name of a tag, before anything is sent."""
    if tag is not None and not _REF.fullmatch(tag):
        raise UsageError(
            f"not a name of a tag: {tag[:200]!r}", where="tag", hint="letters, digits, '-', '_' and '.', such as v1.0"
        )


def parse_target(to: str | os.PathLike[str]) -> HubTarget | FolderTarget:
    """The target that `to` means.

    A folder: anything that starts with `/`, `./`, `../` or `~` (or is `.` or `..`), and every `pathlib.Path`.
    A repository: `ORG/NAME`, `hf://ORG/NAME`, `hf://datasets/ORG/NAME`, `hf://models/ORG/NAME`.

    Raises:
        UsageError: neither, or both: `ORG/NAME` while a folder of that name exists in the working folder.
    """
    text = os.fspath(to)
    if isinstance(to, os.PathLike) or _is_path(text):
        path = Path(os.path.abspath(os.path.expanduser(text)))
        if path == path.parent or path == Path.home():
            raise UsageError(
                "this folder cannot become a publication", where=str(path), hint="name a folder of its own below it"
            )
        return FolderTarget(path)
    if text.startswith("hf://"):
        return _hub(text.removeprefix("hf://"), text)
    if "://" in text:
        raise UsageError(f"not a target: {text!r}", hint=_HOW)
    target = _hub(text, text)
    if Path(text).exists():
        hint = f"write ./{text} for the folder or hf://{text} for the Hub"
        raise UsageError(
            f"{text!r} may mean the repository on the Hub or the folder here",
            where=str(Path(text).absolute()),
            hint=hint,
        )
    return target


def _is_path(text: str) -> bool:
    return (
        text in (".", "..")
        or text.startswith(("/", "./", "../", "~", "\\"))
        or re.match(r"[A-Za-z]:[\\/]", text) is not None
    )


def _hub(name: str, said: str) -> HubTarget:
    prefix, _, rest = name.partition("/")
    repo_type = ""
    if prefix in _TYPES and "/" in rest:
        repo_type, name = _TYPES[prefix], rest
    if len(name) > _LONGEST or "--" in name or ".." in name or name.endswith(".git") or not _REPO_ID.fullmatch(name):
        raise UsageError(
            f"not a name of a repository on the Hub: {said!r}", hint=f"{_HOW}; letters, digits, '-', '_' and '.'"
        )
    return HubTarget(name, repo_type)
