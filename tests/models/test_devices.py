from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

from conceptlib.errors import ConceptlibError
from conceptlib.models.devices import choose, cpu_has_bfloat16, narrow


def test_the_cpu_computes_in_float32_and_channels_last() -> None:
    placement = choose("cpu")
    assert (placement.device.type, placement.dtype, placement.channels_last) == ("cpu", torch.float32, True)
    assert placement.dtype_name == "float32"


@pytest.mark.parametrize(
    ("name", "dtype"), [("bf16", torch.bfloat16), ("bfloat16", torch.bfloat16), (torch.float16, torch.float16)]
)
def test_a_dtype_can_be_named(name: object, dtype: torch.dtype) -> None:
    assert choose("cpu", name).dtype == dtype  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "xpu"])
def test_a_device_that_is_not_here_is_named(device: str) -> None:
    with pytest.raises(ConceptlibError, match=device):
        choose(device)


def test_an_unknown_dtype_lists_the_known_ones() -> None:
    with pytest.raises(ConceptlibError, match="float64") as caught:
        choose("cpu", "float64")
    assert "bfloat16" in caught.value.hint


def test_without_a_wish_the_device_is_one_that_works() -> None:
    placement = choose()
    assert torch.ones(2, device=placement.device, dtype=placement.dtype).sum() == 2


@pytest.fixture
def tf32() -> Iterator[None]:
    """torch's switches as they were afterwards; off before."""
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = False
    yield
    for switch, was in zip(switches, before, strict=True):
        switch.allow_tf32 = was


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_cards_that_only_emulate_bfloat16_get_float16(
    monkeypatch: pytest.MonkeyPatch, tf32: None, has: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has or including_emulation)
    placement = choose("cuda:1")
    assert (placement.device, placement.dtype) == (torch.device("cuda:1"), dtype)
    assert torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(("flags", "told"), [({"avx2": True}, True), ({"avx512_bf16": True}, False)])
def test_a_processor_that_computes_bfloat16_slowly_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, flags: dict[str, bool], told: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    cpu_has_bfloat16.cache_clear()
    try:
        assert choose("cpu", "bfloat16").dtype == torch.bfloat16
        assert ("slower than float32" in caplog.text) == told
        caplog.clear()
        assert choose("cpu").dtype == torch.float32 and not caplog.text, "float32 on every processor: ids stay"
    finally:
        cpu_has_bfloat16.cache_clear()


def test_narrowing_keeps_what_it_is_told_to() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    weight = module[0].weight
    before = weight.detach().clone()
    narrow(module, torch.bfloat16, [weight])
    assert torch.equal(weight, before) and weight.dtype == torch.float32
    assert module[0].bias.dtype == module[1].running_mean.dtype == torch.bfloat16
    assert module[1].num_batches_tracked.dtype == torch.int64
