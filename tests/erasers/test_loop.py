from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conceptlib.erasers import loop
from conceptlib.erasers.base import Group, TrainingParams
from conceptlib.erasers.loop import STATE, generators, make_accelerator, stream, train
from conceptlib.errors import ConceptlibError
from conceptlib.models.devices import Placement, choose
from conceptlib.models.threads import Threads

ROWS = 13


class Regression:
    """Noisy linear regression: each sample draws its noise from its generator, and a dropout layer draws from torch's
    own.
    """

    def __init__(self, *, fail_at: int = -1, dropout: float = 0.0) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = nn.Sequential(
                nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last),
                nn.Dropout(dropout),
                nn.Flatten(),
                nn.Linear(12, 1),
            )
            self.unused = nn.Linear(2, 2)
        self.x = torch.randn(ROWS, 2, 4, 4, generator=torch.Generator().manual_seed(1))
        self.calls, self.fail_at = 0, fail_at
        self.seen: list[int] = []

    def modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "unused": self.unused}

    def groups(self) -> list[Group]:
        return [Group(list(self.model.parameters()), 1e-2), Group(list(self.unused.parameters()), 1e-3, decay=False)]

    def loss(self, rows: Sequence[int], sources: Sequence[torch.Generator]) -> torch.Tensor:
        self.seen += rows
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        self.calls += 1
        noise = torch.stack([torch.randn(2, 4, 4, generator=source) for source in sources])
        return (self.model(self.x[list(rows)] + noise) - 1).square().mean()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    def call(objective: Any, name: str = "one", *, seed: int = 0, **settings: Any) -> Any:
        params = TrainingParams(**{"steps": 9, "batch_size": 4, "checkpoint_every": 3, **settings})
        accelerator = make_accelerator(choose("cpu"))
        return train(
            objective,
            params,
            rows=ROWS,
            seed=seed,
            workdir=tmp_path / name,
            log=tmp_path / f"{name}.jsonl",
            accelerator=accelerator,
        )

    return call


def weights(objective: Regression) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in objective.model.parameters()]


