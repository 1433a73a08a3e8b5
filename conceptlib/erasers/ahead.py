"""The next batch of a training is read while the device works on the one before.

That is the work of the CPU on a batch: rows of files, noise, weights. On a CPU nothing is read ahead: it has no time
to spare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from conceptlib.models.devices import send
from conceptlib.store.seeds import row_generator, row_seed


@dataclass(frozen=True)
class Reader:
    """How to read the batch of some positions: `work()`. `beside`: whether another thread may do it."""

    positions: np.ndarray
    work: Callable[[], Any]
    beside: bool


class Ahead:
    """Batches in the order in which they are asked for; a context manager that ends its thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._next: tuple[np.ndarray, Future[Any]] | None = None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def take(self, reader: Reader, *, then: Reader | None) -> Any:
        """The batch of `reader`, and begin with that of `then`."""
        if self._next is not None and np.array_equal(self._next[0], reader.positions):
            batch = self._next[1].result()
        else:
            batch = reader.work()
        self._next = None
        if then is not None and then.beside:
            self._next = then.positions, self._thread.submit(then.work)
        return batch


def in_halves(objective: Any) -> bool:
    """Whether a loss comes in two halves, `batch` for the CPU and `loss_of` for the device. A subclass that
    changes `loss` alone has but one.
    """
    kinds = type(objective).__mro__
    owners = {name: [kind for kind in kinds if name in vars(kind)][:1] for name in ("loss", "loss_of", "batch")}
    return bool(owners["loss_of"] and owners["batch"]) and owners["loss"] == owners["loss_of"]


def sent(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """A batch with its tensors on the device."""
    return {name: send(value, device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def stream(seed: int, rows: int, positions: np.ndarray) -> list[int]:
    """The data's rows at positions of an endless stream: one permutation of all rows after the other."""
    found = []
    for epoch in np.unique(positions // rows):
        order = _order(seed, rows, int(epoch))
        found += [int(order[position % rows]) for position in positions[positions // rows == epoch]]
    return found


@lru_cache(maxsize=2)  # two epochs meet in a batch; a permutation of a million rows takes 0.1 s
def _order(seed: int, rows: int, epoch: int) -> np.ndarray:
    order: np.ndarray = row_generator(seed, epoch, "order").permutation(rows)
    order.setflags(write=False)
    return order


def generators(seed: int, positions: np.ndarray) -> list[torch.Generator]:
    """A CPU generator for each position of the stream."""
    return [torch.Generator().manual_seed(row_seed(seed, int(position), "sample")) for position in positions]
