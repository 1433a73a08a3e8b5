"""Training a YOLO network in seconds or an hour: our own short loop around ultralytics' network and loss.

Their trainer writes files, plots and caches, and for pictures of 64 px spends most of its time on them. Here pictures
stay in memory as uint8, batches are augmented as tensors, and every random number of step *s* comes from (seed, s): a
run that was interrupted goes on from its last checkpoint, with the same number of threads, and ends with the same
weights on the same machine (on a GPU up to its atomics). A checkpoint is written every 50 steps, every minute, and when
Ctrl-C or SIGTERM ends the run.

Loss: ultralytics' `v8DetectionLoss` (CIoU 7.5, classification 0.5, distribution focal loss 1.5). AdamW, linear
warm-up, cosine decay to 2 %, gradients clipped at 10, exponential moving average of the weights.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from conceptlib.concepts.overlays._registered import draw_preset
from conceptlib.detectors.adapters import _yolo_model, _yolo_start
from conceptlib.detectors.adapters._letterbox import Letterbox
from conceptlib.detectors.adapters._yolo_pieces import piece, tint
from conceptlib.detectors.base import TrainingSet
from conceptlib.errors import ConceptlibError
from conceptlib.models.threads import Threads
from conceptlib.progress import Progress
from conceptlib.specs.registry import OVERLAYS
from conceptlib.store.files import atomic_path
from conceptlib.timing import SAVE_EVERY, Every

CHECKPOINT = "training.safetensors"
CHECKPOINT_EVERY = 50
SMALL_SIDE = 128
"""Below this shorter side, in pixels, an overlay's preset for small pictures (`WORLD`) is taken, as the builders do."""
_FINAL_RATE = 0.02
_EMA = 0.98


@dataclass(frozen=True)
class Cached:
    """Pictures, uint8 (N, side, side, 3), and each one's boxes (n, 4), float32 xyxy in its pixels, and classes (n,)."""

    images: np.ndarray
    boxes: list[np.ndarray]
    classes: list[np.ndarray]


