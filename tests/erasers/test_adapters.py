from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from conceptlib.erasers.checkpoint import Checkpoint, load
from conceptlib.erasers.erase import erase
from conceptlib.erasers.lowrank import factor
from conceptlib.errors import ConceptlibError
from conceptlib.models.sampling import sample
from conceptlib.store import Artifact
from tests.support.erasure import weights_alone
from tests.support.methods import install_method
from tests.support.models import save_pipeline

METHOD = '''
"""Moves the keys of cross-attention along the concept's own direction, by a change of low rank."""
from conceptlib.erasers.base import Result
from conceptlib.specs import Params as Base

class Params(Base):
    adapter: str = "tensors"
    rank: int = 1

def needs(params):
    return frozenset()

def run(job):
    import torch
    from conceptlib.models.parts import select
    if job.params.adapter == "config":
        return Result(adapter="config", config={"strength": 2.0}, negative_prompt="a red ring")
    generator = torch.Generator().manual_seed(job.seed)
    changed = {}
    for name, weight in select(job.pipe.unet, "attn2-kv").items():
        changed[f"unet.{name}"] = weight.detach().clone()
        up, down = (torch.randn(size, job.params.rank, generator=generator) for size in weight.shape)
        with torch.no_grad():
            weight += 0.2 * up @ down.T
    return Result(adapter=job.params.adapter, changed=changed)

class _Rule:
    prompts = ("a red ring",)
    def __init__(self, strength):
        self.strength = strength
    def begin(self):
        def combine(negative, positive, extra, step, scale):
            return negative + scale * (positive - negative - self.strength * (extra[0] - negative))
        return combine

def apply(pipe, config):
    pipe.guidance_rule = _Rule(config["strength"])
'''


@pytest.fixture
def make(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Artifact]:
    install_method(monkeypatch, tmp_path / "site", "moved-keys", METHOD)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("kind: recipe\nname: moved-keys/test\nmethod: moved-keys\ntargets: [a red ring]\n")

    def call(*overrides: str) -> Artifact:
        return erase(recipe, base=base, overrides=overrides, device="cpu")

    return call


def pictures(pipe: Any) -> np.ndarray:
    return sample(pipe, ["a red ring", "a moon"], [0, 1], num_steps=3, guidance_scale=3).astype(int)


def test_every_form_of_the_same_change_draws_the_same(make: Callable[..., Artifact], base: Path) -> None:
    tensors, lora, full = (make(f"adapter={name}") for name in ("tensors", "lora", "full"))
    drawn = pictures(load(tensors, device="cpu"))
    assert np.abs(drawn - pictures(load(base, device="cpu"))).max() > 20
    assert np.array_equal(pictures(load(full, device="cpu")), drawn)
    assert np.abs(pictures(load(lora, device="cpu")) - drawn).max() <= 1
    sizes = {artifact.lock["recipe"]["params"]["adapter"]: artifact.size for artifact in (tensors, lora, full)}
    assert sizes["lora"] < sizes["tensors"] < sizes["full"]


def test_plain_diffusers_reads_changed_tensors_and_factored_ones(make: Callable[..., Artifact], base: Path) -> None:
    wanted = pictures(load(make(), device="cpu"))
    pipe = StableDiffusionPipeline.from_pretrained(base)
    state = load_file(make().path / "unet.changed.safetensors")
    assert all(name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) for name in state)
    assert not pipe.unet.load_state_dict(state, strict=False).unexpected_keys
    assert np.array_equal(pictures(pipe), wanted)
    pipe = StableDiffusionPipeline.from_pretrained(base)
    pipe.load_lora_weights(make("adapter=lora").path)
    assert np.abs(pictures(pipe) - wanted).max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_lora_becomes_part_of_the_weights_and_is_rounded_once(
    make: Callable[..., Artifact], base: Path, dtype: torch.dtype
) -> None:
    artifact = make("adapter=lora")
    pipe, plain = load(artifact, device="cpu", dtype=dtype), StableDiffusionPipeline.from_pretrained(base)
    state = load_file(artifact.path / "pytorch_lora_weights.safetensors")
    wanted = dict(plain.unet.named_parameters())
    for name in [name for name in state if name.endswith("lora_A.weight")]:
        layer = name.removeprefix("unet.").removesuffix(".lora_A.weight")
        delta = state[name.replace("lora_A", "lora_B")] @ state[name]
        assert delta.abs().max() > 0.01
        wanted[f"{layer}.weight"] = wanted[f"{layer}.weight"].detach() + delta
    found = dict(pipe.unet.named_parameters())
    assert found.keys() == wanted.keys(), "no layer beside the base's own"
    for name, value in found.items():
        assert value.dtype == dtype
        if dtype == torch.bfloat16:
            assert (value != wanted[name].to(dtype)).float().mean() < 0.01, (
                name
            )  # sums of two roundings differ in 1 of 4
        else:
            torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-6)
    assert all(parameter.dtype == dtype for parameter in pipe.text_encoder.parameters())


def test_a_file_that_is_passed_on_alone_says_what_it_is(make: Callable[..., Artifact]) -> None:
    artifact = make()
    with safe_open(artifact.path / "unet.changed.safetensors", "pt") as file:
        told = json.loads(file.metadata()["conceptlib"])
    assert told["method"] == "moved-keys" and told["recipe"] == "moved-keys/test" and told["concepts"] == ["a-red-ring"]
    assert told["base"] == {"ref": "model", "sha256": artifact.lock["base"]["sha256"]}


