"""Every method of erasure on SDXL, against the papers' formulas written anew from diffusers' own calls; and what comes
out of it: checkpoints that plain diffusers opens, other forms, imports.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from conceptlib.erasers.checkpoint import Checkpoint, load
from conceptlib.erasers.erase import erase
from conceptlib.erasers.export import export_checkpoint
from conceptlib.erasers.foreign.importer import import_checkpoint
from conceptlib.erasers.loop import generators
from conceptlib.erasers.methods import ablating, esd
from conceptlib.erasers.methods.esd import EsdObjective, esd_target
from conceptlib.models.compvis import unet_names
from conceptlib.models.devices import choose
from conceptlib.models.family import of
from conceptlib.models.pipeline import dressed
from conceptlib.models.sampling import sample
from conceptlib.store import Artifact, Store
from tests.support.erasure import store_annotations, store_dataset
from tests.support.jobs import build_job
from tests.support.sdxl import WIDTHS, build_sdxl, save_sdxl

CONCEPT = "a red ring"
SEEDS = [3, 4]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SDXL whose second text encoder names its end mark as the published one does."""
    return save_sdxl(tmp_path_factory.mktemp("sdxl") / "model", legacy_mark=True)


def recipe(folder: Path, method: str, **fields: Any) -> Path:
    wanted = {} if "concepts" in fields else {"targets": [CONCEPT]}
    spec = {"kind": "recipe", "name": f"{method}/test", "method": method, **wanted, **fields}
    path = folder / f"{method}.yaml"
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path


def pictures(pipe: Any) -> np.ndarray:
    return sample(pipe, [CONCEPT, "a star"], SEEDS, num_steps=2, guidance_scale=4.0).astype(int)


def epsilon(pipe: Any, unet: Any, latents: torch.Tensor, timesteps: torch.Tensor, prompt: str | None) -> torch.Tensor:
    """ε of a UNet by diffusers' own encoding of one prompt (None: zeros) and its own sizes."""
    count, side = len(latents), 4 * latents.shape[-1]
    with torch.no_grad():
        states, _, pooled, _ = pipe.encode_prompt([prompt or ""] * count, do_classifier_free_guidance=False)
    if prompt is None:
        states, pooled = torch.zeros_like(states), torch.zeros_like(pooled)
    sizes = torch.tensor([[side, side, 0, 0, side, side]] * count, dtype=latents.dtype)
    added = {"text_embeds": pooled, "time_ids": sizes}
    output: torch.Tensor = unet(latents, timesteps, encoder_hidden_states=states, added_cond_kwargs=added).sample
    if pipe.scheduler.config.prediction_type == "epsilon":
        return output
    bar = pipe.scheduler.alphas_cumprod.to(latents.dtype)[timesteps.long()].reshape(-1, 1, 1, 1)
    return bar**0.5 * output + (1 - bar) ** 0.5 * latents


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("convention", ["paper", "release"])
def test_esd_is_the_papers_formula(tmp_path: Path, prediction_type: str, convention: str) -> None:
    settings = {"convention": convention, "eta": 1.5, "trajectories": 2, "num_steps": 3, "steps": 1, "batch_size": 4}
    job = build_job(tmp_path, esd.Params(**settings), (CONCEPT,), build=build_sdxl, prediction_type=prediction_type)
    untouched = copy.deepcopy(job.pipe.unet)
    objective = EsdObjective(job)
    points = objective.points.read([0, 2, 4, 5])
    with torch.no_grad():
        null, concept = (
            epsilon(job.pipe, untouched, points.latents, points.timesteps, prompt) for prompt in (None, CONCEPT)
        )
    target = (null if convention == "paper" else concept) - 1.5 * (concept - null)
    ours = esd_target(points.null, points.concept, points.start, 1.5, convention)  # type: ignore[arg-type]
    # Between whole timesteps, where the release's own scheduler stands, the noise schedule is known to float32.
    torch.testing.assert_close(ours, target, rtol=1e-5, atol=1e-5)
    said = epsilon(job.pipe, untouched, points.latents, points.timesteps, CONCEPT)
    found = objective.loss([0, 2, 4, 5], generators(0, np.arange(4)))
    torch.testing.assert_close(found, (said - target).square().mean(), rtol=1e-5, atol=1e-7)