def cache(data: TrainingSet, side: int, megabytes: int, distractors: Any, seed: int) -> Cached:
    """Letterbox the pictures into memory; of more than fit into `megabytes`, a sample.

    distractors: called with an RGB picture and a generator, gives the picture with something on it that is not to be
    found.

    Raises:
        ConceptlibError: none of the pictures that fit holds a box.
    """
    room = max(1, megabytes * 2**20 // (side * side * 3))
    # Chosen by chance: every n-th would go wrong where the pollution has a period.
    chosen = np.sort(
        np.random.default_rng(np.random.SeedSequence([seed], spawn_key=(2,))).permutation(data.count)[:room]
    )
    images = np.zeros((len(chosen), side, side, 3), np.uint8)
    boxes: list[np.ndarray] = []
    classes: list[np.ndarray] = []
    for index, (image, found) in enumerate(data.examples()):
        if len(boxes) == len(chosen) or index != chosen[len(boxes)]:
            continue
        row = len(boxes)
        frame = Letterbox(image.shape[1], image.shape[0], side)
        wanted = found.filter(np.array([label in data.labels for label in found.labels], dtype=bool))
        if distractors is not None:
            image = distractors(image, np.random.default_rng(np.random.SeedSequence([seed, index], spawn_key=(1,))))
        images[row] = frame.draw(image)
        boxes.append(frame.place(wanted.boxes))
        classes.append(np.array([data.labels.index(label) for label in wanted.labels], np.int64))
    if not any(map(len, boxes)):
        raise ConceptlibError("there is no box to learn from", hint="annotate a dataset that contains the concept")
    return Cached(images, boxes, classes)


def train(
    config: Mapping[str, Any],
    data: Cached,
    params: Any,
    *,
    seed: int,
    folder: Path,
    device: Any,
    progress: Progress | None,
    stage: str,
) -> tuple[Any, dict[str, float]]:
    """Train a network; returns it (averaged weights, evaluation mode, on the CPU) and its last losses.

    Args:
        config: the architecture, see `_yolo_model`.
        params: `yolo.Params`: steps, batch_size, learning_rate, weight_decay, augmentation.
        folder: where checkpoints are kept while it lasts.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _yolo_model.build(config)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1  # ultralytics' 0.03 would still remember the random weights after a hundred steps
    model = model.to(device, memory_format=torch.channels_last).train()
    if params.start:
        _begin(model, data, params, seed, device)
    criterion = _criterion(model)
    optimizer = _optimizer(model, params)
    average = {key: value.detach().clone() for key, value in model.state_dict().items()}
    start, told = _resume(folder, model, average, optimizer)
    run = _Run(model, average, optimizer, criterion, folder, Threads.of(torch.device(device), state=told), start)
    losses: dict[str, float] = {}
    minute = Every(SAVE_EVERY)
    with run.threads, run.kept_when_interrupted():
        for step in range(start, params.steps):
            if progress is not None:
                progress(stage, step, params.steps)
            rate = _rate(step, params)
            for group in optimizer.param_groups:
                group["lr"] = rate
            images, targets = _batch(data, params, np.random.default_rng(np.random.SeedSequence([seed, step])))
            images = images.to(device, memory_format=torch.channels_last)
            targets = {key: value.to(device) for key, value in targets.items()}
            run.threads.choose(partial(run.trial, images, targets))
            with run.threads.step():
                parts = run.step(images, targets)
            due = minute.due()
            if ((step + 1) % CHECKPOINT_EVERY == 0 or due) and step + 1 < params.steps:
                run.save()
            losses = {key: float(value) for key, value in parts.items()} if step + 1 == params.steps else losses
    if progress is not None:
        progress(stage, params.steps, params.steps)
    if losses and not all(map(math.isfinite, losses.values())):
        raise ConceptlibError(f"training diverged: {losses}", hint="try a lower learning_rate")
    model.load_state_dict(average)
    return model.cpu().eval(), losses


@dataclass
class _Run:
    """What a training changes. `at`: steps that are in it; None while one changes it."""

    model: Any
    average: dict[str, Any]
    optimizer: Any
    criterion: Any
    folder: Path
    threads: Threads
    at: int | None

    def step(self, images: Any, targets: dict[str, Any]) -> dict[str, Any]:
        """One step; its losses by name."""
        import torch

        at, self.at = self.at or 0, None
        parts = self._gradients(images, targets)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimizer.step()
        _update(self.average, self.model, min(_EMA, (1 + at) / (10 + at)))
        self.at = at + 1
        return parts

    def trial(self, images: Any, targets: dict[str, Any]) -> None:
        """The work of a step without effects: what normalisation remembers of a batch is put back."""
        before = [buffer.detach().clone() for buffer in self.model.buffers()]
        at, self.at = self.at, None
        self._gradients(images, targets)
        self.optimizer.zero_grad(set_to_none=True)
        for buffer, value in zip(self.model.buffers(), before, strict=True):
            buffer.copy_(value)
        self.at = at

    def save(self) -> None:
        if self.at:
            _checkpoint(self.folder, self.at, self.model, self.average, self.optimizer, self.threads)

    @contextmanager
    def kept_when_interrupted(self) -> Iterator[None]:
        """Save what there is when the user ends the run, unless it was just changing."""
        try:
            yield
        except KeyboardInterrupt:
            self.save()
            raise

    def _gradients(self, images: Any, targets: dict[str, Any]) -> dict[str, Any]:
        total, parts = self.criterion(self.model(images), targets)
        self.optimizer.zero_grad(set_to_none=True)
        (total.sum() / len(images)).backward()
        return dict(parts)


def _begin(model: Any, data: Cached, params: Any, seed: int, device: Any) -> None:
    path = _yolo_start.find(params.start)
    images, _ = _batch(data, params, np.random.default_rng(np.random.SeedSequence([seed, 0])))
    _yolo_start.begin(model, _yolo_start.read(path), images.to(device), where=path)


def _criterion(model: Any) -> Any:
    from ultralytics.utils.loss import v8DetectionLoss

    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    return v8DetectionLoss(model)


def _optimizer(model: Any, params: Any) -> Any:
    import torch

    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]  # biases and normalisation: no decay
    groups = [{"params": weights, "weight_decay": params.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=params.learning_rate, betas=(0.9, 0.99))


def _rate(step: int, params: Any) -> float:
    warm = min(1.0, (step + 1) / max(1.0, min(40.0, params.steps / 5)))
    return params.learning_rate * warm * max(_FINAL_RATE, 0.5 * (1 + math.cos(math.pi * step / params.steps)))


def _update(average: dict[str, Any], model: Any, decay: float) -> None:
    import torch

    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                average[key].lerp_(value, 1 - decay)
            else:
                average[key].copy_(value)


# batches ----------------------------------------------------------------------------------------------------


def _batch(data: Cached, params: Any, rng: np.random.Generator) -> tuple[Any, dict[str, Any]]:
    """Images, float32 (B, 3, side, side) in [0, 1], and targets for the loss (cxcywh, shares of the side)."""
    import torch

    side = data.images.shape[1]
    window = min(params.window or side, side)
    images, batch_index, classes, targets = [], [], [], []
    for place, row in enumerate(rng.integers(len(data.images), size=params.batch_size)):
        image, boxes, kinds = data.images[row], data.boxes[row], data.classes[row]
        if params.window:
            image, boxes, kinds = piece(image, boxes, kinds, window, params.zoom, rng)
        if params.flip and rng.random() < 0.5:
            image, boxes = (
                image[:, ::-1],
                np.stack([window - boxes[:, 2], boxes[:, 1], window - boxes[:, 0], boxes[:, 3]], 1),
            )
        if params.tint:
            image = tint(image, rng)
        if rng.random() < params.degrade:
            image = degrade(image, rng)
        images.append(np.ascontiguousarray(image))
        batch_index.append(np.full(len(boxes), place))
        classes.append(kinds)
        targets.append(np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1) / window)
    tensor = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float().div_(255)
    return tensor, {
        "batch_idx": torch.from_numpy(np.concatenate(batch_index)).float(),
        "cls": torch.from_numpy(np.concatenate(classes)).float(),
        "bboxes": torch.from_numpy(np.concatenate(targets)).float(),
    }


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make a picture worse the way codecs and diffusion models do: blur, rescaling, contrast, noise, JPEG, at random.

    Args:
        image: uint8 (height, width, 3).
    """
    from PIL import Image, ImageFilter

    picture = Image.fromarray(np.ascontiguousarray(image))
    if rng.random() < 0.6:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.3))))
    if rng.random() < 0.25:
        small = [max(8, round(length * float(rng.uniform(0.5, 0.9)))) for length in picture.size]
        picture = picture.resize((small[0], small[1]), Image.Resampling.BILINEAR).resize(
            picture.size, Image.Resampling.BICUBIC
        )
    values = np.asarray(picture, np.float64)
    if rng.random() < 0.5:
        values = (values - 128) * rng.uniform(0.6, 1.2) + 128 + rng.uniform(-25, 25)
    if rng.random() < 0.4:
        values = values + rng.normal(0, rng.uniform(2, 14), values.shape)
    out = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        buffer = io.BytesIO()
        Image.fromarray(out).save(buffer, "JPEG", quality=int(rng.integers(35, 90)))
        out = np.asarray(Image.open(buffer).convert("RGB"))
    return out


