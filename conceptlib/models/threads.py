"""How many threads torch computes with on a CPU.

Never more than the cores that this process may use. And for work that repeats, the number with which it is fastest
when measured: on a free machine that is all cores, but where other jobs keep them busy the threads of a small network
wait for each other most of the time, and one alone is several times as fast.

What the user says goes first: with `OMP_NUM_THREADS` or `MKL_NUM_THREADS` nothing is measured, and
`torch.set_num_threads` is an upper bound. The order in which a network's backward pass sums, and so the last bits of
what is trained, depend on the number of threads: a training keeps it in its state. No key and no lock holds it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch

from conceptlib.cores import available, wanted_threads

T = TypeVar("T")

AS_GOOD = 1.05
"""Fewer threads are taken if they need at most so many times the best time."""
_CLOSE = 1.25  # measured once more
_WORSE = 1.3  # no fewer threads are tried
_CHANGED = 1.6  # steps so many times as slow or fast as they were: measured again
_WINDOW = 5  # steps whose median is the pace
_FIRST_WAIT, _LONGEST_WAIT = 10, 160  # steps between two measurements; doubled when one changes nothing


def settle() -> int:
    """Keep torch to the cores that this process may use, unless the user says how many threads; returns the number."""
    cores = available()
    if not wanted_threads() and cores < torch.get_num_threads():
        torch.set_num_threads(cores)
    return torch.get_num_threads()


class Threads:
    """The number of threads for steps of equal work; a context manager that leaves torch as it was.

        with threads:
            for ...:
                threads.choose(trial)
                with threads.step():
                    ...

    Args:
        limit: at most so many.
        measured: False: always `limit`.
        state: of an earlier run (`state()`), whose number is kept.
        clock, use: for tests.
    """

    def __init__(
        self,
        limit: int,
        *,
        measured: bool = True,
        state: str = "",
        clock: Callable[[], float] = time.perf_counter,
        use: Callable[[int], None] = torch.set_num_threads,
    ) -> None:
        self.limit, self.number = limit, limit
        self._measured = measured and limit > 1
        self._clock, self._use = clock, use
        self._known = False  # whether `number` was measured
        self._pace: float | None = None  # seconds a step, since the last measurement
        self._recent: list[float] = []
        self._since, self._wait = 0, _FIRST_WAIT
        if state and self._measured:
            self._restore(state)

    @classmethod
    def of(cls, device: torch.device, *, state: str = "", processes: int = 1) -> Threads:
        """For work on a device, shared by so many processes of this machine: measured on a CPU that no other process
        of the job shares, where the user says nothing.
        """
        limit = settle()
        if wanted_threads():
            return cls(limit, measured=False)
        if processes > 1:
            return cls(max(1, limit // processes), measured=False)
        return cls(limit, measured=device.type == "cpu", state=state)

    def __enter__(self) -> Threads:
        global _inside
        self._before = torch.get_num_threads()
        _inside += 1
        self._use(self.number)
        return self

    def __exit__(self, *exc: object) -> None:
        global _inside
        _inside -= 1
        self._use(self._before)

    def choose(self, trial: Callable[[], object]) -> None:
        """Measure, if it is time to; before a step.

        trial: the work of a step without its effects.
        """
        if self._due():
            self._measure(trial)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around a step: whether they are as fast as they were decides when to measure again."""
        began = self._clock()
        yield
        self._recent = [*self._recent, self._clock() - began][-_WINDOW:]
        self._since += 1
        if self._pace is None and len(self._recent) == _WINDOW:
            self._pace = median(self._recent)

    def state(self) -> str:
        """What a resumed run needs, as JSON."""
        return json.dumps([self._known, self.number, self._pace, self._recent, self._since, self._wait])

    def _restore(self, state: str) -> None:
        self._known, number, self._pace, self._recent, self._since, self._wait = json.loads(state)
        self.number = min(number, self.limit)

    def _due(self) -> bool:
        if not self._measured or not self._known:
            return self._measured
        if self._pace is None or self._since < self._wait or len(self._recent) < _WINDOW:
            return False
        now = median(self._recent)
        return now > _CHANGED * self._pace or now * _CHANGED < self._pace

    def _measure(self, trial: Callable[[], object]) -> None:
        """Try all threads, then half of them, and so on while it does not get much worse."""
        self._timed(self.limit, trial)  # the first time memory is allocated, and what else happens once
        seconds: dict[int, float] = {}
        number = self.limit
        while number:
            seconds[number] = self._timed(number, trial)
            if seconds[number] > _WORSE * min(seconds.values()):
                break
            number //= 2
        best = min(seconds.values())
        close = [number for number, took in seconds.items() if took <= _CLOSE * best]
        for number in close if len(close) > 1 else []:
            seconds[number] = min(seconds[number], self._timed(number, trial))
        best = min(seconds.values())
        chosen = min(number for number, took in seconds.items() if took <= AS_GOOD * best)
        self._wait = min(2 * self._wait, _LONGEST_WAIT) if self._known and chosen == self.number else _FIRST_WAIT
        self._known, self.number = True, chosen
        self._pace, self._recent, self._since = None, [], 0
        self._use(chosen)

    def _timed(self, number: int, trial: Callable[[], object]) -> float:
        self._use(number)
        began = self._clock()
        trial()
        return self._clock() - began


_inside = 0
"""How many `Threads` are in use: work within theirs is part of it, and keeps to their number."""
_paced: WeakKeyDictionary[Any, dict[Any, Threads]] = WeakKeyDictionary()


def paced(model: torch.nn.Module, shape: Any, work: Callable[[], T]) -> T:
    """`work()`, a pass through a model for inputs of a shape, with the number of threads that is fastest for it."""
    parameter = next(model.parameters(), None)
    if _inside or parameter is None or parameter.device.type != "cpu":
        return work()
    known = _paced.setdefault(model, {})
    if shape not in known:
        known[shape] = Threads.of(parameter.device)
    with known[shape] as threads:
        threads.choose(work)
        with threads.step():
            return work()
