"""UCE's closed form against the loop of its release, on matrices of Stable Diffusion 1.5's shapes (random weights).

    python benchmarks/uce.py                   # 1, 10 and 100 concepts; half a minute
    python benchmarks/uce.py --concepts 100 --repeat 5
    python benchmarks/uce.py --rece --concepts 1 10   # a round of RECE; the loop at 10 takes minutes

The loop restates what the released code does: for every layer anew, one outer product of embeddings a concept for both
factors, then a general inverse, in float32. Ours is what `erase` runs: one factorisation for all layers, the edit made
as thin as it is, the edited matrices and the LoRA, in float64.

A round of RECE is the same at all 77 positions of each concept's prompt; the loop multiplies these out at once. Ours
also derives what is edited away, from the matrices' sum of squares; the loop is given it. No LoRA: it would be larger
than the matrices.

Times are processor seconds summed over threads: an upper bound of the wall time of an idle machine that a busy one does
not change. Medians over `--repeat` runs; the loop from 100 concepts on, and RECE's, runs once. Results are compared.

Memory is what a call and its result need at most above what the process held, each in a process forked for it before
anything else ran. There one layer is edited first, and the freed memory given back: that loads the libraries' code and
buffers, which is no part of either method.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from conceptlib.erasers.closed_form import Edit, derive, gram, uce
from conceptlib.erasers.memory import peak_memory, peak_memory_mb

WIDTH, POSITIONS = 768, 77
BLOCKS = (320,) * 5 + (640,) * 5 + (1280,) * 6
"""Widths of SD 1.5's sixteen cross-attention blocks; each has a key and a value matrix, (block, 768)."""

Matrices = list[torch.Tensor]
Factors = list[tuple[torch.Tensor, torch.Tensor]]


class Task(NamedTuple):
    """weights: (out, D) each. sources, targets: (n, D), or (n, 77, D) in RECE. kept: (m, D)."""

    weights: Matrices
    sources: torch.Tensor
    targets: torch.Tensor
    kept: torch.Tensor


def layers(seed: int = 0) -> Matrices:
    """32 float32 matrices with entries as large as trained ones."""
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(out, WIDTH, generator=source) / WIDTH**0.5 for out in BLOCKS for _ in "kv"]


def released_loop(task: Task, lamb: float = 0.5) -> Matrices:
    """A layer at a time, a concept at a time."""
    found = []
    for weight in task.weights:
        left, right = lamb * weight, lamb * torch.eye(WIDTH)
        for source, target in [*zip(task.sources, task.targets, strict=True), *((k, k) for k in task.kept)]:
            column = source.reshape(-1, WIDTH, 1)
            value = (target.reshape(-1, WIDTH) @ weight.T)[..., None]
            left = left + (value @ column.transpose(1, 2)).sum(0)
            right = right + (column @ column.transpose(1, 2)).sum(0)
        found.append(left @ torch.inverse(right))
    return found


def ours(task: Task, lora: bool = True) -> tuple[Matrices, Factors]:
    """One factorisation, then a few thin products a layer: the matrices, and the LoRA beside them."""
    edit = uce(task.sources, task.targets, task.kept).compact()
    factors = [edit.lora(weight) for weight in task.weights if lora]
    return [edit.apply(weight) for weight in task.weights], factors


def ours_bare(task: Task) -> tuple[Matrices, Factors]:
    """The matrices alone: what the loop makes."""
    return ours(task, lora=False)


def brought_back(task: Task) -> tuple[Edit, torch.Tensor]:
    """UCE at the last position, and (n * 77, D) what brings the sources back after it."""
    edit = uce(task.sources[:, -1], task.targets[:, -1], task.kept)
    return edit, derive(edit, gram(task.weights), task.sources.flatten(0, 1), regularisation=0.1)


def ours_rece(task: Task) -> tuple[Matrices, Factors]:
    """UCE and one round."""
    edit, derived = brought_back(task)
    edit = edit.then(uce(derived, task.targets.flatten(0, 1), task.kept)).compact()
    return [edit.apply(weight) for weight in task.weights], []


def rece_loops_task(task: Task) -> Task:
    """What RECE's loop is given: the matrices after UCE, and what it shall edit away."""
    edit, derived = brought_back(task)
    weights = [edit.apply(weight) for weight in task.weights]
    return task._replace(weights=weights, sources=derived.float().reshape(task.sources.shape))


def timed(call: Callable[[Task], Any], task: Task, repeat: int) -> tuple[float, Any]:
    """Median processor time of a call, and its result."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        made = call(task)
        times.append(time.process_time() - start)
    return statistics.median(times), made


def memory(call: Callable[[Task], Any], task: Task) -> int:
    """MiB, at most, of a call and its result; see the module."""
    read, write = os.pipe()
    if not (child := os.fork()):
        call(task._replace(weights=task.weights[:1]))
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # glibc's
        with peak_memory(torch.device("cpu")) as peak:
            start = peak_memory_mb(torch.device("cpu"))
            made = call(task)
        os.write(write, str(peak.mb - start if made else 0).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return int(os.read(read, 32))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--concepts", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--preserved", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rece", action="store_true")
    options = parser.parse_args()
    source = torch.Generator().manual_seed(1)

    def embeddings(count: int) -> torch.Tensor:
        return torch.randn(count, *([POSITIONS] if options.rece else []), WIDTH, generator=source)

    kept = torch.randn(options.preserved, WIDTH, generator=source)
    weights = layers()
    tasks = [Task(weights, embeddings(count), embeddings(count), kept) for count in options.concepts]
    calls: dict[str, Callable[[Task], Any]] = {"the loop": released_loop}
    calls |= {"ours": ours_rece} if options.rece else {"ours": ours, "ours without the LoRA": ours_bare}
    spent = [[memory(call, task) for call in calls.values()] for task in tasks]
    print(f"{torch.get_num_threads()} threads, {options.preserved} preserved, median of {options.repeat}")
    header = ["concepts", "the released loop, CPU s", "ours, CPU s", "times as fast", "largest difference"]
    print("| " + " | ".join([*header, *(f"{name}, MiB" for name in calls)]) + " |")
    print("|---" * (len(header) + len(calls)) + "|")
    for count, task, needed in zip(options.concepts, tasks, spent, strict=True):
        given = rece_loops_task(task) if options.rece else task
        slow, theirs = timed(released_loop, given, 1 if count >= 100 or options.rece else options.repeat)
        fast, (mine, _) = timed(calls["ours"], task, options.repeat)
        apart = max(float((a - b).abs().max()) for a, b in zip(theirs, mine, strict=True))
        row = [count, f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.0f}", f"{apart:.1e}", *needed]
        print("| " + " | ".join(map(str, row)) + " |")


if __name__ == "__main__":
    main()
