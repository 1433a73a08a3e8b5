"""Drawing with `tiny` and measuring what it draws: the bars it has to pass.

report = check(load_pipeline())         # `conceptlib models check tiny`
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from conceptlib.worlds.tiny import GUIDANCE_SCALE, NUM_STEPS, RESOLUTION, path, world
from conceptlib.worlds.tiny.classifier import Classifier, accuracy, load_classifier, predict
from conceptlib.worlds.tiny.data import draw_batch
from conceptlib.worlds.tiny.recipe import Params

BAR_ACCURACY = 0.90
BAR_CLASSIFIER = 0.99
BAR_QR_DIFFERENCE = 0.10
BAR_QR_RATE = 0.30
BAR_SECONDS = 15.0


@dataclass(frozen=True)
class Report:
    """What was measured; rates are shares from 0 to 1.

    Args:
        n: pictures generated, from held-out captions; the speed is measured on the first 64.
        accuracy: share of generated pictures whose attribute the classifier reads as the caption says.
        classifier: the classifier's own accuracy on fresh renderings, polluted as the training data.
        qr_rate: share of generated pictures in which the classifier sees a QR code.
        qr_rate_data: the same on fresh renderings.
        seconds: time to draw 64 pictures, `NUM_STEPS` steps with guidance.
    """

    n: int
    accuracy: dict[str, float]
    classifier: dict[str, float]
    qr_rate: float
    qr_rate_data: float
    seconds: float

    def measures(self) -> dict[str, float]:
        """Every measured number by its name."""
        return {
            **{f"generated: {name} as captioned": value for name, value in self.accuracy.items()},
            "generated: QR code seen": self.qr_rate,
            "fresh renderings: QR code seen": self.qr_rate_data,
            **{f"fresh renderings: {name} read right": value for name, value in self.classifier.items()},
            "seconds for 64 pictures": self.seconds,
        }

    @property
    def bars(self) -> dict[str, bool]:
        """Each bar and whether it is passed."""
        read = ("object", "colour", "background")
        return {
            **{f"{name} read in {BAR_ACCURACY:.0%}": self.accuracy[name] >= BAR_ACCURACY for name in read},
            **{f"classifier {name} {BAR_CLASSIFIER:.0%}": self.classifier[name] >= BAR_CLASSIFIER for name in read},
            "QR rate within 10 points of the data's": abs(self.qr_rate - self.qr_rate_data) <= BAR_QR_DIFFERENCE,
            f"QR rate at least {BAR_QR_RATE:.0%}": self.qr_rate >= BAR_QR_RATE,
            f"64 pictures in {BAR_SECONDS:.0f} s": self.seconds <= BAR_SECONDS,
        }


def load_pipeline(folder: Path | None = None, device: str = "cpu") -> Any:
    """The shipped `StableDiffusionPipeline` (or the one in `folder`), float32, without a progress bar."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(folder or path(), dtype=torch.float32).to(device)
    for name in ("unet", "vae"):
        pipe.components[name].to(memory_format=torch.channels_last)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def judge_of(folder: Path | None) -> Classifier:
    """The classifier that was trained with the model in `folder`; the shipped one if there is none."""
    own = None if folder is None else folder / "classifier" / "model.safetensors"
    return load_classifier(own if own is not None and own.exists() else None)


def generate(
    pipe: Any,
    prompts: Sequence[str],
    seed: int = 0,
    guidance_scale: float = GUIDANCE_SCALE,
    num_steps: int = NUM_STEPS,
    batch_size: int = 64,
) -> np.ndarray:
    """Draw one picture a prompt, uint8 (n, 64, 64, 3); picture *i* starts from the noise of seed `seed + i`."""
    parts = []
    for start in range(0, len(prompts), batch_size):
        batch = list(prompts[start : start + batch_size])
        generators = [torch.Generator().manual_seed(seed + start + k) for k in range(len(batch))]
        images = pipe(
            batch,
            height=RESOLUTION,
            width=RESOLUTION,
            num_inference_steps=num_steps,
            guidance_scale=guidance_scale,
            generator=generators,
            output_type="np",
        ).images
        parts.append(np.rint(images * 255).astype(np.uint8))
    return np.concatenate(parts)


def check(
    pipe: Any,
    n: int = 512,
    seed: int = 0,
    rates: dict[str, float] | None = None,
    guidance_scale: float = GUIDANCE_SCALE,
    classifier: Classifier | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> tuple[Report, np.ndarray]:
    """Measure the bars on `n` held-out captions; returns the report and the generated pictures, uint8 (n, 64, 64, 3).

    Args:
        seed: of the world whose held-out rows are used (the recipe's), and of the pictures' noise.
        rates: the training data's rate of each overlay; of the shipped recipe if left out.
    """
    classifier = classifier or load_classifier()
    rates = rates or Params().rates
    log(f"reading {4 * n} fresh renderings")
    fresh, _, _ = draw_batch(range(4 * n), seed, rates, "held-out")
    rows = list(world.rows(seed, 4 * n, split="held-out"))
    found = predict(fresh, classifier)
    log(f"drawing {n} pictures")
    start = time.perf_counter()
    images = generate(pipe, [row.caption for row in rows[:64]], seed, guidance_scale)
    seconds = time.perf_counter() - start
    if n > 64:
        images = np.concatenate(
            [images, generate(pipe, [row.caption for row in rows[64:n]], seed + 64, guidance_scale)]
        )
    images = images[:n]
    drawn = predict(images, classifier)
    report = Report(
        n=len(images),
        accuracy=accuracy(drawn, [row.labels for row in rows[:n]]),
        classifier=accuracy(found, [row.labels for row in rows]),
        qr_rate=drawn["qr-code"].count("yes") / len(images),
        qr_rate_data=found["qr-code"].count("yes") / len(fresh),
        seconds=seconds,
    )
    return report, images


def grid(images: np.ndarray, columns: int = 12, scale: int = 2, gap: int = 2) -> Image.Image:
    """Pictures uint8 (n, height, width, 3) side by side, each `scale` times its size."""
    n, height, width, _ = images.shape
    lines = -(-n // columns)
    sheet = np.full((lines * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for k, picture in enumerate(images):
        y, x = gap + k // columns * (height + gap), gap + k % columns * (width + gap)
        sheet[y : y + height, x : x + width] = picture
    return Image.fromarray(sheet).resize((sheet.shape[1] * scale, sheet.shape[0] * scale), Image.Resampling.NEAREST)
