"""How a long job tells how far it is: every library function that takes a while has a parameter of this type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Progress(Protocol):
    """`progress(stage, done, total)`, called again and again.

    stage: what is being done, in a word or two; a new stage begins where it changes or `done` goes back. done, total:
    counts of the same unit; a total of 0 is one that nobody knows. It may be called from any thread, and may raise to
    stop the job (Ctrl-C).
    """

    def __call__(self, stage: str, done: int, total: int, /) -> None: ...


_shown: ContextVar[Progress | None] = ContextVar("shown", default=None)


@contextmanager
def showing(progress: Progress) -> Iterator[None]:
    """Inside the block, what has no `progress` parameter of its own (a download somewhere below) tells this one."""
    token = _shown.set(progress)
    try:
        yield
    finally:
        _shown.reset(token)


def shown() -> Progress | None:
    """The progress of the enclosing `showing`; None where there is none."""
    return _shown.get()


def prefixed(progress: Progress | None, prefix: str) -> Progress | None:
    """The same progress, told as `prefix: stage`."""
    if progress is None:
        return None
    return lambda stage, done, total: progress(f"{prefix}: {stage}", done, total)
