"""YOLO networks as safetensors and JSON: building, saving and loading, never a pickle of ours.

A folder of weights holds `model.safetensors` and `model.json` (architecture, classes, input size, threshold). The
architecture is data from a file that may come from anywhere, and ultralytics' parser would evaluate parts of it: only
known layers and plain numbers pass (`check_architecture`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conceptlib.detectors.adapters import _ultralytics
from conceptlib.errors import ConceptlibError
from conceptlib.models import pickles
from conceptlib.store.files import atomic_path, atomic_write

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"

COMPACT: dict[str, Any] = {
    "backbone": [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "C2f", [32, True]],
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 2, "C2f", [64, True]],
        [-1, 1, "Conv", [128, 3, 2]],
        [-1, 1, "C2f", [128, True]],
        [-1, 1, "SPPF", [128, 5]],
    ],
    "head": [
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 4], 1, "Concat", [1]],
        [-1, 1, "C2f", [64]],
        [[10, 7], 1, "Detect", ["nc"]],
    ],
    "depth_multiple": 1.0,
    "width_multiple": 1.0,
}
"""YOLOv8's blocks with two outputs (strides 8 and 16): at 64 px a stride of 32 would see the picture as 2 x 2 cells."""

_LAYERS = frozenset({"Conv", "DWConv", "C2f", "C3k2", "C2PSA", "SPPF", "nn.Upsample", "Concat", "Detect"})
MOST, MOST_LAYERS = 4096, 1000
"""Of any number in a description (channels, mostly), and of layers with their repeats: what is larger would take all
memory before its weights could be seen not to fit."""
_WORDS = frozenset({"nearest", "nc", "None", "True", "False"})
_KEYS = frozenset(
    {"nc", "channels", "scale", "scales", "depth_multiple", "width_multiple", "reg_max", "end2end", "ch", "yaml_file"}
)


def architecture(name: str, classes: int) -> dict[str, Any]:
    """`compact`, or one that ultralytics ships (`yolov8n`, `yolo11n`, ...), for so many classes."""
    if name == "compact":
        config = copy.deepcopy(COMPACT)
    else:
        _ultralytics.prepare()
        from ultralytics.nn.tasks import yaml_model_load

        config = yaml_model_load(f"{name}.yaml")
        config.pop("yaml_file", None)
    return config | {"nc": classes}


def check_architecture(config: Mapping[str, Any], where: object) -> None:
    """Raise ConceptlibError unless the description consists of known layers with plain arguments."""
    layers = [layer for part in ("backbone", "head") for layer in _listed(config.get(part))]
    unknown = sorted(str(key) for key in set(config) - _KEYS - {"backbone", "head"})
    unknown += [repr(layer) for layer in layers if not _is_plain(layer)]
    scalars = [config[key] for key in set(config) & _KEYS - {"scales"}]
    unknown += [repr(value) for value in scalars if not isinstance(value, (int, float, str, bool))]
    unknown += [repr(value) for value in _numbers([*layers, *scalars]) if not abs(value) <= MOST]
    if len(layers) > MOST_LAYERS or sum(layer[1] for layer in layers if _is_plain(layer)) > MOST_LAYERS:
        unknown.append(f"more than {MOST_LAYERS} layers")
    if not layers or unknown:
        raise ConceptlibError(
            f"the network's description has parts that are not loaded: {', '.join(unknown[:5]) or 'no layers'}",
            where=where,
            hint=f"layers may be: {', '.join(sorted(_LAYERS))}",
        )


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, (int, float)):
        yield value


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _is_plain(layer: Any) -> bool:
    if not (isinstance(layer, Sequence) and len(layer) == 4 and layer[2] in _LAYERS and isinstance(layer[1], int)):
        return False
    values = [*_listed(layer[0]), *layer[3]]
    return all(
        value is None or isinstance(value, (int, float)) or (isinstance(value, str) and value in _WORDS)
        for value in values
    )


