"""Opening other people's files: safetensors, or pickles of which nothing but tensors is read.

Which of the two a file is, is said by its content, never by its ending.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from conceptlib.erasers.foreign.base import Settings, Tensors
from conceptlib.errors import ConceptlibError
from conceptlib.models import pickles
from conceptlib.store.hashing import digest, sha256_file

ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
MAX_LEVELS, MAX_NAMES = 32, 100_000
"""Levels of nested mappings, and things in them: more is no state dict."""
_WRAPPERS = re.compile(r"^(?:(?:state_dict|model_state_dict|unet_state_dict|module)\.)+")


@dataclass(frozen=True)
class Opened:
    """A file, or the weight files of a folder.

    name: to tell people, without folders of this machine. sha256: of the file; of a folder, the digest of its files'.
    tensors: on the CPU, by name. other: names of what was no tensor. settings: of the adapters in it, where they are
    said beside the tensors.
    """

    name: str
    sha256: str
    tensors: Tensors
    other: tuple[str, ...] = ()
    settings: Settings = field(default_factory=dict)


def open_weights(path: Path) -> Opened:
    """Read a file, or every weight file of a component's folder (shards, or one).

    Raises:
        ConceptlibError: nothing there, no weights in it, or a file that needs more than tensors to be read.
    """
    if path.is_file():
        tensors, other = read_tensors(path)
        return Opened(path.name, sha256_file(path), tensors, other, adapter_settings(path, tensors))
    if not path.is_dir():
        raise ConceptlibError("there is no such file", where=str(path))
    files = sorted(file for file in path.iterdir() if file.suffix in ENDINGS)
    # A folder may hold the same weights twice; the safe ones are read.
    files = [file for file in files if file.suffix == ".safetensors"] or files
    if not files:
        raise ConceptlibError("this folder holds no weights", where=str(path), hint=f"one of {', '.join(ENDINGS)}")
    found: Tensors = {}
    left: list[str] = []
    for file in files:
        tensors, other = read_tensors(file)
        twice = found.keys() & tensors.keys()
        if twice:
            raise ConceptlibError(
                f"{min(twice)} is in more than one file", where=str(path), hint="give the one file that is meant"
            )
        found |= tensors
        left += other
    sha256 = digest({file.name: sha256_file(file) for file in files})
    return Opened(path.name, sha256, found, tuple(left), adapter_settings(files[0], found))


def adapter_settings(path: Path, tensors: Tensors) -> Settings:
    """The settings of the LoRA in a file: from its metadata (diffusers), or the `adapter_config.json` beside it (peft).

    Raises:
        ConceptlibError: settings that cannot be read, or a file of peft's without any: its scale is not known then.
    """
    beside = path.parent / "adapter_config.json"
    try:
        if path.name.startswith("adapter_model") and beside.is_file():
            config = json.loads(beside.read_text(encoding="utf-8"))
            return {component: dict(config) for component in ("unet", "text_encoder")}
        flat = json.loads(_metadata(path).get("lora_adapter_metadata", "{}"))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ConceptlibError(
            f"the settings of this LoRA cannot be read: {error}", where=str(path), hint="save or copy it again"
        ) from error
    if any(name.startswith("base_model.model.") for name in tensors):
        raise ConceptlibError(
            "this LoRA was written by peft, which keeps its scale in adapter_config.json, and there is none beside it",
            where=str(path),
            hint="give the folder that peft wrote, with both files",
        )
    found: Settings = {}
    for name, value in flat.items():
        component, _, key = name.partition(".")
        found.setdefault(component, {})[key] = value
    return found


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):  # no safetensors file: a pickle has no metadata
        return {}


def read_tensors(path: Path) -> tuple[Tensors, tuple[str, ...]]:
    """The tensors of a file by name, and the names of what else was in it.

    Nested mappings are joined by dots (`{"unet": {"conv_in.weight": ...}}` is `unet.conv_in.weight`) and the usual
    wrappers (`state_dict`, `module`) are dropped.

    Raises:
        ConceptlibError: it is damaged, holds more than tensors, or would take more memory or time than its size
            accounts for (`conceptlib.models.pickles`).
    """
    raw = pickles.read_weights(path)
    tensors: Tensors = {}
    other: list[str] = []
    for name, value in _leaves(raw, path):
        name = _WRAPPERS.sub("", name)
        if isinstance(value, torch.Tensor) and _plain(value):
            tensors[name] = value.detach()
        else:
            other.append(name)
    if not tensors:
        raise ConceptlibError("there are no tensors in this file", where=str(path))
    pickles.check_tensors(tensors.values(), path.stat().st_size, path)
    return tensors, tuple(other)


_MERGE = "its change is not of low rank. Merge it into the model, and import the merged model"
_UNUSABLE = {
    r".*\.(lora_magnitude_vector(\.\w+)?(\.weight)?|dora_scale)": f"it is a DoRA: {_MERGE}",
    r".*\.hada_w\d_[ab]": f"it is a LoHa: {_MERGE}",
    r".*\.lokr_w\d(_[ab])?": f"it is a LoKr: {_MERGE}",
    r".*\.(oft_blocks|oft_diag|boft_\w+)": f"it is an OFT: {_MERGE}",
    r"string_to_param\..+|emb_params|<.+>|clip_[lg]": "it is a textual inversion: a learnt token, and no erased model",
}


def unusable(names: frozenset[str]) -> str:
    """Why a file is of a kind that cannot be imported, by its tensors' names; empty for any other."""
    for pattern, reason in _UNUSABLE.items():
        if any(re.fullmatch(pattern, name) for name in names):
            return reason
    return ""


def _plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is numbers in memory: not sparse, quantised or a mere shape."""
    return tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized


def _leaves(raw: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """What is no mapping, in order, with its names joined by dots."""
    waiting: list[tuple[str, Any, int]] = [("", raw, 0)]
    seen = 0
    while waiting:
        name, value, level = waiting.pop()
        seen += 1
        if level > MAX_LEVELS or seen > MAX_NAMES:
            raise ConceptlibError(
                "this file is nested far deeper than weights are, or in itself",
                where=str(path),
                hint="give the file with the model's state dict",
            )
        if isinstance(value, Mapping):
            inner = [(f"{name}.{key}" if name else str(key), one, level + 1) for key, one in value.items()]
            waiting.extend(reversed(inner))
        else:
            yield name, value
