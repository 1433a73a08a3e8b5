"""The number of threads, by a clock of our own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from conceptlib import cores
from conceptlib.models import threads as module
from conceptlib.models.threads import Threads, paced, settle


class Machine:
    """Steps that take `seconds(threads)`."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.seconds, self.now, self.number = seconds, 0.0, 0
        self.trials: list[int] = []

    def threads(self, limit: int, state: str = "") -> Threads:
        return Threads(limit, state=state, clock=lambda: self.now, use=self.use)

    def use(self, number: int) -> None:
        self.number = number

    def work(self) -> None:
        self.now += self.seconds(self.number)

    def trial(self) -> None:
        self.trials.append(self.number)
        self.work()

    def run(self, threads: Threads, steps: int) -> list[int]:
        """The number of threads of each step."""
        found = []
        with threads:
            for _ in range(steps):
                threads.choose(self.trial)
                with threads.step():
                    self.work()
                found.append(self.number)
        return found


@pytest.mark.parametrize(
    ("limit", "seconds", "number", "trials"),
    [
        (1, {1: 1.0}, 1, []),
        (2, {1: 1.0, 2: 0.6}, 2, [2, 2, 1]),
        (2, {1: 1.6, 2: 5.0}, 1, [2, 2, 1]),
        (2, {1: 1.0, 2: 1.0}, 1, [2, 2, 1, 2, 1]),  # as good
        (2, {1: 1.04, 2: 1.0}, 1, [2, 2, 1, 2, 1]),  # nearly as good
        (2, {1: 1.1, 2: 1.0}, 2, [2, 2, 1, 2, 1]),
        (8, {1: 8.0, 2: 4.0, 4: 2.0, 8: 1.0}, 8, [8, 8, 4]),  # a large model: one thread is never waited for
        (8, {1: 4.0, 2: 2.0, 4: 1.0, 8: 3.0}, 4, [8, 8, 4, 2]),
        (6, {1: 1.0, 3: 2.0, 6: 3.0}, 1, [6, 6, 3, 1]),
    ],
)
def test_the_fastest_is_taken_and_the_smaller_of_equals(
    limit: int, seconds: dict[int, float], number: int, trials: list[int]
) -> None:
    machine = Machine(seconds.__getitem__)
    assert machine.run(machine.threads(limit), 30) == [number] * 30
    assert machine.trials == trials


def test_it_is_measured_again_when_the_machine_gets_busy_and_when_it_gets_free() -> None:
    free, busy = {1: 1.0, 2: 0.6}, {1: 1.6, 2: 5.0}
    now = free
    machine = Machine(lambda number: now[number])
    threads = machine.threads(2)
    assert machine.run(threads, 20) == [2] * 20
    now = busy
    numbers = machine.run(threads, 20)
    assert numbers == [2, 2, 2, *[1] * 17], "a few slow steps are enough"
    now = free
    assert machine.run(threads, 20)[-1] == 2


def test_steps_whose_time_varies_cost_few_measurements() -> None:
    times = iter(range(10_000))
    machine = Machine(lambda number: 1.0 + 9 * (next(times) // 7 % 2))
    machine.run(machine.threads(2), 1000)
    assert len(machine.trials) < 80


def test_a_resumed_run_goes_on_as_if_it_had_not_been_stopped() -> None:
    def speed(machine: Machine) -> Callable[[int], float]:
        return lambda number: {1: 1.6, 2: 5.0}[number] if machine.now > 30 else {1: 1.0, 2: 0.6}[number]

    whole, cut = Machine(lambda number: 0.0), Machine(lambda number: 0.0)
    whole.seconds, cut.seconds = speed(whole), speed(cut)
    expected = whole.run(whole.threads(2), 80)
    assert set(expected) == {1, 2}
    found, state = [], ""
    for steps in (3, 30, 12, 35):
        threads = cut.threads(2, state)
        found += cut.run(threads, steps)
        state = threads.state()
    assert found == expected and cut.trials == whole.trials


def test_a_machine_with_fewer_cores_goes_on_with_those() -> None:
    machine = Machine(lambda number: 1 / number)
    threads = machine.threads(8)
    machine.run(threads, 1)
    assert machine.threads(2, threads.state()).number == 2


@pytest.fixture
def torch_threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("environment", "cores_here", "set_to", "expected", "measured"),
    [
        ({}, 2, 64, 2, True),
        ({}, 64, 64, 64, True),
        ({}, 64, 3, 3, True),  # `torch.set_num_threads(3)` of the user
        ({"OMP_NUM_THREADS": "5"}, 2, 5, 5, False),
        ({"MKL_NUM_THREADS": "5"}, 2, 5, 5, False),
        ({"OMP_NUM_THREADS": "4,2"}, 2, 4, 4, False),
        ({"OMP_NUM_THREADS": ""}, 2, 64, 2, True),
        ({"OMP_NUM_THREADS": "many"}, 2, 64, 2, True),
    ],
)
def test_torch_keeps_to_the_cores_unless_the_user_says_more(
    environment: dict[str, str],
    cores_here: int,
    set_to: int,
    expected: int,
    measured: bool,
    monkeypatch: pytest.MonkeyPatch,
    torch_threads: object,
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module, "available", lambda: cores_here)
    torch.set_num_threads(set_to)
    assert settle() == torch.get_num_threads() == expected
    threads = Threads.of(torch.device("cpu"))
    assert (threads.limit, threads._measured) == (expected, measured)
    assert not Threads.of(torch.device("cuda"))._measured
    shared = Threads.of(torch.device("cpu"), processes=2)
    assert not shared._measured and shared.number == (max(1, expected // 2) if measured else expected)


def test_torch_is_left_as_it_was(torch_threads: object) -> None:
    torch.set_num_threads(3)
    threads = Threads(2)
    with threads:
        threads.choose(lambda: None)
        assert torch.get_num_threads() in (1, 2)
    assert torch.get_num_threads() == 3


def test_passes_through_a_model_share_what_was_measured_but_not_within_a_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine({1: 1.0, 2: 3.0}.__getitem__)
    monkeypatch.setattr(Threads, "of", lambda device, **kwargs: machine.threads(2))
    model = torch.nn.Linear(2, 2)
    with Threads(2, use=machine.use):
        paced(model, (1, 2), machine.trial)
    assert machine.trials == [2], "measured within the steps of a training"
    assert [paced(model, (1, 2), lambda: machine.trial() or "done") for _ in range(3)] == ["done"] * 3
    assert machine.trials[1:] == [2, 2, 1, 1, 1, 1]
    paced(model, (5, 2), machine.trial)
    assert machine.trials[7:] == [2, 2, 1, 1], "another shape is measured anew"
    assert paced(torch.nn.ReLU(), (), lambda: "no weights") == "no weights"


def test_the_environment_counts_where_it_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    monkeypatch.setenv("MKL_NUM_THREADS", " 3 ")
    assert cores.wanted_threads() == 3
