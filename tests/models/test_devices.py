from __future__ import annotations

import pytest
import torch

from conceptlib.errors import ConceptlibError
from conceptlib.models.devices import choose


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