def test_a_configuration_is_applied_by_the_methods_own_module(make: Callable[..., Artifact], base: Path) -> None:
    artifact = make("adapter=config")
    assert {file.path for file in artifact.files} == {"checkpoint.json", "erasure.json"}
    pipe = load(artifact, device="cpu")
    assert pipe.negative_prompt_default == "a red ring" and pipe.guidance_rule is not None
    assert np.abs(pictures(pipe) - pictures(load(base, device="cpu"))).max() > 5
    folder = weights_alone(artifact, artifact.path.parent / "copy")
    for damage in ("[", None):
        (folder / "erasure.json").unlink() if damage is None else (folder / "erasure.json").write_text(damage)
        with pytest.raises(ConceptlibError, match="configuration cannot be read"):
            load(folder, device="cpu")
    record = json.loads((folder / "checkpoint.json").read_text())
    (folder / "erasure.json").write_text("{}")
    for method in ("geom-erasing", "no-such-method"):
        (folder / "checkpoint.json").write_text(json.dumps({**record, "method": method}))
        with pytest.raises(ConceptlibError, match="cannot be applied at inference"):
            load(folder, device="cpu")


def test_phrases_need_no_concept_file(make: Callable[..., Artifact]) -> None:
    artifact = make("targets=[Van Gogh, 梵高]")
    record = Checkpoint.read(artifact.path)
    assert record.phrases == ("Van Gogh", "梵高") and record.concepts[0] == "van-gogh"
    assert artifact.lock["recipe"]["concepts"] == list(record.concepts)
    assert artifact.lock["phrases"]["van-gogh"] == ["Van Gogh"]
    assert Checkpoint.read(make("concepts=[qr-code]", "targets=[]").path).concepts == ("qr-code",)


@pytest.mark.parametrize(
    ("target", "complaint"), [("x " * 80, "it would be cut"), ("'\u200b'", "is empty"), ("'  '", "is empty")]
)
def test_a_concept_that_the_model_would_not_see_is_refused(
    make: Callable[..., Artifact], target: str, complaint: str
) -> None:
    with pytest.raises(ConceptlibError, match=complaint):
        make(f"targets=[{target}]")


def damaged(artifact: Artifact, folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    copy = weights_alone(artifact, folder)
    tensors = load_file(copy / "unet.changed.safetensors")
    change(tensors)
    save_file(tensors, copy / "unet.changed.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda tensors: tensors.pop(min(tensors)), "lack unet"),
        (lambda tensors: tensors.update(conv_in=torch.ones(1)), "hold unet.conv_in"),
        (lambda tensors: tensors.update({min(tensors): torch.ones(3)}), r"of shape \(3,\)"),
    ],
)
def test_changed_tensors_that_do_not_match_are_found(
    make: Callable[..., Artifact], tmp_path: Path, change: Callable[[Any], Any], complaint: str
) -> None:
    with pytest.raises(ConceptlibError, match=complaint):
        load(damaged(make(), tmp_path / "copy", change), device="cpu")


def test_a_file_cut_off_and_a_base_of_another_shape_are_told(make: Callable[..., Artifact], tmp_path: Path) -> None:
    other = save_pipeline(tmp_path / "other", text_width=48)
    for adapter, complaint in (("tensors", "this base has a tensor of shape"), ("lora", "do not fit this base")):
        with pytest.raises(ConceptlibError, match=complaint):
            load(make(f"adapter={adapter}"), device="cpu", base=other)
    for adapter, name in (("tensors", "unet.changed"), ("lora", "pytorch_lora_weights")):
        copy = weights_alone(make(f"adapter={adapter}"), tmp_path / adapter)
        path = copy / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(ConceptlibError, match="cannot be read"):
            load(copy, device="cpu")


def test_names_that_would_leave_the_folder_are_refused(make: Callable[..., Artifact], tmp_path: Path) -> None:
    copy = weights_alone(make(), tmp_path / "copy")
    record = json.loads((copy / "checkpoint.json").read_text())
    (copy / "checkpoint.json").write_text(json.dumps({**record, "tensors": ["../../x.weight"]}))
    with pytest.raises(ConceptlibError, match="names no tensor"):
        load(copy, device="cpu")


def test_a_change_of_full_rank_is_no_lora(make: Callable[..., Artifact]) -> None:
    with pytest.raises(ConceptlibError, match="not of low rank"):
        make("adapter=lora", "rank=12")


@pytest.mark.parametrize(("shape", "rank"), [((12, 20), 3), ((20, 12), 1), ((8, 4, 3, 3), 2), ((5, 6), 0)])
def test_factors_multiply_to_the_change(shape: tuple[int, ...], rank: int) -> None:
    generator = torch.Generator().manual_seed(rank)
    columns = int(np.prod(shape[1:]))
    up, down = torch.randn(shape[0], rank, generator=generator), torch.randn(rank, columns, generator=generator)
    weight = torch.randn(shape, generator=generator)
    changed = (weight.double() + (up.double() @ down.double()).reshape(shape)).float()
    left, right = factor(changed.double() - weight.double(), scale=float(weight.abs().max()))
    assert left.shape == (shape[0], rank) and right.shape == (rank, columns)
    torch.testing.assert_close(left @ right, up @ down, atol=2e-6, rtol=1e-5)
