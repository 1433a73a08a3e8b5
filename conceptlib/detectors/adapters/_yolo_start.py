"""Where a training begins: at random weights, or at those of a network of the same architecture that knows photographs.

Faint marks are learned in an hour of a processor only by a network that need not learn first what a photograph is.
Taken over is every layer that fits; the last layers of another set of classes stay random.

What was exported for running has its normalisations folded into the convolutions: y = w∗x + b. They are unfolded so
that the network gives the same numbers and can be trained: with μ and σ² of w∗x over the first batch, scale = σ and
shift = b + μ, since σ·(w∗x − μ)/σ + b + μ = w∗x + b.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptlib.detectors.adapters import _yolo_model, nudenet
from conceptlib.errors import ConceptlibError

NUDENET = "nudenet"
"""The YOLOv8n in the package of that name: photographs of people, 18 classes."""

LEAST_SHARE = 0.8
"""Of the network's own layers; where fewer fit, it is another architecture."""


def find(start: str) -> Path:
    """The file, or folder of trained weights, that `params.start` names.

    Raises:
        ConceptlibError: it does not exist, or NudeNet's package is missing.
    """
    if start == NUDENET:
        return nudenet.network_file()
    path = Path(os.path.expanduser(start))
    if not path.exists():
        raise ConceptlibError(
            "there are no such weights to begin the training with",
            where=path,
            hint=f"give {NUDENET}, an .onnx, a .pt, a folder with {_yolo_model.WEIGHTS}, or start= for random weights",
        )
    return path


def digest(start: str) -> str:
    """sha256 of the weights that `params.start` names. Raises as `find`."""
    from conceptlib.store.hashing import sha256_file

    path = find(start)
    return sha256_file(path / _yolo_model.WEIGHTS if path.is_dir() else path)


def read(path: Path) -> dict[str, Any]:
    """Tensors by the names that ultralytics gives them, of an .onnx, a .pt or a folder of trained weights.

    Raises:
        ConceptlibError: it cannot be read, or onnx is missing.
    """
    if path.is_dir():
        return dict(_yolo_model.load(path)[0].state_dict())
    if path.suffix.lower() == ".pt":
        return dict(_yolo_model.load_pt(path)[0].state_dict())
    return _of_onnx(path)


def _of_onnx(path: Path) -> dict[str, Any]:
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise ConceptlibError(
            "reading the weights of an .onnx needs onnx, which is not installed", hint="pip install 'conceptlib[onnx]'"
        ) from error
    import torch

    try:
        constants = onnx.load(str(path), load_external_data=False).graph.initializer
        values = {item.name: numpy_helper.to_array(item) for item in constants if item.name.startswith("model.")}
    except Exception as error:  # protobuf's and numpy's, without a public base in common
        raise ConceptlibError(
            f"the network cannot be read: {str(error).splitlines()[0]}", where=path, hint="it must be an .onnx file"
        ) from error
    return {name: torch.tensor(value) for name, value in values.items() if value.dtype.kind == "f"}


def begin(model: Any, tensors: Mapping[str, Any], images: Any, *, where: object) -> int:
    """Put weights into a network; returns how many of its tensors they filled.

    Args:
        model: `DetectionModel`, in training mode, on the device of `images`.
        images: float32 (B, 3, side, side) in [0, 1], a batch like those it will be trained on.
        where: the weights' file, for the message.

    Raises:
        ConceptlibError: less than `LEAST_SHARE` of the convolutions fit.
    """
    import torch
    from ultralytics.nn.modules.conv import Conv

    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, Conv)]
    fitting = [(name, layer) for name, layer in layers if _fits(tensors.get(f"{name}.conv.weight"), layer.conv.weight)]
    if len(fitting) < LEAST_SHARE * len(layers):
        raise ConceptlibError(
            f"the weights fit {len(fitting)} of the network's {len(layers)} convolutions: another architecture",
            where=where,
            hint="set params.architecture to the one that they are of (nudenet: yolov8n)",
        )
    own = model.state_dict()
    same = {key: value.to(own[key]) for key, value in tensors.items() if key in own and _fits(value, own[key])}
    model.load_state_dict(same, strict=False)
    folded = {
        layer.bn: tensors[f"{name}.conv.bias"].to(images) for name, layer in fitting if f"{name}.conv.bias" in tensors
    }
    hooks = [norm.register_forward_hook(_unfold(bias)) for norm, bias in folded.items()]
    with torch.no_grad():
        model(images) if hooks else None
    for hook in hooks:
        hook.remove()
    return len(same) + 4 * len(folded)


def _fits(value: Any, own: Any) -> bool:
    return value is not None and value.shape == own.shape


def _unfold(bias: Any) -> Any:
    """A hook of a normalisation that sets it so that it adds `bias` to this batch, and no more."""

    def hook(norm: Any, given: tuple[Any], _: Any) -> Any:
        mean, variance = given[0].mean((0, 2, 3)), given[0].var((0, 2, 3), unbiased=False)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.data.copy_((variance + norm.eps).sqrt())
        norm.bias.data.copy_(mean + bias)
        return given[0] + bias[None, :, None, None]

    return hook