# checkpoints ------------------------------------------------------------------------------------------------


def _checkpoint(
    folder: Path, step: int, model: Any, average: Mapping[str, Any], optimizer: Any, threads: Threads
) -> None:
    """Everything that the next step depends on, as one safetensors file."""
    import torch
    from safetensors.torch import save_file

    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in average.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / CHECKPOINT) as temporary:
        # A copy of each: the average begins as the model's own memory, which safetensors refuses to store twice.
        copies = {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()
        }
        save_file(copies, temporary, metadata={"step": json.dumps(step), "threads": threads.state()})


def _resume(folder: Path, model: Any, average: dict[str, Any], optimizer: Any) -> tuple[int, str]:
    """Load the checkpoint in the folder, if there is a good one; the step to go on from, and the state of `Threads`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / CHECKPOINT, framework="pt") as file:
            step, threads = int(json.loads(file.metadata()["step"])), file.metadata().get("threads", "")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, ValueError, KeyError):
        return 0, ""
    parts: dict[str, dict[str, Any]] = {"model": {}, "average": {}, "optimizer": {}}
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        parts[part][rest] = value
    model.load_state_dict(parts["model"])
    for key, value in parts["average"].items():
        average[key].copy_(value)
    state: dict[int, dict[str, Any]] = {}
    for key, value in parts["optimizer"].items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return step, threads


def distractor(labels: tuple[str, ...], names: tuple[str, ...], share: float) -> Any:
    """A function that lays one of the overlays `names` over a share of pictures, as hard negatives; None if none.

    Overlays whose concept is one of `labels` are left out: those are to be found.
    """
    from PIL import Image

    usable = [name for name in names if OVERLAYS.get(name).CONCEPT not in labels]
    if not usable or share <= 0:
        return None

    def lay(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= share:
            return image
        name = usable[int(rng.integers(len(usable)))]
        drawn, _ = draw_preset(name, Image.fromarray(image), rng, min(image.shape[:2]) < SMALL_SIDE)
        return np.asarray(drawn)

    return lay
