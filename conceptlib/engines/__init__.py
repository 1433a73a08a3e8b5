"""Engines: where the pieces of a large job (shards, blocks of rows) are worked on. One file an engine.

    for task, result in engine("ray").run(work, tasks):
        ...

* `local`: in this process, one after the other.
* `ray`: by actors on a Ray cluster, in any order.

An engine only moves work: what a piece becomes depends on the piece, so ids are the same with either, and a job that
was stopped under one goes on under the other.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol, TypeVar

from conceptlib.errors import ConceptlibError, did_you_mean
from conceptlib.specs.registry import ENGINES


class Task(Protocol):
    """A piece of work. Where it leaves the process, small and picklable: paths, not pictures."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...


T = TypeVar("T", bound=Task)
R = TypeVar("R")
Work = Callable[[T], R]


class Engine(Protocol):
    """A module of this package."""

    def check(self) -> None:
        """Raises ConceptlibError where what it needs is not installed."""
        ...

    def run(
        self, work: Work[T, R], tasks: Iterable[T], *, workers: int | None = None, gpu: bool = False
    ) -> Generator[tuple[T, R], None, None]:
        """Every task with `work(task)`, in the order in which they get done; tasks are taken as workers are free.

        Args:
            work: what a worker does; where it leaves the process, it is pickled, and each worker has one copy, so that
                what it loads at its first task stays loaded. It writes files whole, and does nothing twice that an
                earlier try finished.
            workers: how many at most; None: as many as there is room for.
            gpu: a worker takes a GPU, where there are any.

        Raises:
            ConceptlibError: what `work` raised; or workers died over one task again and again.
        """
        ...


def engine(name: str) -> Engine:
    """The engine of this name, ready to be used.

    Raises:
        ConceptlibError: there is none, or what it needs is not installed.
    """
    if name not in ENGINES:
        raise ConceptlibError(f"there is no engine {name!r}", where="engine", hint=did_you_mean(name, ENGINES.names()))
    found: Any = ENGINES.get(name)
    found.check()
    return found
