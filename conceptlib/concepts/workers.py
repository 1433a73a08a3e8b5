"""Rows through worker processes: in order, a bounded number on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import Any

from conceptlib.concepts.builders import Outcome
from conceptlib.cores import available
from conceptlib.errors import ConceptlibError
from conceptlib.processes import Workers

CHUNK = 16


def count_workers(workers: int | None, rows: int) -> int:
    """Processes to start: starting one costs about a second, which a few hundred rows are not worth.

    Args:
        workers: what was asked for; None to choose.
        rows: how many there are; 0 if nobody knows.
    """
    if workers is not None:
        if workers < 1:
            raise ConceptlibError(f"there cannot be {workers} workers", where="workers", hint="1 or more")
        return workers
    return 1 if 0 < rows <= 400 else min(available(), 8)


def outcomes(rows: Iterable[Any], draw: Callable[[Any], Any], workers: int, ready: type = Outcome) -> Iterator[Any]:
    """`draw` of every row, in order; a row that is `ready` already passes as it is. At most a few chunks a worker are
    on their way, so memory does not grow with their number. No process is started before there is something to draw.

    Raises:
        ConceptlibError: a worker ended abruptly.
    """
    if workers == 1:
        yield from (row if isinstance(row, ready) else draw(row) for row in rows)
        return
    rest = iter(rows)
    chunks = iter(lambda: tuple(islice(rest, CHUNK)), ())
    with Workers(_Draw(draw), workers) as pool:
        waiting: deque[tuple[tuple[Any, ...], Future[list[Any]] | None]] = deque()

        def submit(chunk: tuple[Any, ...]) -> None:
            work = [row for row in chunk if not isinstance(row, ready)]
            waiting.append((chunk, pool.submit(work) if work else None))

        for chunk in islice(chunks, 2 * workers):
            submit(chunk)
        while waiting:
            done, future = waiting.popleft()
            drawn = iter(future.result() if future else ())
            if (chunk := next(chunks, ())) != ():
                submit(chunk)
            yield from (row if isinstance(row, ready) else next(drawn) for row in done)


@dataclass(frozen=True)
class _Draw:
    """What a worker does: a chunk at a time."""

    draw: Callable[[Any], Any]

    def __call__(self, rows: Sequence[Any]) -> list[Any]:
        return [self.draw(row) for row in rows]
