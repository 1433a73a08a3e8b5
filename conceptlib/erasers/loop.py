"""The training loop that every trained method shares.

What a step sees is decided by the seed and the step alone: the rows come from one permutation an epoch, and every
sample draws its noise, timestep and dropout from a generator of its own. So a run does not depend on how its batch is
cut into micro-batches and processes, and one that is stopped and resumed ends, on a CPU, in the same bits as one that
was not.

A step does not wait for a GPU: losses stay there and are read, checked and logged every `LOG_EVERY` steps, and the
next batch is read meanwhile where the objective knows how to (`Objective.batch`).

`accelerate launch` works: each process takes its share of every batch. The state that a run resumes from is one
safetensors file (weights, optimiser moments, EMA, the number of threads) that is replaced atomically, every so many
steps, every minute, and when Ctrl-C or SIGTERM ends the run; there is no state of random generators to keep.

On a CPU the last bits also follow from the number of threads, since it decides in which order gradients are summed. A
run chooses one at its start, resumed or not, and another only if its steps become clearly slower or faster; each line
of its log says which. `OMP_NUM_THREADS` fixes it.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from conceptlib.erasers.ahead import Ahead, Reader, in_halves, sent
from conceptlib.erasers.ahead import generators as generators
from conceptlib.erasers.ahead import stream as stream
from conceptlib.erasers.base import Objective, TrainingParams
from conceptlib.erasers.files import save_tensors
from conceptlib.erasers.log import StepLog, read_log
from conceptlib.erasers.memory import peak_memory_mb
from conceptlib.erasers.ranks import make_accelerator as make_accelerator
from conceptlib.errors import ConceptlibError
from conceptlib.models.threads import Threads
from conceptlib.progress import Progress
from conceptlib.store.seeds import row_seed
from conceptlib.timing import SAVE_EVERY, Every

STATE = "state.safetensors"
FALL = 0.4
"""Share of the steps after the warm-up over which the schedule `trapezoid` falls to 0."""
LOG_EVERY = 10
"""Steps whose losses are read at once from a device that works on its own (a GPU); on a CPU each is."""


@dataclass(frozen=True)
class Report:
    """How a run went. `loss` is the mean over the last tenth of the steps; `peak_memory_mb` of the device, or of the
    process on a CPU. `skipped`: steps in float16 that changed nothing, since a scaled gradient overflowed.
    """

    steps: int
    loss: float
    first_loss: float
    seconds: float
    peak_memory_mb: int
    skipped: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For the manifest's info."""
        return {
            "steps": self.steps,
            "loss": round(self.loss, 6),
            "first_loss": round(self.first_loss, 6),
            "train_seconds": round(self.seconds, 1),
            "peak_memory_mb": self.peak_memory_mb,
            **({"skipped_steps": self.skipped} if self.skipped else {}),
        }


