"""Work that goes on beside the caller's: in another thread, in order, and never far behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType


class Beside:
    """A thread that does one thing after the other; a context manager that ends when all is done.

    An error in the thread is raised in the caller, at its next `do` or at the end, and nothing is begun after it. When
    the caller fails or is interrupted, what was handed over before is still done.

    Args:
        ahead: things that may wait; `do` blocks while there are as many.
    """

    def __init__(self, ahead: int) -> None:
        self._room = threading.Semaphore(ahead + 1)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="beside")
        self._failed: BaseException | None = None

    def __enter__(self) -> Beside:
        return self

    def do(self, work: Callable[[], object]) -> None:
        """Hand something over."""
        self._room.acquire()
        if self._failed is not None:
            self._room.release()
            raise self._failed
        self._thread.submit(self._run, work)

    def _run(self, work: Callable[[], object]) -> None:
        try:
            if self._failed is None:
                work()
        except BaseException as error:
            self._failed = error
        finally:
            self._room.release()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown(wait=True)
        if self._failed is not None and error is None:
            raise self._failed
