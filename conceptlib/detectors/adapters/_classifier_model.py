"""Classification networks of timm and transformers, from safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conceptlib.errors import ConceptlibError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, which timm's networks are used to."""

_DROPOUT = 0.3


class Network:
    """A network with its preparation of pictures and the names of its classes.

    Called with uint8 (height, width, 3) RGB pictures of any sizes it gives probabilities, float32 (N, classes).
    """

    def __init__(
        self,
        logits: Any,
        prepare: Callable[[np.ndarray], Any],
        classes: Sequence[str],
        activation: str,
        device: str | None,
    ) -> None:
        from conceptlib.models.devices import choose

        self.classes = list(classes)
        self._device = choose(device, "float32").device
        self._logits = logits.to(self._device).eval()
        self._prepare = prepare
        self._activation = activation

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            values = torch.stack([self._prepare(image) for image in images]).to(self._device)
            out = self._logits(values)
            out = getattr(out, "logits", out).float()
            shares = out.softmax(dim=1) if self._activation == "softmax" else out.sigmoid()
        return np.asarray(shares.cpu().numpy(), np.float32)


def load(params: Any, path: Path, device: str | None) -> Network:
    """The network of `classifier.Params`, whose weights lie at `path` (beside their `config.json`, if they have one).

    Raises:
        ConceptlibError: the library is missing, the configuration says nothing known, or the weights do not fit.
    """
    makers = {"timm": _timm, "transformers": _transformers}
    try:
        logits, prepare, classes = makers[params.library](params, path)
    except ImportError as error:
        raise ConceptlibError(
            f"the classifier cannot be imported: {error}", hint="pip install 'conceptlib[classifier]'"
        ) from error
    return Network(logits, prepare, classes, params.activation, device)


def _timm(params: Any, path: Path) -> tuple[Any, Callable[[np.ndarray], Any], list[str]]:
    import timm
    from PIL import Image
    from timm.data import create_transform, resolve_data_config

    alone = bool(params.architecture)
    config = {} if alone else _config(path.parent / "config.json")
    name = params.architecture or str(config.get("architecture", ""))
    if not timm.is_model(name):  # also refuses names that would make timm look elsewhere
        raise ConceptlibError(f"timm has no architecture {name!r}", where=path)
    classes = list(params.classes) or [str(label) for label in config.get("label_names", [])]
    count = len(classes) or int(config.get("num_classes", 0))
    model = timm.create_model(name, pretrained=False, num_classes=count)
    if params.hidden:
        model.reset_classifier(0)
        model.set_submodule(str(model.pretrained_cfg["classifier"]), head(model.num_features, params.hidden, count))
    _fill(model, path)
    if params.imgsz:
        side = params.imgsz

        def squeeze(image: np.ndarray) -> Any:
            picture = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
            return _normalised(np.asarray(picture))

        return model, squeeze, classes
    given = config.get("pretrained_cfg", {})
    transform = create_transform(**resolve_data_config({}, pretrained_cfg=given or model.pretrained_cfg))
    return model, lambda image: transform(Image.fromarray(image)), classes or [str(index) for index in range(count)]


def head(width: int, hidden: Sequence[int], classes: int) -> Any:
    """Linear layers of these widths with ReLU between them, and dropout after the first: LAION's watermark detector
    has 1536 → 625 → 256 → 2 (github.com/LAION-AI/LAION-5B-WatermarkDetection)."""
    from torch import nn

    layers: list[Any] = []
    for index, size in enumerate(hidden):
        layers += [nn.Linear(width, size), nn.ReLU(), *([nn.Dropout(_DROPOUT)] if index == 0 else [])]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, classes))


def _normalised(image: np.ndarray) -> Any:
    import torch

    values = (image.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def _transformers(params: Any, path: Path) -> tuple[Any, Callable[[np.ndarray], Any], list[str]]:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    from conceptlib.models.loading import quiet

    _config(path.parent / "config.json")
    try:
        with quiet():
            model, report = AutoModelForImageClassification.from_pretrained(
                path.parent, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
            processor = AutoImageProcessor.from_pretrained(path.parent, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ConceptlibError(
            f"transformers cannot load this classifier: {str(error).splitlines()[0]}", where=path.parent
        ) from error
    if wrong := sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]])):
        raise ConceptlibError(f"{len(wrong)} tensors do not fit the network, such as {wrong[0]}", where=path)
    classes = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
    return model, lambda image: processor(images=image, return_tensors="pt")["pixel_values"][0], classes


def _fill(model: Any, path: Path) -> None:
    """Put weights into a network. Raises ConceptlibError unless they fit exactly."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConceptlibError(f"the weights cannot be read: {error}", where=path) from error
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in tensors.items()}
    # Counters of batches that training kept; files often leave them out, and nothing at inference reads them.
    names = {key for key in expected.keys() | given.keys() if not key.endswith("num_batches_tracked")}
    if wrong := sorted(key for key in names if expected.get(key) != given.get(key)):
        raise ConceptlibError(
            f"{len(wrong)} tensors do not fit the architecture, such as {wrong[0]}",
            where=path,
            hint="architecture, classes and hidden must be those that it was trained with",
        )
    model.load_state_dict(tensors, strict=False)


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
        if not isinstance(config, dict):
            raise ValueError("it is no mapping")
    except (OSError, ValueError) as error:
        raise ConceptlibError(f"the classifier's config.json cannot be read: {error}", where=path) from error
    return config
