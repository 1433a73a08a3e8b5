"""In this process, one task after the other."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from conceptlib.engines import R, T, Work


def check() -> None:
    """Nothing is needed."""


def run(
    work: Work[T, R], tasks: Iterable[T], *, workers: int | None = None, gpu: bool = False
) -> Generator[tuple[T, R], None, None]:
    """See `Engine.run`; there is one worker, and it has what this process has."""
    for task in tasks:
        yield task, work(task)
