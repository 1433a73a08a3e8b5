from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from conceptlib.models.family import of
from conceptlib.models.parts import Part, detached_first_token, matrices, select
from tests.support.models import build_pipeline


@pytest.fixture(scope="module")
def pipe() -> Any:
    return build_pipeline()


def test_the_parts_are_those_of_the_papers(pipe: Any) -> None:
    names = {part: set(select(pipe.unet, part)) for part in get_args(Part)}
    everything = names["all"]
    assert everything == {name for name, _ in pipe.unet.named_parameters()}
    assert names["attn2"] and all(".attn2." in name for name in names["attn2"])
    assert names["attn1"] and all(".attn1." in name for name in names["attn1"])
    assert names["attention"] == names["attn1"] | names["attn2"]
    assert names["attn2"] | names["no-attn2"] == everything and not names["attn2"] & names["no-attn2"]
    left_out = names["no-attn2"] - names["no-attn2-inner"]
    assert {name.split(".")[0] for name in left_out} == {"conv_norm_out", "conv_out", "time_embedding"}
    assert {name.rsplit(".", 2)[1] for name in names["attn2-kv"]} == {"to_k", "to_v"}
    assert len(names["attn2-kv"]) == 2 * sum(name.endswith("attn2.to_q.weight") for name in everything)


def test_matrices_are_what_low_rank_adapters_can_sit_on(pipe: Any) -> None:
    assert {f"{name}.weight" for name in matrices(pipe.unet, "attn2-kv")} == set(select(pipe.unet, "attn2-kv"))
    own = of(pipe).parameters()
    assert all(own[f"unet.{name}.weight"].dim() in {2, 4} for name in matrices(pipe.unet, "all"))


def test_the_begin_mark_teaches_nothing(pipe: Any) -> None:
    states = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    layer = pipe.unet.get_submodule(matrices(pipe.unet, "attn2-kv")[0])
    with detached_first_token(pipe.unet):
        output = layer(states)
        output.sum().backward()
    gradient, layer.weight.grad = layer.weight.grad, None
    torch.testing.assert_close(gradient, states[:, 1:].sum(dim=(0, 1)).expand_as(gradient))
    assert torch.equal(output, layer(states))
    layer(states).sum().backward()
    torch.testing.assert_close(layer.weight.grad, states.sum(dim=(0, 1)).expand_as(gradient))
    layer.weight.grad = None


def test_normalisation_layers_can_be_left_out(pipe: Any) -> None:
    kinds = {type(pipe.unet.get_submodule(name.rpartition(".")[0])) for name in select(pipe.unet, "all", norms=False)}
    assert kinds and not kinds & {torch.nn.GroupNorm, torch.nn.LayerNorm}
    left = set(select(pipe.unet, "all")) - set(select(pipe.unet, "all", norms=False))
    assert left and all("norm" in name for name in left)