def train(
    objective: Objective,
    params: TrainingParams,
    *,
    rows: int,
    seed: int,
    workdir: Path,
    log: Path,
    accelerator: Any,
    progress: Progress | None = None,
) -> Report:
    """Train `objective` on `rows` samples; resumes from `workdir` if a state lies there.

    Args:
        objective: see `Objective`; its parameters end as the trained weights (their moving average if `params.ema` >
            0).
        rows: how many samples the data has; `Objective.loss` is given indices below it.
        seed: decides order, noise, timesteps and dropout.
        workdir: where the state is kept, every `params.checkpoint_every` steps and every minute.
        log: JSON lines, one a step: step, loss, lr (of the first group), seconds, threads (on a CPU). On a GPU they
            come `LOG_EVERY` at a time, with the mean of their seconds.
        accelerator: from `make_accelerator`.
        progress: called with ("train", steps done, steps).

    Raises:
        ConceptlibError: no data, a batch that the processes cannot share equally, a loss that is not finite, or a state
        of another run.
    """
    if rows < 1:
        raise ConceptlibError("there is nothing to train on", hint="check the dataset and its train split")
    parts = params.gradient_accumulation * accelerator.num_processes
    if params.batch_size % parts:
        raise ConceptlibError(
            f"a batch of {params.batch_size} cannot be cut into {parts} equal parts "
            f"({params.gradient_accumulation} accumulations x {accelerator.num_processes} processes)",
            where="batch_size",
            hint=f"use a multiple of {parts}",
        )
    module = _Module(objective)
    run = _Run(module, params, seed=seed, accelerator=accelerator)
    start, told = run.restore(workdir / STATE)
    threads = Threads.of(accelerator.device, state=told, processes=accelerator.num_processes)
    history = read_log(log, start) if accelerator.is_main_process else []
    model = run.shared()
    prepare = getattr(objective, "prepare", lambda step: None)
    every = LOG_EVERY if on_its_own(accelerator.device) else 1
    module.train()
    began, minute = time.monotonic(), Every(SAVE_EVERY)
    with (
        torch.random.fork_rng(devices=[]),
        StepLog(log, history, enabled=accelerator.is_main_process) as lines,
        threads,
        run.kept_when_interrupted(workdir / STATE, threads, lines),
        Ahead() as run.ahead,
    ):
        for step in range(start, params.steps):
            before = time.monotonic()
            prepare(step)
            threads.choose(partial(run.trial, model, step, rows))
            with threads.step():
                loss = run.step(model, step, rows)
            line = {"step": step, "lr": run.lr(step)}
            lines.add(line | ({"threads": threads.number} if accelerator.device.type == "cpu" else {}), loss, before)
            if progress is not None and accelerator.is_main_process:
                progress("train", step + 1, params.steps)
            due = minute.due()
            save = ((step + 1) % params.checkpoint_every == 0 or due) and step + 1 < params.steps
            if save or lines.waiting >= every or step + 1 == params.steps:
                lines.read()
            if save:
                run.save(workdir / STATE, step + 1, threads)
    run.finish()
    module.eval()
    losses = [entry["loss"] for entry in history] or [math.nan]
    tail = losses[-max(1, len(losses) // 10) :]
    spent = sum(entry["seconds"] for entry in history[:start]) + time.monotonic() - began
    memory = peak_memory_mb(accelerator.device)
    return Report(params.steps, float(np.mean(tail)), losses[0], spent, memory, run.skipped())


class _Module(nn.Module):
    """An objective as the one module that accelerate wraps: gradients of all its parts meet when `forward` is
    differentiated.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective
        self.parts = nn.ModuleDict(dict(objective.modules()))

    def forward(self, batch: Any) -> torch.Tensor:
        """The loss of rows and generators, or of a batch that was read ahead."""
        if isinstance(batch, dict):
            loss: torch.Tensor = self.objective.loss_of(batch)  # type: ignore[attr-defined]
            return loss
        return self.objective.loss(*batch)


class _Run:
    """Optimiser, schedule, moving average and saved state of one objective."""

    def __init__(self, module: _Module, params: TrainingParams, *, seed: int, accelerator: Any) -> None:
        self.params, self.seed, self.accelerator = params, seed, accelerator
        groups = [group for group in module.objective.groups() if group.parameters]
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        self.named = {names[id(parameter)]: parameter for group in groups for parameter in group.parameters}
        self._lrs = [group.lr for group in groups]
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": list(group.parameters),
                    "lr": group.lr,
                    "weight_decay": params.weight_decay if group.decay else 0.0,
                }
                for group in groups
            ],
            fused=accelerator.device.type in {"cpu", "cuda"},
        )
        self.module = module
        self.ahead: Ahead
        self.ema = [p.detach().clone() for p in self.named.values()] if params.ema else []
        self._at: int | None = None  # steps that the weights have seen; None while a step changes them

    def factor(self, step: int) -> float:
        """What the learning rates are multiplied by at a step, in [0, 1]."""
        params = self.params
        if step < params.warmup:
            return (step + 1) / (params.warmup + 1)
        done = (step - params.warmup) / max(1, params.steps - params.warmup)
        return {
            "constant": 1.0,
            "linear": 1 - done,
            "cosine": 0.5 * (1 + math.cos(math.pi * done)),
            "trapezoid": min(1.0, (1 - done) / FALL),
        }[params.schedule]

    def lr(self, step: int) -> float:
        """The first group's learning rate at a step."""
        return self._lrs[0] * self.factor(step)

    def shared(self) -> nn.Module:
        """The module as its processes share it: gradients meet in its backward pass."""
        from accelerate.utils import DistributedDataParallelKwargs

        # Looking for parameters without a gradient takes a walk over the graph each step.
        unused = getattr(self.module.objective, "may_skip", True)
        self.accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=unused)
        model: nn.Module = self.accelerator.prepare_model(self.module)
        return model

    def step(self, model: nn.Module, step: int, rows: int) -> torch.Tensor:
        """One optimiser step; the mean loss over the whole batch, of all processes, on the device. A step whose loss is
        not finite changes no weight.
        """
        params, accelerator = self.params, self.accelerator
        total = self._gradients(model, step, rows)
        if accelerator.scaler is not None:
            accelerator.scaler.unscale_(self.optimizer)
        if params.grad_clip:
            accelerator.clip_grad_norm_(list(self.named.values()), params.grad_clip)
        mean: torch.Tensor = accelerator.reduce(total, reduction="mean")
        for group, lr in zip(self.optimizer.param_groups, self._lrs, strict=True):
            group["lr"] = lr * self.factor(step)
        self._at = None
        self._update(mean)
        self._average(step)
        self._at = step + 1
        self.optimizer.zero_grad(set_to_none=True)
        return mean

    def _update(self, loss: torch.Tensor) -> None:
        """Change the weights, unless the loss is not finite or, in float16, a scaled gradient: the optimiser's kernel
        sees to that on the device.
        """
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.step(self.optimizer)
            self.accelerator.scaler.update()
        elif self.optimizer.defaults["fused"]:
            self.optimizer.found_inf = (~loss.isfinite()).float()  # type: ignore[attr-defined]
            self.optimizer.step()
        elif loss.isfinite():
            self.optimizer.step()

    def skipped(self) -> int:
        """Steps in float16 whose gradients overflowed: the optimiser did not count them."""
        if self.accelerator.scaler is None:
            return 0
        return (self._at or 0) - int(max((state["step"] for state in self.optimizer.state.values()), default=0))

    def trial(self, model: nn.Module, step: int, rows: int) -> None:
        """The work of a step, or of its first micro-batch, without effects."""
        self._gradients(model, step, rows, parts=1)
        self.optimizer.zero_grad(set_to_none=True)

    def _gradients(self, model: nn.Module, step: int, rows: int, parts: int | None = None) -> torch.Tensor:
        """Leave a step's gradients (of its first `parts` micro-batches) in the parameters; this process's loss."""
        params, accelerator = self.params, self.accelerator
        # Random numbers that a module draws for itself (LoRA dropout) follow from the step as well.
        torch.manual_seed(row_seed(self.seed, step * accelerator.num_processes + accelerator.process_index, "step"))
        micro = self._micro(step)[:parts]
        total = torch.zeros((), device=accelerator.device)
        for index, part in enumerate(micro):
            last = index == len(micro) - 1
            after = self._after(step, index)
            then = None if after is None else self._reader(after, rows)
            batch = self.ahead.take(self._reader(part, rows), then=then)
            with contextlib.nullcontext() if last else accelerator.no_sync(model):
                loss = model(batch) / params.gradient_accumulation
                accelerator.backward(loss)
            total += loss.detach().float()
        return total

    def _micro(self, step: int) -> list[np.ndarray]:
        """Positions of this process's micro-batches of a step in the stream of rows."""
        params, accelerator = self.params, self.accelerator
        positions = np.arange(step * params.batch_size, (step + 1) * params.batch_size)
        share = np.array_split(positions, accelerator.num_processes)[accelerator.process_index]
        return np.array_split(share, params.gradient_accumulation)

    def _after(self, step: int, index: int) -> np.ndarray | None:
        """The micro-batch that comes next and may be read already; not that of a step whose data is still to be
        prepared.
        """
        if index + 1 < self.params.gradient_accumulation:
            return self._micro(step)[index + 1]
        if step + 1 < self.params.steps and not hasattr(self.module.objective, "prepare"):
            return self._micro(step + 1)[0]
        return None

    def _reader(self, part: np.ndarray, rows: int) -> Reader:
        """How the batch at positions of the stream is read."""
        objective: Any = self.module.objective
        device = self.accelerator.device
        beside = on_its_own(device) and in_halves(objective)

        def work() -> Any:
            sample = stream(self.seed, rows, part), generators(self.seed, part)
            return sent(objective.batch(*sample), device) if beside else sample

        return Reader(part, work, beside)

    def _average(self, step: int) -> None:
        if self.ema:
            # A short run must not end in its first weights: the average is young as long as the run is.
            decay = min(self.params.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.ema, [p.detach() for p in self.named.values()], 1 - decay)

    def finish(self) -> None:
        """Leave the trained weights (their average) in the objective."""
        if self.ema:
            with torch.no_grad():
                for parameter, average in zip(self.named.values(), self.ema, strict=True):
                    parameter.copy_(average)

    def save(self, path: Path, step: int, threads: Threads) -> None:
        """Write everything that the next step depends on, in one file."""
        if not self.accelerator.is_main_process:
            return
        told = {"step": str(step), "seed": str(self.seed), "threads": threads.state()}
        if self.accelerator.scaler is not None:
            told["scaler"] = json.dumps(self.accelerator.scaler.state_dict())
        save_tensors(path, self._tensors(), told)

    @contextlib.contextmanager
    def kept_when_interrupted(self, path: Path, threads: Threads, lines: StepLog) -> Iterator[None]:
        """Save what there is when the user ends the run, unless a step was just changing the weights."""
        try:
            yield
        except KeyboardInterrupt:
            lines.read()
            if self._at is not None and self._at < self.params.steps:
                self.save(path, self._at, threads)
            raise

    def restore(self, path: Path) -> tuple[int, str]:
        """Take up a saved state; the step to go on with (0 if there is none), and what `Threads` said."""
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            return 0, ""
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
                saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        except SafetensorError as error:
            raise ConceptlibError(
                "the saved state is damaged", where=str(path), hint="delete it to start over"
            ) from error
        for parameter in self.named.values():
            # Same strides as the parameter: the fused kernel walks both in memory order.
            moments = {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[parameter] = {"step": torch.zeros((), device=_step_device(parameter)), **moments}
        for name, tensor in self._tensors().items():
            if name not in saved and name.endswith((".exp_avg", ".exp_avg_sq", ".step")):
                continue
            if name not in saved or saved[name].shape != tensor.shape or metadata.get("seed") != str(self.seed):
                raise ConceptlibError(
                    "the saved state belongs to another run", where=str(path), hint="delete it to start over"
                )
            with torch.no_grad():
                tensor.copy_(saved[name])
        for name, parameter in self.named.items():
            if f"adam.{name}.step" not in saved:  # it never had a gradient
                del self.optimizer.state[parameter]
        if self.accelerator.scaler is not None and "scaler" in metadata:
            self.accelerator.scaler.load_state_dict(json.loads(metadata["scaler"]))
        return int(metadata["step"]), metadata.get("threads", "")

    def _tensors(self) -> dict[str, torch.Tensor]:
        found = {f"weight.{name}": parameter.data for name, parameter in self.named.items()}
        for name, parameter in self.named.items():
            found.update(
                {f"adam.{name}.{key}": value for key, value in self.optimizer.state.get(parameter, {}).items()}
            )
        return found | {f"ema.{name}": average for name, average in zip(self.named, self.ema, strict=False)}


def on_its_own(device: torch.device) -> bool:
    """Whether a device works on while Python goes on: then nobody should wait for it at each step."""
    return device.type != "cpu"


def _step_device(parameter: torch.Tensor) -> torch.device:
    return parameter.device if parameter.device.type == "cuda" else torch.device("cpu")
