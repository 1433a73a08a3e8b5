"""``manifest.json``: what an artifact says about itself."""

from __future__ import annotations

import functools
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from conceptlib.errors import ConceptlibError
from conceptlib.store.jsonfile import loads
from conceptlib.store.names import MANIFEST as MANIFEST
from conceptlib.store.names import check_kind, check_name, check_path

SCHEMA_VERSION = 1

# Packages that can change what an artifact holds. Versions are read from their metadata; nothing is imported.
_PACKAGES = [
    "conceptlib",
    "accelerate",
    "datasets",
    "diffusers",
    "duckdb",
    "easyocr",
    "huggingface_hub",
    "numpy",
    "opencv-python",
    "peft",
    "pillow",
    "pyarrow",
    "rapidocr",
    "safetensors",
    "segno",
    "torch",
    "torchvision",
    "transformers",
    "ultralytics",
    "zxing-cpp",
]

_HEX64 = r"^[0-9a-f]{64}$"
_ID = r"^[0-9a-f]{16}$"


def _kind(value: str) -> str:
    return _or_value_error(check_kind, value)


def _name(value: str) -> str:
    return _or_value_error(check_name, value)


def _or_value_error(check: Callable[[str], str], value: str) -> str:
    try:
        return check(value)
    except ConceptlibError as error:
        raise ValueError(error.what) from error


class FileEntry(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, AfterValidator(check_path)] = Field(
        description="relative POSIX path inside the artifact's folder"
    )
    sha256: str = Field(pattern=_HEX64)
    size: int = Field(ge=0, description="bytes")
    volatile: bool = Field(
        default=False, description="differs from run to run (a log), so the artifact's content leaves it out"
    )


class Manifest(BaseModel):
    """The whole of ``manifest.json``. ``key`` and ``id`` depend on nothing that a machine or a clock decides."""

    model_config = ConfigDict(
        frozen=True, extra="ignore"
    )  # a later release may add fields without a new schema version

    schema_version: int = SCHEMA_VERSION
    id: str = Field(pattern=_ID)
    key: str = Field(pattern=_HEX64)
    kind: Annotated[str, AfterValidator(_kind)]
    name: Annotated[str, AfterValidator(_name)]
    parents: dict[str, Annotated[str, Field(pattern=_ID)]]
    lock: dict[str, Any]
    info: dict[str, Any]
    files: tuple[FileEntry, ...]
    content: str = Field(min_length=1)
    content_from: Literal["files", "producer"] = Field(
        description="who computed `content`: the store over the files, or the producer"
    )
    created: str = Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$", description="UTC, ISO 8601: sorts as text"
    )
    seconds: float = Field(ge=0, description="wall time over all attempts")
    environment: dict[str, Any]

    def to_json(self) -> str:
        """Indented for people; ends with a newline."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the artifact in ``folder``.

    Raises:
        FileNotFoundError: there is none.
        ConceptlibError: it is damaged, a newer conceptlib wrote it, or a path in it leads out of the folder.
    """
    path = folder / MANIFEST
    try:
        raw = loads(path.read_bytes())
        version = raw["schema_version"]
        if version != SCHEMA_VERSION:
            raise ConceptlibError(
                f"the manifest has schema version {version}; this conceptlib reads {SCHEMA_VERSION}",
                where=str(path),
                hint="upgrade conceptlib: pip install -U conceptlib",
            )
        manifest = Manifest.model_validate(raw)
        _no_way_out(folder, manifest)
        return manifest
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        problem = error.errors()[0] if isinstance(error, ValidationError) else None
        detail = (
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}"
            if problem
            else f"{type(error).__name__}: {error}"
        )
        raise ConceptlibError(
            f"the manifest is damaged ({detail})",
            where=str(path),
            hint="`conceptlib verify` lists all that is damaged; remove the folder and make the artifact again",
        ) from error


def _no_way_out(folder: Path, manifest: Manifest) -> None:
    """Raise ``ValueError`` for a file twice, or one that a link takes out of the folder: to read or to replace it would
    be to read or replace another.
    """
    paths = [entry.path for entry in manifest.files]
    if len(set(paths)) != len(paths):
        raise ValueError("a file stands in it twice")
    above = {"/".join(parts[:end]) for parts in (path.split("/") for path in paths) for end in range(1, len(parts))}
    for path in [*sorted(above), *paths]:
        inside = os.path.join(folder, path)
        if os.path.islink(inside):
            root = os.path.realpath(folder)
            if os.path.commonpath([root, os.path.realpath(inside)]) != root:
                raise ValueError(f"{path} is a link that leads out of the artifact")


def environment() -> dict[str, Any]:
    """Python, platform and package versions of this process: recorded for people, never hashed.

    No host or user name.
    """
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": dict(_versions()),
    }


@functools.cache
def _versions() -> dict[str, str]:
    """Read once: what is imported does not change in a process, and to read them takes 25 ms."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