def test_ablating_is_the_papers_formula(tmp_path: Path) -> None:
    params = ablating.Params(anchor=("a ring",), templates=("{}",), images=2, num_steps=2, steps=1, batch_size=2)
    job = build_job(tmp_path, params, (CONCEPT,), build=build_sdxl)
    untouched = copy.deepcopy(job.pipe.unet)
    objective = ablating.AblatingObjective(job)
    latents, _, timesteps = objective._on_device(objective.batch([0, 1], generators(0, np.arange(2))), "")
    with torch.no_grad():
        anchor, concept = (epsilon(job.pipe, untouched, latents, timesteps, text) for text in ("a ring", CONCEPT))
    found = objective.loss([0, 1], generators(0, np.arange(2)))
    torch.testing.assert_close(found, (concept - anchor).square().mean(), rtol=1e-9, atol=1e-12)
    found.backward()
    trained = {name for name, parameter in job.pipe.unet.named_parameters() if parameter.grad is not None}
    assert trained == set(job.model.select("attn2-kv")) and len(trained) > 6


def state(pipe: Any, phrase: str) -> torch.Tensor:
    """The joined states of both encoders at a phrase's last letter (its end mark if it is empty)."""
    with torch.no_grad():
        states, *_ = pipe.encode_prompt([phrase], do_classifier_free_guidance=False)
    last = len(pipe.tokenizer(phrase, add_special_tokens=False).input_ids) or 1
    return states[0, last].double()


@pytest.mark.parametrize("adapter", ["tensors", "lora"])
def test_uce_is_the_papers_solution_on_the_joined_states(tmp_path: Path, base: Path, adapter: str) -> None:
    settings = {"preserve": ["moon"], "redirect": {"red heart": "star"}, "lamb": 0.7, "adapter": adapter}
    artifact = erase(recipe(tmp_path, "uce", params=settings), base=base, device="cpu")
    plain = StableDiffusionXLPipeline.from_pretrained(base, add_watermarker=False)
    opened = load(artifact, device="cpu")
    before, after = (of(one).select("attn2-kv") for one in (plain, opened))
    eye = torch.eye(sum(WIDTHS), dtype=torch.float64)
    kept = state(plain, "moon")
    for name, weight in before.items():
        w = weight.detach().double()
        left, right = 0.7 * w + torch.outer(w @ kept, kept), 0.7 * eye + torch.outer(kept, kept)
        for source, target in ((CONCEPT, ""), ("red heart", "star")):
            c = state(plain, source)
            left, right = left + torch.outer(w @ state(plain, target), c), right + torch.outer(c, c)
        torch.testing.assert_close(after[name].detach().double(), left @ right.inverse(), rtol=2e-5, atol=2e-6)
    assert artifact.info["rank"] == 2 and artifact.info["matrices"] == len(before)


def test_rece_runs_in_rounds(tmp_path: Path, base: Path) -> None:
    artifact = erase(recipe(tmp_path, "rece", params={"rounds": 2}), base=base, device="cpu")
    first, second = artifact.info["derived_norms"]
    assert 0 < second <= first


def test_neighbours_are_found_in_the_joined_space(tmp_path: Path, base: Path) -> None:
    artifact = erase(recipe(tmp_path, "uce", neighbours=["a blue ring", "the moon"]), base=base, device="cpu")
    assert [one["phrase"] for one in artifact.info["neighbours"]] == ["a blue ring", "the moon"]


@pytest.mark.parametrize("convention", ["ours", "pipeline"])
def test_sld_steers_our_sampler_and_the_pipeline_alike(tmp_path: Path, base: Path, convention: str) -> None:
    settings = {"warmup_steps": 0, "scale": 5000.0, "threshold": 1.0}
    artifact = erase(recipe(tmp_path, "sld", params=settings), base=base, device="cpu")
    pipe = load(artifact, device="cpu")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    options = {"num_inference_steps": 2, "guidance_scale": 4.0, "height": 32, "width": 32, "output_type": "np"}
    called = pipe([CONCEPT, "a star"], generator=generators, **options).images
    ours = pictures(pipe)
    assert np.abs(ours - (called * 255).round()).max() <= 1
    pipe.guidance_rule = None
    assert np.abs(pictures(pipe) - ours).max() > 2


def test_the_default_negative_prompt_is_applied_and_can_be_turned_off(tmp_path: Path, base: Path) -> None:
    artifact = erase(recipe(tmp_path, "negative-prompt"), base=base, device="cpu")
    pipe, plain = load(artifact, device="cpu"), dressed(build_sdxl(legacy_mark=True), choose("cpu", "float32"))
    assert pipe.negative_prompt_default == CONCEPT

    def drawn(pipe: Any, prompt: Any, **options: Any) -> Any:
        generator = torch.Generator().manual_seed(0)
        return pipe(
            prompt, generator=generator, num_inference_steps=2, height=32, width=32, output_type="np", **options
        ).images

    for prompt, negative in (("a star", CONCEPT), (["a star", "a moon"], [CONCEPT] * 2)):
        assert np.allclose(drawn(pipe, prompt), drawn(plain, prompt, negative_prompt=negative), atol=1e-5)
    assert np.allclose(drawn(pipe, "a star", negative_prompt=""), drawn(plain, "a star", negative_prompt=""), atol=1e-5)