def build(config: Mapping[str, Any], *, where: object = "") -> Any:
    """A `DetectionModel` with random weights (torch's global generator). Raises as `check_architecture`."""
    check_architecture(config, where)
    _ultralytics.prepare()
    from ultralytics.nn.tasks import DetectionModel

    try:
        return DetectionModel(copy.deepcopy(dict(config)), ch=3, nc=int(config["nc"]), verbose=False)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ConceptlibError(f"the network's description does not build: {error}", where=where) from error


def save(folder: Path, model: Any, description: Mapping[str, Any]) -> None:
    """Write weights, then description: a folder with a description is whole."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_description(folder, description)


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write `model.json`."""
    atomic_write(folder / DESCRIPTION, json.dumps(description, indent=2, sort_keys=True) + "\n")


def read_description(folder: Path) -> dict[str, Any]:
    """Read `model.json`. Raises ConceptlibError when it is missing or not one."""
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_bytes())
        if not all(key in description for key in ("architecture", "labels", "imgsz", "threshold")):
            raise ValueError("it lacks fields")
    except (OSError, ValueError, TypeError) as error:
        raise ConceptlibError(
            f"the detector's description cannot be read: {error}",
            where=path,
            hint="`conceptlib verify` tells what is damaged; train it again",
        ) from error
    return dict(description)


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The network and its description. Raises ConceptlibError unless the weights fit the network exactly."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    description = read_description(folder)
    path = folder / WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConceptlibError(
            f"the weights cannot be read: {error}",
            where=path,
            hint="`conceptlib verify` tells what is damaged; train it again",
        ) from error
    return fill(description["architecture"], tensors, where=path), description


def fill(config: Mapping[str, Any], tensors: Mapping[str, Any], *, where: object) -> Any:
    """Build the network and put the weights into it. Raises ConceptlibError unless they match exactly."""
    import torch

    with torch.random.fork_rng(
        devices=[]
    ):  # the random weights are replaced: they must not cost the caller's stream anything
        model = build(config, where=where)
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in tensors.items()}
    wrong = sorted(key for key in expected.keys() | given.keys() if expected.get(key) != given.get(key))
    if wrong:
        raise ConceptlibError(
            f"{len(wrong)} tensors do not fit the architecture, such as {wrong[0]}",
            where=where,
            hint="model.safetensors and model.json belong together; fetch or train both again",
        )
    model.load_state_dict(dict(tensors), strict=True)
    return model


def load_pt(path: Path) -> tuple[Any, dict[str, Any]]:
    """A `.pt` of ultralytics' trainer, through its restricted unpickler (known classes of torch and ultralytics).

    Raises:
        ConceptlibError: no such file, no detection model, or layers that `check_architecture` refuses.
    """
    _ultralytics.prepare()
    from ultralytics.nn.tasks import DetectionModel, torch_safe_load

    if not path.is_file():  # ultralytics would look for the name on the network
        raise ConceptlibError("there is no such file of weights", where=path, hint="give the path of a .pt file")
    pickles.check(path)
    try:
        checkpoint, _ = torch_safe_load(str(path), safe_only=True)
        model = checkpoint.get("ema") or checkpoint["model"]
    except Exception as error:  # an unpickler raises nearly everything on damaged bytes
        raise ConceptlibError(
            f"the weights cannot be read: {error}", where=path, hint="it must be a checkpoint of ultralytics"
        ) from error
    if not isinstance(model, DetectionModel):
        raise ConceptlibError(f"this is a {type(model).__name__}, not a detection model", where=path)
    try:
        config = {key: value for key, value in model.yaml.items() if key != "yaml_file"}
        names = [str(model.names[index]) for index in sorted(model.names)]
        args = getattr(model, "args", None)
        imgsz = int(args.get("imgsz", 640)) if isinstance(args, dict) else 640
        state = model.state_dict()
        pickles.check_tensors(state.values(), path.stat().st_size, path)
        tensors = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ConceptlibError(
            f"the checkpoint is not whole: {error}", where=path, hint="it must be a checkpoint of ultralytics"
        ) from error
    return fill(config, tensors, where=path), {
        "architecture": config,
        "labels": names,
        "imgsz": imgsz,
        "threshold": 0.25,
    }
