"""UCE's closed form against the loop of its release, on matrices of Stable Diffusion 1.5's shapes (random weights).

    python benchmarks/uce.py                   # 1, 10 and 100 concepts; the loop at 100 takes minutes
    python benchmarks/uce.py --concepts 100 --repeat 5

The loop restates what the released code does: for every layer anew, one outer product of embeddings a concept for both
factors, then a general inverse, in float32. Ours is what `erase` runs: one factorisation for all layers, the edit made
as thin as it is, the edited matrices and the LoRA, in float64.

Times are processor seconds summed over threads: an upper bound of the wall time of an idle machine that a busy one does
not change. Medians over `--repeat` runs; the loop from 100 concepts on runs once. Both results are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch

from conceptlib.erasers.closed_form import uce
from conceptlib.erasers.memory import peak_memory, peak_memory_mb

WIDTH = 768
BLOCKS = (320,) * 5 + (640,) * 5 + (1280,) * 6
"""Widths of SD 1.5's sixteen cross-attention blocks; each has a key and a value matrix, (block, 768)."""


def layers(seed: int = 0) -> list[torch.Tensor]:
    """32 float32 matrices with entries as large as trained ones."""
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(out, WIDTH, generator=source) / WIDTH**0.5 for out in BLOCKS for _ in "kv"]


def released_loop(
    weights: list[torch.Tensor], sources: torch.Tensor, targets: torch.Tensor, kept: torch.Tensor, lamb: float = 0.5
) -> list[torch.Tensor]:
    """A layer at a time, a concept at a time."""
    found = []
    for weight in weights:
        left, right = lamb * weight, lamb * torch.eye(WIDTH)
        for source, target in [*zip(sources, targets, strict=True), *((k, k) for k in kept)]:
            column = source.reshape(1, -1, 1)
            value = (weight @ target).reshape(1, -1, 1)
            left = left + (value @ column.transpose(1, 2)).sum(0)
            right = right + (column @ column.transpose(1, 2)).sum(0)
        found.append(left @ torch.inverse(right))
    return found


def ours(
    weights: list[torch.Tensor], sources: torch.Tensor, targets: torch.Tensor, kept: torch.Tensor
) -> list[torch.Tensor]:
    """One factorisation, then a few thin products a layer."""
    edit = uce(sources, targets, kept).compact()
    for weight in weights:
        edit.lora(weight)
    return [edit.apply(weight) for weight in weights]


def seconds(call: Callable[[], list[torch.Tensor]], repeat: int) -> float:
    """Median processor time of a call."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def memory(call: Callable[[], list[torch.Tensor]]) -> int:
    """MiB that a call needs above what the process holds, measured in a forked child, so that nothing is left over."""
    read, write = os.pipe()
    if not (child := os.fork()):
        with peak_memory(torch.device("cpu")) as peak:
            start = peak_memory_mb(torch.device("cpu"))
            made = call()
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
    options = parser.parse_args()
    weights = layers()
    source = torch.Generator().manual_seed(1)
    print(f"{torch.get_num_threads()} threads, {options.preserved} preserved, median of {options.repeat}")
    header = ["concepts", "the released loop, CPU s", "ours, CPU s", "times as fast", "largest difference"]
    print("| " + " | ".join([*header, "the loop, MiB", "ours, MiB"]) + " |")
    print("|---|---|---|---|---|---|---|")
    for count in options.concepts:
        sources, targets, kept = (torch.randn(n, WIDTH, generator=source) for n in (count, count, options.preserved))
        spent = [memory(lambda f=f: f(weights, sources, targets, kept)) for f in (released_loop, ours)]  # noqa: B023
        theirs = released_loop(weights, sources, targets, kept)
        repeat = 1 if count >= 100 else options.repeat
        slow = seconds(lambda: released_loop(weights, sources, targets, kept), repeat)  # noqa: B023
        fast = seconds(lambda: ours(weights, sources, targets, kept), options.repeat)  # noqa: B023
        mine = ours(weights, sources, targets, kept)
        apart = max(float((a - b).abs().max()) for a, b in zip(theirs, mine, strict=True))
        print(f"| {count} | {slow:.2f} | {fast:.2f} | {slow / fast:.0f} | {apart:.1e} | {spent[0]} | {spent[1]} |")


if __name__ == "__main__":
    main()