@pytest.fixture(scope="module")
def geometry(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Geom-Erasing on pictures of 40 x 36 pixels; as a function of the settings that differ."""
    folder = tmp_path_factory.mktemp("geometry")

    def make(**params: Any) -> Artifact:
        store = Store()
        data = store_dataset(store, size=(40, 36), rows=8)
        marks = store_annotations(store, data, size=(40, 36), rows=8)
        settings = {"steps": 2, "batch_size": 4, "grid": [2, 2], "lr_text": 1e-4, **params}
        path = recipe(folder, "geom-erasing", concepts=["qr-code"], params=settings)
        return erase(path, data=data, annotations=marks, base=base, device="cpu", store=store)

    return make


@pytest.mark.parametrize("form", [{"adapter": "full"}, {"adapter": "lora"}, {"mode": "model-removal"}], ids=str)
def test_geom_erasing_teaches_both_encoders_the_new_words(geometry: Any, base: Path, form: dict[str, str]) -> None:
    artifact = geometry(**form)
    record, pipe = Checkpoint.read(artifact.path), load(artifact, device="cpu")
    assert len(record.tokens) == 4 and record.negative_prompt == pipe.negative_prompt_default
    for file, encoder, width in zip(
        ("learned_embeds.safetensors", "learned_embeds_2.safetensors"), of(pipe).encoders, WIDTHS, strict=True
    ):
        learned = load_file(artifact.path / file)
        assert set(learned) == set(record.tokens) and {tuple(row.shape) for row in learned.values()} == {(width,)}
        ids = encoder.tokenizer.convert_tokens_to_ids(list(learned))
        assert torch.equal(encoder.module.get_input_embeddings().weight[ids], torch.stack(list(learned.values())))
    before, after = load(base, device="cpu"), of(pipe).encode([record.negative_prompt])
    assert np.isfinite(pictures(pipe)).all()
    plain = of(before).encode(["a star"])
    assert plain.pooled is not None and after.pooled is not None
    if "mode" in form:  # old words mean what they meant
        torch.testing.assert_close(of(pipe).encode(["a star"]).pooled, plain.pooled)


def test_the_pooled_embedding_is_read_at_the_end_mark_and_not_at_a_new_word(geometry: Any) -> None:
    """transformers takes the highest token for the end mark where a configuration says 2, as published ones do."""
    pipe = load(geometry(mode="model-removal"), device="cpu")
    token = pipe.checkpoint.tokens[0]
    early, late = (of(pipe).encode([text]).pooled for text in (f"{token} a star", f"{token} a moon"))
    assert early is not None and late is not None and not torch.allclose(early, late)


def test_geom_erasing_tells_the_model_the_sizes_of_its_pictures(geometry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from conceptlib.models.families.sdxl import Family

    seen: set[tuple[float, ...]] = set()
    further = Family.further

    def watched(self: Any, conditioning: Any, latents: Any) -> Any:
        found = further(self, conditioning, latents)
        seen.update(map(tuple, found["added_cond_kwargs"]["time_ids"].tolist()))
        return found

    monkeypatch.setattr(Family, "further", watched)
    geometry(steps=1, lr_text=0.0)
    assert seen == {(36.0, 40.0, 0.0, 2.0, 32.0, 32.0)}  # 40 x 36 pixels, 2 cut away on the left


@pytest.mark.parametrize("was", ["tensors", "lora"])
def test_every_form_turns_into_the_others_and_plain_diffusers_opens_it(tmp_path: Path, base: Path, was: str) -> None:
    settings = {"steps": 1, "batch_size": 2, "trajectories": 1, "num_steps": 2, "lr": 0.01, "adapter": was}
    if was == "lora":
        settings = {"adapter": "lora"}
    artifact = erase(recipe(tmp_path, "uce" if was == "lora" else "esd", params=settings), base=base, device="cpu")
    wanted = pictures(load(artifact, device="cpu"))
    assert np.abs(wanted - pictures(load(base, device="cpu"))).max() > 0
    forms = {"tensors": ("full",), "lora": ("full", "tensors")}[was]
    for form in forms:
        done = export_checkpoint(artifact, form, tmp_path / form)
        assert np.abs(pictures(load(done.path, device="cpu")) - wanted).max() <= 1
        if form == "full":
            plain = StableDiffusionXLPipeline.from_pretrained(done.path, add_watermarker=False)
            assert np.abs(pictures(plain) - wanted).max() <= 1
    if was == "lora":
        back = export_checkpoint(tmp_path / "tensors", "lora", tmp_path / "lora")
        for folder in (artifact.path, back.path):
            plain = StableDiffusionXLPipeline.from_pretrained(base, add_watermarker=False)
            plain.load_lora_weights(folder)
            assert plain.get_active_adapters() and np.abs(pictures(plain) - wanted).max() <= 1
    else:
        plain = StableDiffusionXLPipeline.from_pretrained(base, add_watermarker=False)
        changed = load_file(artifact.path / "unet.changed.safetensors")
        assert not plain.unet.load_state_dict(changed, strict=False).unexpected_keys
        assert np.abs(pictures(plain) - wanted).max() <= 1


def write_diffusers(path: Path, pipe: Any, changes: dict[str, torch.Tensor]) -> None:
    save_file(changes, path)


def write_original(path: Path, pipe: Any, changes: dict[str, torch.Tensor]) -> None:
    theirs = {ours: name for name, ours in unet_names(pipe.unet).items()}
    save_file({f"model.diffusion_model.{theirs[name]}": value for name, value in changes.items()}, path)


@pytest.mark.parametrize("write", [write_diffusers, write_original], ids=lambda write: write.__name__)
def test_weights_that_were_erased_elsewhere_are_imported(tmp_path: Path, base: Path, write: Any) -> None:
    pipe = StableDiffusionXLPipeline.from_pretrained(base, add_watermarker=False)
    changes = {name: (1.1 * value).detach() for name, value in of(pipe).select("attn2-kv").items()}
    changes["add_embedding.linear_1.weight"] = 1.1 * pipe.unet.add_embedding.linear_1.weight.detach()
    write(tmp_path / "erased.safetensors", pipe, changes)
    artifact = import_checkpoint(tmp_path / "erased.safetensors", method="esd", concepts=[CONCEPT], base=base)
    assert set(Checkpoint.read(artifact.path).tensors) == {f"unet.{name}" for name in changes}
    pipe.unet.load_state_dict(changes, strict=False)
    assert np.array_equal(pictures(load(artifact, device="cpu")), pictures(pipe))


def test_loras_of_kohya_name_both_encoders(tmp_path: Path, base: Path) -> None:
    generator = torch.Generator().manual_seed(0)

    def thin(rows: int, columns: int) -> torch.Tensor:
        return 0.3 * torch.randn(rows, columns, generator=generator)

    pipe = StableDiffusionXLPipeline.from_pretrained(base, add_watermarker=False)
    tensors, layers = {}, {}
    for component, prefix, suffix in (
        ("unet", "lora_unet_", "attn2.to_v"),
        ("text_encoder", "lora_te1_", "q_proj"),
        ("text_encoder_2", "lora_te2_", "q_proj"),
    ):
        module = of(pipe).components()[component]
        name = next(name for name, _ in module.named_modules() if name.endswith(suffix))
        layer = module.get_submodule(name)
        up, down = thin(layer.out_features, 2), thin(2, layer.in_features)
        written = name if component == "unet" else "text_model." + name.removeprefix("text_model.")
        key = prefix + written.replace(".", "_")
        tensors |= {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down, f"{key}.alpha": torch.tensor(1.0)}
        layers[f"{component}.{name}.weight"] = (layer.weight.detach() + up @ down / 2).clone()
    save_file(tensors, tmp_path / "kohya.safetensors")
    artifact = import_checkpoint(tmp_path / "kohya.safetensors", method="leco", concepts=[CONCEPT], base=base)
    opened = load(artifact, device="cpu")
    found = of(opened).parameters()
    for name, wanted in layers.items():
        torch.testing.assert_close(found[name].detach(), wanted, rtol=1e-5, atol=1e-6)


def test_a_card_opens_the_checkpoint_with_plain_diffusers(
    geometry: Any, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the card of a published checkpoint says is run, with the base's folder in the place of its id."""
    from conceptlib.hub.publish import publish

    artifact = geometry(adapter="lora", lr_unet=1e-3)
    publish(artifact, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "stable-diffusion-xl" in card
    source = card.split("With diffusers alone")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    lines = source.replace("path/to/the/base", str(base)).splitlines()
    exec("\n".join(line for line in lines if not line.startswith("image = ")), scope)
    plain, ours = scope["pipe"], load(artifact, device="cpu")
    text = artifact.info["negative_prompt"]
    with torch.no_grad():
        plain_states, _, plain_pooled, _ = plain.encode_prompt([text], do_classifier_free_guidance=False)
        states, _, pooled, _ = ours.encode_prompt([text], do_classifier_free_guidance=False)
    torch.testing.assert_close(plain_states, states)
    torch.testing.assert_close(plain_pooled, pooled)
