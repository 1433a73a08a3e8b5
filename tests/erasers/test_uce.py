"""UCE and RECE as recipes: against a direct solve from the prompts up, as tensors and as a LoRA for plain diffusers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from conceptlib.erasers.checkpoint import Checkpoint, load
from conceptlib.erasers.closed_form import uce
from conceptlib.erasers.erase import erase
from conceptlib.erasers.methods._closed_form import finish
from conceptlib.errors import ConceptlibError
from conceptlib.models.devices import narrow
from conceptlib.models.encoding import encode_ids, token_count, token_ids
from conceptlib.models.family import of
from conceptlib.models.parts import select
from conceptlib.specs import SpecError, load_spec
from conceptlib.store import Artifact

TARGETS = ("ring", "red heart")


def recipe(folder: Path, method: str, *, targets: tuple[str, ...] = TARGETS, **fields: Any) -> Path:
    spec = {"kind": "recipe", "name": f"{method}/test", "method": method, "targets": list(targets), **fields}
    path = folder / f"{method}.yaml"
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path


def make(folder: Path, base: Path, method: str, *overrides: str, **fields: Any) -> Artifact:
    return erase(recipe(folder, method, **fields), base=base, overrides=overrides, device="cpu")


def states(pipe: Any, prompt: str) -> torch.Tensor:
    with torch.no_grad():
        return encode_ids(pipe.text_encoder, pipe.tokenizer, token_ids(pipe.tokenizer, [prompt]))[0].double()


def last(pipe: Any, phrase: str) -> torch.Tensor:
    return states(pipe, phrase)[token_count(pipe.tokenizer, phrase) or 1]


def solve(w: torch.Tensor, pairs: list[Any], kept: list[Any], lamb: float, e: float = 1.0, p: float = 1.0) -> Any:
    """The paper's two sums for one matrix, and the inverse."""
    left, right = lamb * w, lamb * torch.eye(w.shape[1], dtype=torch.float64)
    for source, target in pairs:
        left, right = left + e * torch.outer(w @ target, source), right + e * torch.outer(source, source)
    for k in kept:
        left, right = left + p * torch.outer(w @ k, k), right + p * torch.outer(k, k)
    return left @ torch.linalg.inv(right)


def weights(pipe: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().double() for name, value in select(pipe.unet, "attn2-kv").items()}


def merged(pipe: Any) -> dict[str, torch.Tensor]:
    """Keys and values of a pipeline with an adapter on it."""
    return {
        f"{name}.weight": (module.base_layer.weight + module.get_delta_weight(module.active_adapters[0]))
        .detach()
        .double()
        for name, module in pipe.unet.named_modules()
        if name.endswith(("attn2.to_k", "attn2.to_v"))
    }


