"""Make `tiny` from its recipe: pictures, autoencoder, latents, UNet and text encoder, classifier, package.

    conceptlib models train tiny --out DIR [--device cuda] [diffusion.steps=2000 ...]

Each stage leaves a finished file in `DIR/work`, and a rerun goes on from there; training itself resumes from its last
checkpoint.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from copy import deepcopy
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from conceptlib.processes import Workers
from conceptlib.worlds.tiny import diffusion, quality, tokens, vae
from conceptlib.worlds.tiny.classifier import Classifier, load_classifier, train_classifier
from conceptlib.worlds.tiny.data import prerender
from conceptlib.worlds.tiny.recipe import Params

Log = Callable[[str], None]
SAMPLES = 96


def train_tiny(
    params: Params, seed: int, out: Path, device: str = "cpu", log: Log | None = None, workers: int = 2
) -> Path:
    """Run the recipe; the model lands in `out`, its log in `out/work/train.log`, sample grids beside it. Returns `out`.

    workers: processes that draw the pictures and, on a CPU, share each training batch with one thread each.
    """
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    note = logger(work / "train.log", log)
    note(f"recipe {params.model_dump_json()} seed {seed} device {device} workers {workers}")
    pictures, _, targets = prerender(work / "data", params.images, seed, params.rates, workers=workers)
    images = np.array(pictures)
    if not (work / "tokenizer").exists():
        tokens.write_tokenizer(work / "tokenizer")
    autoencoder = _autoencoder(images, params, seed, device, work, note)
    _latents(autoencoder, images, work)
    _classifier(images, targets, params, seed, device, work, note)
    del images
    processes = workers if device == "cpu" else 1
    if processes > 1:
        meeting = work / "meeting"
        meeting.unlink(missing_ok=True)
        share = partial(
            _diffusion, processes=processes, meeting=meeting, params=params, seed=seed, device=device, out=out
        )
        with Workers(share, processes) as pool:  # each takes one: the first waits for the others before it works
            for done in as_completed([pool.submit(rank) for rank in range(processes)]):
                done.result()  # one that failed ends the others, which would wait for it
        meeting.unlink(missing_ok=True)
    else:
        _diffusion(0, 1, None, params, seed, device, out)
    return out


def _diffusion(
    rank: int, processes: int, meeting: Path | None, params: Params, seed: int, device: str, out: Path
) -> None:
    """Train UNet and text encoder from the files of the earlier stages, and export; one of `processes`."""
    work = out / "work"
    if meeting is not None:
        torch.set_num_threads(1)
        dist.init_process_group(
            "gloo", init_method=meeting.absolute().as_uri(), rank=rank, world_size=processes, timeout=timedelta(hours=2)
        )
    note = logger(work / "train.log") if rank == 0 else (lambda line: None)
    _, captions, _ = prerender(work / "data", params.images, seed, params.rates)
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    autoencoder = _load_autoencoder(work, device)
    latents = torch.from_numpy(np.load(work / "latents.npy"))
    judge = load_classifier(work / "classifier.safetensors")
    trainer = make_trainer(params, tokenizer, seed, device)
    checkpoint = work / "checkpoint.safetensors"
    if checkpoint.exists():
        trainer.load(checkpoint)
        note(f"resumed at step {trainer.step}")
    ids = token_ids(tokenizer, [*captions, ""])

    def look(trainer: diffusion.Trainer) -> None:
        inspect(trainer, autoencoder, tokenizer, judge, work, note)

    with _bf16_convolutions():
        diffusion.train(trainer, latents, ids[:-1], ids[-1], checkpoint, note, look)
    if rank == 0:
        look(trainer)
        scheduler = diffusion.make_scheduler(params.diffusion)
        export(make_pipeline(autoencoder, tokenizer, *trainer.averaged(), scheduler), judge, out)
    if meeting is not None:
        dist.destroy_process_group()


def make_trainer(params: Params, tokenizer: Any, seed: int, device: str) -> diffusion.Trainer:
    """A trainer at step 0, its weights drawn from the seed."""
    torch.manual_seed(seed)
    unet = diffusion.make_unet(params.diffusion)
    text_encoder = diffusion.make_text_encoder(
        params.diffusion, len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id
    )
    return diffusion.Trainer(unet, text_encoder, params.diffusion, seed, device)


def token_ids(tokenizer: Any, captions: list[str]) -> torch.Tensor:
    """Captions as int16 (n, 77), padded and cut to all positions, as the pipeline does it."""
    found = tokenizer(captions, padding="max_length", max_length=tokens.MAX_LENGTH, truncation=True)
    return torch.tensor(found.input_ids, dtype=torch.int16)


def make_pipeline(
    autoencoder: AutoencoderKL, tokenizer: Any, unet: Any, text_encoder: Any, scheduler: Any
) -> StableDiffusionPipeline:
    """The parts as a Stable Diffusion pipeline without a progress bar."""
    pipe = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def inspect(
    trainer: diffusion.Trainer,
    autoencoder: AutoencoderKL,
    tokenizer: Any,
    judge: Classifier | None,
    work: Path,
    log: Log,
) -> None:
    """Draw from held-out captions with the averaged weights: a grid in `work/samples`, accuracies in the log."""
    from conceptlib.worlds.tiny import world
    from conceptlib.worlds.tiny.classifier import accuracy, predict

    pipe = make_pipeline(autoencoder, tokenizer, *trainer.averaged(), diffusion.make_scheduler(trainer.recipe))
    rows = list(world.rows(trainer.seed, SAMPLES, split="held-out"))
    images = quality.generate(pipe, [row.caption for row in rows], seed=0)
    (work / "samples").mkdir(exist_ok=True)
    quality.grid(images).save(work / "samples" / f"step-{trainer.step:06d}.png")
    if judge is not None:
        found = predict(images, judge)
        scores = {**accuracy(found, [row.labels for row in rows]), "qr-code": found["qr-code"].count("yes") / len(rows)}
        log(f"step {trainer.step} " + " ".join(f"{name} {score:.3f}" for name, score in scores.items()))


def export(
    pipe: StableDiffusionPipeline, judge: Classifier | None, out: Path, dtype: torch.dtype = torch.float16
) -> None:
    """Write the model to `out` as safetensors, each component by an atomic rename.

    UNet, autoencoder and classifier are stored in `dtype`; diffusers loads them as float32 again. The text encoder
    stays float32: transformers loads the stored dtype, and a pipeline loaded without `torch_dtype` must not mix two.
    """
    half = out / ".part"
    shutil.rmtree(half, ignore_errors=True)
    parts = pipe.components
    unet, autoencoder = (deepcopy(parts[name]).to("cpu", dtype) for name in ("unet", "vae"))
    text_encoder = deepcopy(parts["text_encoder"]).to("cpu", torch.float32)
    make_pipeline(autoencoder, parts["tokenizer"], unet, text_encoder, pipe.scheduler).save_pretrained(half)
    if judge is not None:
        (half / "classifier").mkdir()
        state = {name: value.cpu().contiguous() for name, value in judge.state_dict().items()}
        state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
        save_file(state, half / "classifier" / "model.safetensors")
    for file in half.rglob("*.safetensors"):
        file.chmod(0o644)
    for file in half.rglob("config.json"):  # where a component was loaded from is nobody's business
        config = json.loads(file.read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for component in sorted(half.iterdir()):
        target = out / component.name
        old = out / f".old-{component.name}"
        if target.exists():
            target.rename(old)
        component.rename(target)
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    half.rmdir()


def logger(path: Path, also: Log | None = None) -> Log:
    """A log that appends lines with the time to a file and passes them on."""

    def log(line: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {line}"
        (also or print)(line)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    return log


@contextmanager
def _bf16_convolutions() -> Iterator[None]:
    """Let a CPU's convolutions round inputs to bfloat16: a tenth less time a step where it has the instructions."""
    settings = torch.backends.mkldnn.conv
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before


def _autoencoder(images: np.ndarray, params: Params, seed: int, device: str, work: Path, log: Log) -> AutoencoderKL:
    if not (work / "vae").exists():
        model = vae.train_vae(images, params.vae, seed, device, log)
        vae.standardise(model, images[:2048])
        model.save_pretrained(work / "vae.part")
        (work / "vae.part").rename(work / "vae")
    return _load_autoencoder(work, device)


def _load_autoencoder(work: Path, device: str) -> AutoencoderKL:
    model = AutoencoderKL.from_pretrained(work / "vae").to(device, memory_format=torch.channels_last)
    return model.eval().requires_grad_(False)


def _latents(autoencoder: AutoencoderKL, images: np.ndarray, work: Path) -> None:
    if not (work / "latents.npy").exists():
        np.save(work / "latents.part.npy", vae.encode(autoencoder, images).numpy())
        (work / "latents.part.npy").rename(work / "latents.npy")


def _classifier(
    images: np.ndarray, targets: np.ndarray, params: Params, seed: int, device: str, work: Path, log: Log
) -> None:
    path = work / "classifier.safetensors"
    if not path.exists():
        model = train_classifier(images, targets, params.classifier, seed, device, log)
        save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, path)