def equal(one: Regression, two: Regression) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("stop", [1, 4, 6, 8])
def test_a_stopped_and_resumed_run_ends_in_the_same_bits(
    run: Callable[..., Any], tmp_path: Path, stop: int, ema: float
) -> None:
    whole = Regression(dropout=0.5)
    report = run(whole, "whole", ema=ema)
    with pytest.raises(KeyboardInterrupt):
        run(Regression(dropout=0.5, fail_at=stop), "cut", ema=ema)
    resumed = Regression(dropout=0.5)
    again = run(resumed, "cut", ema=ema)
    assert resumed.calls == 9 - stop, "Ctrl-C keeps what was done"
    assert equal(whole, resumed) and not equal(whole, Regression())
    assert (again.loss, again.first_loss) == (report.loss, report.first_loss)
    lines = [
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    assert [(e["step"], e["loss"], e["lr"]) for e in lines[0]] == [(e["step"], e["loss"], e["lr"]) for e in lines[1]]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_step_that_was_just_changing_the_weights_is_not_kept(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: float
) -> None:
    whole = Regression()
    run(whole, "whole", ema=ema)
    steps = 0

    def stop(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal steps
        steps += 1
        step(self, *args, **kwargs)
        if steps == 5:
            raise KeyboardInterrupt

    step = torch.optim.AdamW.step
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.optim.AdamW, "step", stop)
        run(Regression(), "cut", ema=ema)
    resumed = Regression()
    run(resumed, "cut", ema=ema)
    assert resumed.calls == 9 - 3, "the state of step 3 is the last whole one"
    assert equal(whole, resumed)


def test_a_state_is_saved_every_minute_and_every_line_of_the_log_at_once(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import safe_open

    now, states, lines = 0.0, [], []

    class Slow(Regression):
        def loss(self, rows: Sequence[int], sources: Sequence[torch.Generator]) -> torch.Tensor:
            nonlocal now
            now += 25.0
            path = tmp_path / "one" / STATE
            states.append(int(safe_open(path, "pt").metadata()["step"]) if path.is_file() else 0)
            lines.append(len((tmp_path / "one.jsonl").read_text().splitlines()))
            return super().loss(rows, sources)

    monkeypatch.setattr("conceptlib.timing.time.monotonic", lambda: now)
    run(Slow(), checkpoint_every=100)
    assert states == [0, 0, 0, 3, 3, 3, 6, 6, 6]
    assert lines == list(range(9))


def test_the_number_of_threads_is_chosen_once_and_kept_when_resumed(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads take twice as long as one, by a clock of our own."""
    number, now, used = 2, 0.0, []

    def use(count: int) -> None:
        nonlocal number
        number = count

    class Timed(Regression):
        def loss(self, rows: Sequence[int], sources: Sequence[torch.Generator]) -> torch.Tensor:
            nonlocal now
            now += number
            used.append(number)
            return super().loss(rows, sources)

    def of(device: torch.device, *, state: str = "", processes: int = 1) -> Threads:
        return Threads(2, state=state, clock=lambda: now, use=use)

    monkeypatch.setattr("conceptlib.erasers.loop.Threads.of", of)
    whole = Timed(dropout=0.5)
    run(whole, "whole")
    assert used == [2, 2, 1, *[1] * 9], "one trial to warm up, one of each number, then the steps"
    plain = Regression(dropout=0.5)
    with monkeypatch.context() as patch:
        patch.setattr("conceptlib.erasers.loop.Threads.of", lambda device, **kwargs: Threads(1, use=use))
        run(plain, "plain")
    assert equal(whole, plain), "trials have no effect"
    used.clear()
    with pytest.raises(KeyboardInterrupt):
        run(Timed(dropout=0.5, fail_at=3 + 4), "cut")
    resumed = Timed(dropout=0.5)
    used.clear()
    run(resumed, "cut")
    assert used == [1] * 5, "measured again, though the state says it"
    assert equal(whole, resumed)
    assert {json.loads(line)["threads"] for line in (tmp_path / "cut.jsonl").read_text().splitlines()} == {1}


def test_accumulated_micro_batches_equal_one_batch(run: Callable[..., Any]) -> None:
    one, two = Regression(), Regression()
    first = run(one, "one")
    second = run(two, "two", gradient_accumulation=4)
    assert one.seen == two.seen and one.calls * 4 == two.calls
    for a, b in zip(weights(one), weights(two), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert first.loss == pytest.approx(second.loss, rel=1e-5)


def test_a_trapezoid_stays_at_the_full_rate_and_falls_over_the_last_two_fifths(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    run(Regression(), steps=12, warmup=2, schedule="trapezoid")
    rates = [json.loads(line)["lr"] for line in (tmp_path / "one.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([1e-2 * f for f in (1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25)])


def test_the_loop_is_adamw_with_its_schedule(run: Callable[..., Any]) -> None:
    objective, reference = Regression(), Regression()
    run(objective, schedule="linear", warmup=2, weight_decay=0.1, grad_clip=0.5)
    optimizer = torch.optim.AdamW(reference.model.parameters(), lr=1e-2, weight_decay=0.1, foreach=False)
    for step in range(9):
        optimizer.param_groups[0]["lr"] = 1e-2 * ((step + 1) / 3 if step < 2 else 1 - (step - 2) / 7)
        positions = np.arange(4 * step, 4 * step + 4)
        optimizer.zero_grad()
        reference.loss(stream(0, ROWS, positions), generators(0, positions)).backward()
        nn.utils.clip_grad_norm_(reference.model.parameters(), 0.5)
        optimizer.step()
    for a, b in zip(weights(objective), weights(reference), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_parameters_without_a_gradient_stay(run: Callable[..., Any]) -> None:
    objective, fresh = Regression(), Regression()
    run(objective)
    assert torch.equal(objective.unused.weight, fresh.unused.weight)


def test_the_average_lags_behind_the_weights(run: Callable[..., Any]) -> None:
    plain, averaged = Regression(), Regression()
    run(plain, "plain", schedule="constant")
    run(averaged, "averaged", schedule="constant", ema=0.999)
    start = Regression()
    moved = [(a - b).norm() for a, b in zip(weights(plain), weights(start), strict=True)]
    lagging = [(a - b).norm() for a, b in zip(weights(averaged), weights(start), strict=True)]
    assert all(0 < lag < move for lag, move in zip(lagging, moved, strict=True))


def test_every_epoch_sees_every_row_once_in_another_order() -> None:
    rows = stream(5, ROWS, np.arange(3 * ROWS))
    epochs = [rows[start : start + ROWS] for start in range(0, 3 * ROWS, ROWS)]
    assert all(sorted(epoch) == list(range(ROWS)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and stream(6, ROWS, np.arange(ROWS)) != epochs[0]
    assert stream(5, ROWS, np.arange(10, 17)) == rows[10:17]


def test_samples_draw_from_their_position_alone() -> None:
    numbers = [torch.randn(3, generator=source) for source in generators(1, np.arange(5))]
    assert torch.equal(torch.randn(3, generator=generators(1, np.array([3]))[0]), numbers[3])
    assert len({tuple(number.tolist()) for number in numbers}) == 5
    assert not torch.equal(torch.randn(3, generator=generators(2, np.array([3]))[0]), numbers[3])


def test_the_callers_random_numbers_are_not_disturbed(run: Callable[..., Any]) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    run(Regression(dropout=0.5))
    assert torch.equal(torch.rand(1), wanted)


def test_a_loss_that_is_not_finite_stops_the_run(run: Callable[..., Any], tmp_path: Path) -> None:
    objective = Regression()
    objective.x[:] = math.inf
    before = weights(objective)
    with pytest.raises(ConceptlibError, match=r"loss is (nan|inf) at step 0") as caught:
        run(objective)
    assert "learning rate" in caught.value.hint
    assert all(torch.equal(a, b) for a, b in zip(before, weights(objective), strict=True))


def test_a_state_of_another_run_is_refused(run: Callable[..., Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Regression(fail_at=4))
    with pytest.raises(ConceptlibError, match="another run"):
        run(Regression(), seed=1)


def test_a_damaged_state_says_which_file(run: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Regression(fail_at=4))
    path = tmp_path / "one" / STATE
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ConceptlibError, match="damaged") as caught:
        run(Regression())
    assert caught.value.where == str(path)


def test_settings_that_do_not_fit_are_refused(run: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be cut into 3"):
        TrainingParams(batch_size=4, gradient_accumulation=3)
    accelerator = make_accelerator(choose("cpu"))
    with pytest.raises(ConceptlibError, match="nothing to train on"):
        train(
            Regression(),
            TrainingParams(),
            rows=0,
            seed=0,
            workdir=tmp_path,
            log=tmp_path / "l",
            accelerator=accelerator,
        )


@pytest.mark.parametrize("index", [0, 1])
def test_a_single_process_trains_on_the_card_that_was_named(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    device = torch.device("cuda", index)
    assert make_accelerator(Placement(device, torch.float32, True)).device == device and chosen == [device]


def test_runs_of_unlike_dtype_may_follow_each_other_in_one_process() -> None:
    kinds = [
        make_accelerator(Placement(torch.device("cpu"), dtype, False)) for dtype in (torch.float32, torch.bfloat16)
    ]
    assert [one.mixed_precision for one in kinds] == ["no", "bf16"] and kinds[0].device.type == "cpu"


class Halves(Regression):
    """The same regression, whose batches can be read ahead."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.threads: set[str] = set()

    def loss(self, rows: Sequence[int], sources: Sequence[torch.Generator]) -> torch.Tensor:
        return self.loss_of(self.batch(rows, sources))

    def batch(self, rows: Sequence[int], sources: Sequence[torch.Generator]) -> dict[str, Any]:
        self.threads.add(threading.current_thread().name)
        noise = torch.stack([torch.randn(2, 4, 4, generator=source) for source in sources])
        return {"x": self.x[list(rows)] + noise, "rows": rows}

    def loss_of(self, batch: dict[str, Any]) -> torch.Tensor:
        self.seen += batch["rows"]
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        self.calls += 1
        return (self.model(batch["x"]) - 1).square().mean()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop believes that the CPU is a device that works on its own, and reads four losses at once."""
    monkeypatch.setattr(loop, "on_its_own", lambda device: True)
    monkeypatch.setattr(loop, "LOG_EVERY", 4)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("stop", [None, 3, 7])
def test_batches_that_are_read_ahead_are_the_same(
    run: Callable[..., Any], gpu: None, tmp_path: Path, parts: int, stop: int | None
) -> None:
    plain, ahead = Regression(dropout=0.5), Halves(dropout=0.5)
    run(plain, "plain", gradient_accumulation=parts)
    if stop is not None:
        with pytest.raises(KeyboardInterrupt):
            run(Halves(dropout=0.5, fail_at=stop * parts), "ahead", gradient_accumulation=parts)
    run(ahead, "ahead", gradient_accumulation=parts)
    assert equal(plain, ahead) and ahead.calls == (9 - (stop or 0)) * parts
    assert any("ahead" in name for name in ahead.threads)
    told = [(tmp_path / f"{name}.jsonl").read_text().splitlines() for name in ("plain", "ahead")]
    assert [json.loads(line)["loss"] for line in told[0]] == [json.loads(line)["loss"] for line in told[1]]


def test_nothing_is_read_ahead_of_what_is_still_prepared(run: Callable[..., Any], gpu: None) -> None:
    class Prepared(Halves):
        def prepare(self, step: int) -> None:
            self.x[:] = step

    class Plain(Prepared):
        def loss(self, rows: Sequence[int], sources: Sequence[torch.Generator]) -> torch.Tensor:
            return Regression.loss(self, rows, sources)

    one, two = Prepared(), Plain()
    run(one, "one", gradient_accumulation=2)
    run(two, "two", gradient_accumulation=2)
    assert equal(one, two) and one.threads and not two.threads, "a loss that a subclass changed is the one that counts"


def test_losses_are_read_a_few_at_a_time_and_logged_like_any(
    run: Callable[..., Any], gpu: None, tmp_path: Path
) -> None:
    lines: list[int] = []

    class Counting(Regression):
        def loss(self, rows: Sequence[int], sources: Sequence[torch.Generator]) -> torch.Tensor:
            lines.append(len((tmp_path / "one.jsonl").read_text().splitlines()))
            return super().loss(rows, sources)

    run(Counting(), checkpoint_every=6)
    assert lines == [0, 0, 0, 0, 4, 4, 6, 6, 6], "every four steps, and before a state is saved"
    assert [json.loads(line)["step"] for line in (tmp_path / "one.jsonl").read_text().splitlines()] == list(range(9))


def test_a_loss_that_is_not_finite_is_told_though_nobody_waited_for_it(
    run: Callable[..., Any], gpu: None, tmp_path: Path
) -> None:
    class Failing(Regression):
        def loss(self, rows: Sequence[int], sources: Sequence[torch.Generator]) -> torch.Tensor:
            return super().loss(rows, sources) * (math.nan if self.calls == 6 else 1.0)

    one = Failing()
    with pytest.raises(ConceptlibError, match="loss is nan at step 5"):
        run(one, checkpoint_every=100)
    told = (tmp_path / "one.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in told] == [0, 1, 2, 3, 4] and not (tmp_path / "one" / STATE).exists()
    assert all(weight.isfinite().all() for weight in weights(one))


class Half(Regression):
    """In float16 a loss of this size has gradients that vanish unless it is scaled."""

    size = 1e-7

    def loss(self, rows: Sequence[int], sources: Sequence[torch.Generator]) -> torch.Tensor:
        noise = torch.stack([torch.randn(2, 4, 4, generator=source) for source in sources])
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        return (self.model(self.x[list(rows)] + noise).float() - 1).square().mean() * self.size


def test_float16_trains_by_scaled_losses_and_resumes_in_the_same_bits(tmp_path: Path) -> None:
    def half(objective: Regression, name: str, scale: float, dtype: str = "float16") -> Any:
        accelerator = make_accelerator(choose("cpu", dtype))
        if dtype == "float16":
            accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=3)
        params = TrainingParams(steps=9, batch_size=4, checkpoint_every=3, grad_clip=0.0, weight_decay=0.0)
        paths = {"workdir": tmp_path / name, "log": tmp_path / f"{name}.jsonl"}
        return train(objective, params, rows=ROWS, seed=0, accelerator=accelerator, **paths)

    whole, exact, tiny = Half(), Half(), Half()
    assert half(whole, "whole", 2.0**16).as_dict().get("skipped_steps") is None
    half(exact, "exact", 1.0, "float32")
    half(tiny, "tiny", 1.0)
    gaps = [
        max(float((a - b).abs().max()) for a, b in zip(weights(one), weights(exact), strict=True))
        for one in (whole, tiny)
    ]
    assert gaps[0] < 0.02 < gaps[1], "unscaled, the gradients are lost"
    with pytest.raises(KeyboardInterrupt):
        half(Half(fail_at=6), "cut", 2.0**16)
    resumed = Half()
    half(resumed, "cut", 2.0**16)
    assert equal(whole, resumed) and resumed.calls == 4


def test_a_step_whose_scaled_gradients_overflow_is_skipped_and_counted(tmp_path: Path) -> None:
    objective = Half()
    objective.size = 1.0
    accelerator = make_accelerator(choose("cpu", "float16"))
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    params = TrainingParams(steps=20, batch_size=4)
    report = train(
        objective, params, rows=ROWS, seed=0, workdir=tmp_path / "w", log=tmp_path / "l", accelerator=accelerator
    )
    assert 0 < report.skipped < 20 and report.as_dict()["skipped_steps"] == report.skipped
    assert all(weight.isfinite().all() for weight in weights(objective)) and not equal(objective, Half())