def close(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys() and len(found) > 4
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("adapter", ["tensors", "lora"])
def test_uce_is_the_papers_solution_for_every_layer(adapter: str, tmp_path: Path, base: Path) -> None:
    settings = {"redirect": {"red heart": "star"}, "preserve": ["moon"], "lamb": 0.7, "erase_scale": 2.0}
    artifact = make(
        tmp_path,
        base,
        "uce",
        f"adapter={adapter}",
        params={**settings, "preserve_scale": 0.5},
        neighbours=["a blue sky"],
    )
    plain = StableDiffusionPipeline.from_pretrained(base)
    pairs = [(last(plain, "ring"), last(plain, "")), (last(plain, "red heart"), last(plain, "star"))]
    kept = [last(plain, "moon"), last(plain, "a blue sky")]
    before = weights(plain)
    wanted = {name: solve(w, pairs, kept, 0.7, 2.0, 0.5) for name, w in before.items()}
    close(weights(load(artifact, device="cpu")), wanted)
    assert max(float((wanted[name] - before[name]).abs().max()) for name in before) > 0.01
    assert artifact.info["rank"] == len(TARGETS) and artifact.info["adapter"] == adapter
    (neighbour,) = artifact.info["neighbours"]
    assert neighbour["phrase"] == "a blue sky" and neighbour["source"] == "given" and 0 < neighbour["distance"] < 2


def test_the_result_holds_the_bases_values_beside_the_edited_ones(base: Path) -> None:
    pipe, plain = (StableDiffusionPipeline.from_pretrained(base) for _ in range(2))
    parameters = select(pipe.unet, "attn2-kv")
    edit = uce(last(plain, "ring")[None], last(plain, "star")[None])
    result = finish(of(pipe), edit, "lora", "", {})
    for name, before in select(plain.unet, "attn2-kv").items():
        assert torch.equal(result.changed[f"unet.{name}"], before)
        up, down = result.factors[f"unet.{name.removesuffix('.weight')}"]
        torch.testing.assert_close(parameters[name], before + up @ down, rtol=2e-5, atol=2e-6)
        assert parameters[name] is pipe.unet.get_parameter(name) and not torch.equal(parameters[name], before)


@pytest.mark.parametrize("method", ["uce", "rece"])
def test_plain_diffusers_loads_the_lora_and_draws_what_the_tensors_draw(
    method: str, tmp_path: Path, base: Path
) -> None:
    tensors, lora = (make(tmp_path, base, method, f"adapter={adapter}") for adapter in ("tensors", "lora"))
    ours, theirs = load(tensors, device="cpu"), StableDiffusionPipeline.from_pretrained(base)
    theirs.load_lora_weights(lora.path)
    theirs.set_progress_bar_config(disable=True)

    def drawn(pipe: Any) -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        options = {"num_inference_steps": 3, "guidance_scale": 5.0, "output_type": "np"}
        return np.asarray(pipe("a ring", generator=generator, **options).images[0])

    close(merged(theirs), weights(ours))
    np.testing.assert_allclose(drawn(theirs), drawn(ours), atol=1e-3)
    theirs.unload_lora_weights()
    assert np.abs(drawn(theirs) - drawn(ours)).max() > 3e-3


def test_rece_is_the_papers_rounds(tmp_path: Path, base: Path) -> None:
    settings = {"rounds": 2, "regularisation": 0.2, "lamb": 0.7, "preserve": ["moon"], "anchor": "star"}
    artifact = make(tmp_path, base, "rece", "adapter=tensors", targets=("ring",), params=settings)
    plain = StableDiffusionPipeline.from_pretrained(base)
    old, kept = weights(plain), [last(plain, "moon")]
    new = {name: solve(w, [(last(plain, "ring"), last(plain, "star"))], kept, 0.7) for name, w in old.items()}
    concept, target = states(plain, "ring"), states(plain, "star")
    for _ in range(2):
        left = 0.2 * torch.eye(concept.shape[1], dtype=torch.float64) + sum(w.T @ w for w in new.values())
        right = sum(new[name].T @ old[name] for name in old)
        derived = (torch.linalg.inv(left) @ right @ concept.T).T
        new = {name: solve(w, list(zip(derived, target, strict=True)), kept, 0.7) for name, w in new.items()}
    close(weights(load(artifact, device="cpu")), new)
    assert len(artifact.info["derived_norms"]) == 2


def test_tail_reaches_every_position_behind_the_phrase(tmp_path: Path, base: Path) -> None:
    artifact = make(tmp_path, base, "uce", "positions=tail", "adapter=tensors", "anchor=star", targets=("ring",))
    plain = StableDiffusionPipeline.from_pretrained(base)
    pairs = list(zip(states(plain, "ring")[4:], states(plain, "star")[4:], strict=True))
    close(weights(load(artifact, device="cpu")), {n: solve(w, pairs, [], 0.5) for n, w in weights(plain).items()})


def test_templates_say_in_which_prompts(tmp_path: Path, base: Path) -> None:
    many = make(tmp_path, base, "uce", 'templates=["{}", "a {} on it"]', targets=("ring",))
    assert many.info["rank"] == 2
    with pytest.raises(SpecError, match="exactly once"):
        load_spec("recipe", recipe(tmp_path, "uce"), ['templates=["no place"]'])


def test_what_is_erased_is_not_preserved_at_the_same_time(tmp_path: Path, base: Path) -> None:
    artifact = make(tmp_path, base, "uce", 'preserve=["ring", "moon"]', targets=("ring",))
    assert artifact.info["preserved"] == 1


def test_a_hundred_concepts_at_once(tmp_path: Path, base: Path) -> None:
    targets = tuple(f"thing {index}" for index in range(100))
    artifact = make(tmp_path, base, "uce", targets=targets)
    assert len(Checkpoint.read(artifact.path).concepts) == 100
    assert artifact.info["edited"] == 100 and artifact.info["rank"] <= 32  # no more than the embeddings' width


def test_a_phrase_that_would_be_cut_is_refused(tmp_path: Path, base: Path) -> None:
    with pytest.raises(ConceptlibError, match="tokens"):
        make(tmp_path, base, "uce", targets=("x" * 90,))


def test_negative_prompt_is_the_phrases(tmp_path: Path, base: Path) -> None:
    artifact = make(tmp_path, base, "negative-prompt")
    assert load(artifact, device="cpu").negative_prompt_default == "ring, red heart"
    assert artifact.info["negative_prompt"] == "ring, red heart" and artifact.info["adapter"] == "config"
    assert sum(file.size for file in artifact.files) < 10_000


def test_sld_opens_with_its_rule(tmp_path: Path, base: Path) -> None:
    artifact = make(tmp_path, base, "sld", "warmup_steps=0", "scale=5")
    pipe = load(artifact, device="cpu")
    assert pipe.guidance_rule is not None and pipe.guidance_rule.prompts == ("ring, red heart",)
    assert pipe.guidance_rule.config.scale == 5 and pipe.guidance_rule.config.warmup_steps == 0


PRESETS = {"weak": (15, 200, 0, 0, 0), "medium": (10, 1000, 0.01, 0.3, 0.4), "strong": (7, 2000, 0.025, 0.5, 0.7)}
PRESETS["max"] = (0, 5000, 1.0, 0.5, 0.7)


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_presets_of_sld(name: str) -> None:
    spec = load_spec("recipe", f"sld/{name}")
    p = spec.params
    assert (p.warmup_steps, p.scale, p.threshold, p.momentum_scale, p.momentum_beta) == PRESETS[name]
    assert len(spec.targets) == 20 and spec.targets[0] == "hate" and spec.targets[-1] == "cruelty"


@pytest.mark.parametrize("adapter", ["lora", "tensors"])
@pytest.mark.parametrize("method", ["uce", "rece"])
def test_a_base_in_half_precision_is_edited_without_rounding(
    method: str, adapter: str, tmp_path: Path, base: Path
) -> None:
    """What is not edited stays as small as its file, and the result is that of the same values in float32."""
    narrow_base, wide_base = tmp_path / "half", tmp_path / "whole"
    pipe = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    for module in (pipe.unet, pipe.vae):
        narrow(module, torch.float16, ())
    pipe.save_pretrained(narrow_base)
    for module in (pipe.unet, pipe.vae):
        narrow(module, torch.float32, ())
    pipe.save_pretrained(wide_base)
    one, two = (make(tmp_path, path, method, f"adapter={adapter}") for path in (narrow_base, wide_base))
    files = {path.name for path in one.path.glob("*.safetensors")}
    assert files
    for name in files:
        ours, theirs = (load_file(artifact.path / name) for artifact in (one, two))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("method", ["uce", "rece"])
def test_an_empty_anchor_is_the_begin_mark_in_the_release(method: str, tmp_path: Path, base: Path) -> None:
    plain = StableDiffusionPipeline.from_pretrained(base)
    found = {
        convention: weights(
            load(make(tmp_path, base, method, "adapter=tensors", f"convention={convention}"), device="cpu")
        )
        for convention in ("paper", "release")
    }
    assert any(not torch.equal(value, found["release"][name]) for name, value in found["paper"].items())
    if method == "uce":
        for convention, position in (("paper", 1), ("release", 0)):
            pairs = [(last(plain, target), states(plain, "")[position]) for target in TARGETS]
            close(found[convention], {name: solve(w, pairs, [], 0.5) for name, w in weights(plain).items()})


@pytest.mark.parametrize("method", ["uce", "rece"])
@pytest.mark.parametrize(
    "overrides",
    [
        ("anchor=ring",),
        ("anchor= Ring ",),
        ("anchor=red heart",),
        ("redirect={ring: ring}",),
        ("redirect={moon: MOON}",),
    ],
)
def test_what_would_mean_the_same_is_refused(
    method: str, overrides: tuple[str, ...], tmp_path: Path, base: Path, home: Path
) -> None:
    with pytest.raises(ConceptlibError, match="nothing would change"):
        make(tmp_path, base, method, *overrides)
    assert not list((home / "artifacts").glob("checkpoint/*/*"))


def test_another_name_of_the_concept_means_the_same(base: Path) -> None:
    with pytest.raises(ConceptlibError, match="'QR code' is to be read as 'Matrix barcode'"):
        erase("uce/object", base=base, overrides=["concepts=[qr-code]", "anchor=Matrix barcode"], device="cpu")


def test_what_is_erased_is_no_neighbour_that_survives(tmp_path: Path, base: Path) -> None:
    for method in ("uce", "esd", "negative-prompt"):
        with pytest.raises(ConceptlibError, match="'Ring' is erased, and is a neighbour"):
            make(tmp_path, base, method, "neighbours=[moon, Ring]")
