from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conceptlib.erasers.base import WeightParams
from conceptlib.erasers.cache import RowCache
from conceptlib.erasers.files import save_tensors
from conceptlib.erasers.student import Student
from conceptlib.errors import ConceptlibError
from tests.support.jobs import build_job

LATENTS, TIMES = torch.ones(2, 8, 8, 8), torch.tensor([10, 700])
STATES = torch.ones(2, 5, 32)


@pytest.mark.parametrize("adapter", ["tensors", "lora", "full"])
def test_teacher_and_student_share_one_model(tmp_path: Path, adapter: str) -> None:
    job = build_job(tmp_path, WeightParams(adapter=adapter, lora_rank=2), dtype=torch.float32)
    with torch.no_grad():
        base = job.pipe.unet(LATENTS, TIMES, STATES)[0]
        student = Student(job, "attn2")
        for parameter in student.named.values():
            parameter.add_(0.3)
        moved = student.epsilon(LATENTS, TIMES, STATES)
        with student.teacher():
            assert torch.equal(student.epsilon(LATENTS, TIMES, STATES), base)
        assert torch.equal(student.epsilon(LATENTS, TIMES, STATES), moved) and not torch.allclose(moved, base)
        with pytest.raises(KeyboardInterrupt), student.teacher():
            raise KeyboardInterrupt
        assert torch.equal(student.epsilon(LATENTS, TIMES, STATES), moved)
    trained = [name for name, parameter in job.pipe.unet.named_parameters() if parameter.requires_grad]
    assert trained and all(("lora" if adapter == "lora" else "attn2") in name for name in trained)
    student.epsilon(LATENTS, TIMES, STATES).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in job.pipe.unet.parameters())
    changed = student.release()
    assert set(changed) == (set() if adapter == "lora" else {f"unet.{name}" for name in student.named})
    assert not any(parameter.requires_grad for parameter in job.pipe.unet.parameters())


def test_what_is_neither_trained_nor_saved_runs_in_the_placements_dtype(tmp_path: Path) -> None:
    for adapter, wanted in (("tensors", torch.bfloat16), ("full", torch.float32)):
        job = build_job(tmp_path, WeightParams(adapter=adapter), dtype=torch.float32)
        object.__setattr__(job.placement, "dtype", torch.bfloat16)
        student = Student(job, "attn2-kv")
        assert all(parameter.dtype == torch.float32 for parameter in student.named.values())
        assert job.pipe.unet.conv_in.weight.dtype == wanted
        with torch.autocast("cpu", torch.bfloat16):
            assert student.epsilon(LATENTS, TIMES, STATES).dtype == torch.float32


def test_the_outputs_space_weighs_noisy_timesteps(tmp_path: Path) -> None:
    for kind, ratio in (("v_prediction", 1.0), ("epsilon", 0.0)):
        losses = []
        for space in ("epsilon", "output"):
            job = build_job(tmp_path, WeightParams(loss_space=space), prediction_type=kind)
            student = Student(job, "attn2")
            losses.append(student.distance(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), TIMES[1:]))
        bar = job.pipe.scheduler.alphas_cumprod[700]
        torch.testing.assert_close(losses[1] / losses[0], 1 / bar**ratio)


def test_compiling_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the eager backend, which traces and guards but needs no compiler on the machine."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: real(module, backend="eager"))
    results = []
    for compiled in (False, True):
        job = build_job(tmp_path, WeightParams(compile=compiled), dtype=torch.float32)
        student = Student(job, "attn2-kv")
        loss = student.epsilon(LATENTS, TIMES, STATES).square().mean()
        loss.backward()
        results.append([loss.detach(), *(parameter.grad for parameter in student.named.values())])
    torch.testing.assert_close(results[0], results[1])


def test_rows_are_made_once_and_read_back(tmp_path: Path) -> None:
    accelerator = build_job(tmp_path, WeightParams(), dtype=torch.float32).accelerator
    made: list[range] = []

    def make(rows: range) -> dict[str, torch.Tensor]:
        made.append(rows)
        return {"x": torch.arange(rows.start * 6, rows.stop * 6).reshape(-1, 3, 2)}

    told: list[int] = []
    for _ in range(2):
        cache = RowCache(tmp_path / "rows", "x", 5, 2)
        cache.fill(
            make, accelerator=accelerator, bytes_per_row=48, progress=lambda stage, done, total: told.append(done)
        )
        assert cache.read("x", [4, 0, 3]).tolist() == torch.arange(30).reshape(5, 3, 2)[[4, 0, 3]].tolist()
        assert cache.read("x", [4, 0], [2, 1]).tolist() == [[28, 29], [2, 3]]
    assert made == [range(0, 2), range(2, 4), range(4, 5)] and told == [2, 4, 5]
    cache.path(1).write_bytes(b"damaged")
    with pytest.raises(ConceptlibError, match="cannot be read"):
        RowCache(tmp_path / "rows", "x", 5, 2).read("x", [2])
    cache.remove()
    assert not list((tmp_path / "rows").iterdir())


def test_a_full_disk_is_the_systems_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the text with which safetensors reports one."""
    import safetensors.torch
    from safetensors import SafetensorError

    def full(*args: object, **options: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_tensors(tmp_path / "new" / "x.safetensors", {"x": torch.ones(1)})
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize("adapter", ["tensors", "lora", "full"])
def test_trained_weights_are_those_of_the_file_whatever_the_dtype(tmp_path: Path, adapter: str) -> None:
    """bfloat16 is for what is neither trained nor saved: a weight that went through it would be changed by 1 / 256."""
    states = []
    for dtype in (torch.float32, torch.bfloat16):
        job = build_job(tmp_path, WeightParams(adapter=adapter, lora_rank=2), dtype=torch.float32)
        object.__setattr__(job.placement, "dtype", dtype)
        states.append({name: value.detach().clone() for name, value in Student(job, "attn2").named.items()})
    wanted, found = states
    assert wanted and all(torch.equal(value, found[name]) for name, value in wanted.items())


def test_a_teacher_is_the_base_inside_an_autocast_region_that_has_seen_the_student(tmp_path: Path) -> None:
    job = build_job(tmp_path, WeightParams(adapter="tensors"), dtype=torch.float32)
    student = Student(job, "attn2")
    with torch.no_grad():
        for parameter in student.named.values():
            parameter.mul_(1.5)
        with torch.autocast("cpu", torch.bfloat16), student.teacher():
            wanted = student.epsilon(LATENTS, TIMES, STATES)
        with torch.autocast("cpu", torch.bfloat16):
            first = student.epsilon(LATENTS, TIMES, STATES)
            with student.teacher():
                found = student.epsilon(LATENTS, TIMES, STATES)
            again = student.epsilon(LATENTS, TIMES, STATES)
    assert torch.equal(found, wanted) and torch.equal(first, again) and not torch.equal(first, found)
