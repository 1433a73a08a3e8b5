"""Reading ahead: nothing lost, nothing out of order, no further than said, and errors in their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from conceptlib.detectors.ahead import ahead


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_everything_in_order(count: int, depth: int) -> None:
    assert list(ahead(iter(range(count)), depth)) == list(range(count))


def test_the_iterable_runs_in_another_thread_and_no_further_than_said() -> None:
    made: list[int] = []
    threads = set()

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            threads.add(threading.current_thread().name)
            yield number

    for number in ahead(numbers(), 2):
        assert len(made) <= number + 3
    assert made == list(range(100)) and len(threads) == 1
    assert threading.current_thread().name not in threads


def test_an_error_comes_in_its_place_after_what_was_whole() -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        for number in ahead(numbers(), 5):
            seen.append(number)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_consumer_that_stops_ends_the_thread(error: type[BaseException]) -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    reader = ahead(numbers())
    with pytest.raises(error):
        for number in reader:
            if number == 4:
                raise error
    reader.close()
    assert len(made) <= 7 and not any(thread.name.startswith("ahead") for thread in threading.enumerate())
