from __future__ import annotations

import threading

import pytest

from conceptlib.models.beside import Beside


def test_things_are_done_in_order_in_another_thread() -> None:
    done: list[tuple[int, bool]] = []
    with Beside(1) as beside:
        for number in range(5):
            beside.do(lambda n=number: done.append((n, threading.current_thread() is threading.main_thread())))
    assert done == [(number, False) for number in range(5)]


def test_no_more_wait_than_allowed() -> None:
    gate, begun, handed = threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        gate.wait(10)

    with Beside(1) as beside:

        def hand_over() -> None:
            for number in range(4):
                beside.do(slow)
                handed.append(number)

        caller = threading.Thread(target=hand_over)
        caller.start()
        assert begun.wait(10)
        caller.join(0.1)
        assert handed == [0, 1], "one in work and one waiting"
        gate.set()
        caller.join(10)
    assert handed == [0, 1, 2, 3]


def test_an_error_is_the_callers_and_ends_it() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"), Beside(3) as beside:
        beside.do(lambda: done.append(0))
        beside.do(fail)
        beside.do(lambda: done.append(1))
    assert done == [0]
    with pytest.raises(OSError, match="full"), Beside(0) as beside:
        beside.do(fail)
        for _ in range(3):
            beside.do(lambda: done.append(2))
    assert done == [0]


def test_what_was_handed_over_before_an_interrupt_is_done() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt), Beside(3) as beside:
        beside.do(lambda: done.append(0))
        raise KeyboardInterrupt
    assert done == [0]
