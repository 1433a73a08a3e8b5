"""The judge of `tiny`'s pictures: a small convolutional network that reads object, colour, background and style.

Trained on renderings of the world with and without pollution, never on generated pictures. It also says whether it
sees a QR code, as a quick diagnostic; reported concept rates come from a detector.

    >>> predict(images)["object"]        # images: uint8 (n, 64, 64, 3)
    ['heart', 'moon', ...]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from conceptlib.worlds.tiny.recipe import ClassifierRecipe
from conceptlib.worlds.tiny.world import ATTRIBUTES

QR_LABELS = ("no", "yes")
HEADS: dict[str, tuple[str, ...]] = {**ATTRIBUTES, "qr-code": QR_LABELS}


class Classifier(nn.Module):
    """Pictures float32 (n, 3, 64, 64) in -1 to 1 to one row of logits a head: a dict of `HEADS` to (n, labels)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for out, stride in ((24, 2), (48, 2), (48, 1), (96, 2), (96, 1), (128, 2)):
            layers += [nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            width = out
        self.body = nn.Sequential(*layers)
        # Flattened, not pooled: where in the picture a colour lies tells the object from its background.
        self.neck = nn.Sequential(nn.Flatten(), nn.Linear(width * 16, 192), nn.ReLU(), nn.Dropout(0.2))
        self.heads = nn.ModuleDict({name: nn.Linear(192, len(options)) for name, options in HEADS.items()})

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.neck(self.body(pixels))
        return {name: head(features) for name, head in self.heads.items()}


def train_classifier(
    images: np.ndarray,
    targets: np.ndarray,
    recipe: ClassifierRecipe,
    seed: int,
    device: str,
    log: Callable[[str], None],
) -> Classifier:
    """Train on uint8 pictures (n, 64, 64, 3) and targets int64 (n, 5), columns as `HEADS`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Classifier().to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    total = recipe.epochs * (len(images) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=total, pct_start=0.1)
    step = 0
    for epoch in range(recipe.epochs):
        order, losses = rng.permutation(len(images)), []
        for k in range(len(images) // recipe.batch_size):
            chosen = np.sort(order[k * recipe.batch_size : (k + 1) * recipe.batch_size])
            logits = model(to_pixels(images[chosen], device))
            wanted = torch.from_numpy(targets[chosen]).to(device)
            loss = torch.stack(
                [nn.functional.cross_entropy(logits[h], wanted[:, i]) for i, h in enumerate(HEADS)]
            ).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(loss.item())
            step += 1
        log(f"classifier epoch {epoch + 1} of {recipe.epochs}: loss {np.mean(losses[-200:]):.4f}")
    return model.eval()


def to_pixels(images: np.ndarray, device: str = "cpu") -> torch.Tensor:
    """uint8 (n, 64, 64, 3) to float32 (n, 3, 64, 64) in -1 to 1."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    return pixels.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=4)
def load_classifier(path: Path | None = None) -> Classifier:
    """The shipped classifier, or the one in another safetensors file, in evaluation mode on the CPU."""
    model = Classifier()
    weights = load_file(path or Path(__file__).parent / "weights" / "classifier" / "model.safetensors")
    model.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    )
    return model.eval().to(memory_format=torch.channels_last)


@torch.no_grad()
def predict(images: np.ndarray, model: Classifier | None = None, batch_size: int = 256) -> dict[str, list[str]]:
    """Read pictures, uint8 (n, 64, 64, 3): the likeliest label of each, by head (`HEADS`)."""
    model = model or load_classifier()
    device = str(next(model.parameters()).device)
    found: dict[str, list[str]] = {name: [] for name in HEADS}
    for k in range(0, len(images), batch_size):
        for name, logits in model(to_pixels(images[k : k + batch_size], device)).items():
            found[name] += [HEADS[name][i] for i in logits.argmax(1).tolist()]
    return found


def accuracy(found: dict[str, list[str]], wanted: list[dict[str, str]]) -> dict[str, float]:
    """Share of pictures read as wanted, by attribute of the world, 0 to 1."""
    n = max(1, len(wanted))
    return {name: sum(f == w[name] for f, w in zip(found[name], wanted, strict=True)) / n for name in ATTRIBUTES}
