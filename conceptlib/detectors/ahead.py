"""One thing read while another is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


def ahead(items: Iterable[T], depth: int = 1) -> Iterator[T]:
    """The items in their order, the next `depth` of them made by a thread while one is used.

    The iterable runs in that thread alone. What it raises comes here, in place of the item that it was making; once
    the consumer stops, at most one more item is made.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, "ahead") as pool:
        waiting = deque(pool.submit(next, iterator, _END) for _ in repeat(None, depth))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(pool.submit(next, iterator, _END))
                yield item
        finally:
            pool.shutdown(cancel_futures=True)
