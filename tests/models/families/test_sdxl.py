"""SDXL against diffusers' own pipeline: the same pictures, latents, sizes and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline

from conceptlib.errors import ConceptlibError
from conceptlib.models.conditioning import Conditioning, Framing
from conceptlib.models.devices import choose
from conceptlib.models.encoding import PromptCache
from conceptlib.models.families.sdxl import Family
from conceptlib.models.family import of, recognised
from conceptlib.models.loading import base_lock, defaults_of, load_pipeline
from conceptlib.models.pipeline import dressed
from conceptlib.models.sampling import sample
from conceptlib.models.words import phrase_states, subjects
from tests.support.sdxl import POOLED, WIDTHS, build_sdxl, save_sdxl

PROMPTS, SEEDS = ["a red circle", "a blue square"], [7, 8]


@pytest.fixture(scope="module")
def pipe() -> Any:
    return build_sdxl()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sdxl(tmp_path_factory.mktemp("sdxl") / "model")


def by_diffusers(pipe: Any, **options: Any) -> np.ndarray:
    """What the pipeline itself draws with the sampler that stands for its own."""
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    options = {"height": 32, "width": 32, "num_inference_steps": 3, "guidance_scale": 5.0, **options}
    images = pipe(PROMPTS, generator=generators, output_type="np", **options).images
    return np.asarray((images * 255).round().astype(int))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("zeros", [True, False], ids=["zeros", "encoded"])
@pytest.mark.parametrize("negative", [None, "", "QR code"])
def test_pictures_are_those_of_the_pipeline(prediction_type: str, zeros: bool, negative: str | None) -> None:
    """No negative prompt and an empty one are two things where the model was trained with zeros."""
    options = {"prediction_type": prediction_type, "zeros": zeros}
    ours = sample(build_sdxl(**options), PROMPTS, SEEDS, negative_prompts=negative, num_steps=3, guidance_scale=5.0)
    theirs = by_diffusers(build_sdxl(**options), negative_prompt=None if negative is None else [negative] * 2)
    assert np.abs(ours.astype(int) - theirs).max() <= 1 and ours.std() > 5


def test_no_negative_prompt_and_an_empty_one_differ(pipe: Any) -> None:
    none, empty = (sample(pipe, PROMPTS, SEEDS, negative_prompts=one, num_steps=2) for one in (None, ""))
    assert not np.array_equal(none, empty)
    assert np.array_equal(none, sample(pipe, PROMPTS, SEEDS, negative_prompts=[None, None], num_steps=2))


def test_the_usual_guidance_is_the_familys(pipe: Any, folder: Path) -> None:
    assert (defaults_of(folder).guidance_scale, defaults_of(folder).resolution) == (5.0, 32)
    told = sample(pipe, PROMPTS, SEEDS, num_steps=2, guidance_scale=5.0)
    assert np.array_equal(sample(pipe, PROMPTS, SEEDS, num_steps=2), told)


def test_states_are_of_both_encoders_and_the_pooled_one_of_the_second(pipe: Any) -> None:
    mine = of(pipe).encode(PROMPTS)
    with torch.no_grad():
        embeds, _, pooled, _ = pipe.encode_prompt(PROMPTS, do_classifier_free_guidance=False)
    assert mine.prompt_embeds.shape == (2, 77, sum(WIDTHS)) and mine.pooled is not None
    assert mine.pooled.shape == (2, POOLED)
    torch.testing.assert_close(mine.prompt_embeds, embeds)
    torch.testing.assert_close(mine.pooled, pooled)


def test_a_cache_keeps_the_unconditional_prompt_apart(pipe: Any) -> None:
    found = PromptCache(pipe).encode(["a ring", None, "", None])
    assert found.pooled is not None
    assert not found.prompt_embeds[1].any() and not found.pooled[3].any()
    assert found.prompt_embeds[2].any() and found.pooled[2].any()
    assert PromptCache(build_sdxl(zeros=False)).encode([None]).prompt_embeds.any()


def test_a_phrase_is_the_joined_state_of_its_last_token(pipe: Any) -> None:
    whole = of(pipe).encode(["a ring"]).prompt_embeds[0]
    (found,) = subjects(pipe, ["ring"], "a {}")
    torch.testing.assert_close(found.states[found.last], whole[5])
    assert phrase_states(pipe, ["ring", "star"]).shape == (2, sum(WIDTHS))


def test_sizes_reach_the_unet_as_diffusers_gives_them(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the picture's own; for training how it was scaled and cut."""
    model, seen = of(pipe), []
    forward = pipe.unet.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["added_cond_kwargs"]["time_ids"][0].tolist())
        return forward(*args, **kwargs)

    monkeypatch.setattr(pipe.unet, "forward", watched)
    given = model.encode(["a ring"])
    latents = torch.zeros(1, 4, 8, 6)
    with torch.no_grad():
        model.predict(latents, torch.tensor(5), given)
        model.predict(latents, torch.tensor(5), model.framed(given, [Framing((50, 60), (1, 2), (32, 24))]))
    pipe(["a ring"], num_inference_steps=1, guidance_scale=1.0, height=32, width=24)
    pipe(
        ["a ring"], num_inference_steps=1, guidance_scale=1.0, height=32, width=24,
        original_size=(50, 60), crops_coords_top_left=(1, 2), target_size=(32, 24),
    )  # fmt: skip
    assert seen == 2 * [[32, 24, 0, 0, 32, 24], [50, 60, 1, 2, 32, 24]]


def test_sizes_may_be_asked_for(pipe: Any) -> None:
    ours = sample(build_sdxl(), PROMPTS, SEEDS, num_steps=3, framing=Framing((900, 80), (70, 6), (400, 30)))
    sizes = {"original_size": (900, 80), "crops_coords_top_left": (70, 6), "target_size": (400, 30)}
    assert np.abs(ours.astype(int) - by_diffusers(build_sdxl(), **sizes)).max() <= 1
    assert not np.array_equal(ours, sample(pipe, PROMPTS, SEEDS, num_steps=3))


def test_embeddings_alone_are_not_enough(pipe: Any) -> None:
    with pytest.raises(ConceptlibError, match="pooled"):
        of(pipe).predict(torch.zeros(1, 4, 8, 8), torch.tensor(5), torch.zeros(1, 77, sum(WIDTHS)))


def test_a_conditioning_is_taken_apart_and_joined_by_rows() -> None:
    rows = Conditioning(torch.arange(6.0).reshape(3, 2, 1), torch.arange(3.0)[:, None], {"n": torch.arange(3)[:, None]})
    again = Conditioning.cat([rows[:1], rows[[2, 1]]])[torch.tensor([0, 2, 1])]
    assert torch.equal(again.prompt_embeds, rows.prompt_embeds)
    assert again.pooled is not None and torch.equal(again.pooled, torch.arange(3.0)[:, None])
    assert again.repeated(2).extra["n"].flatten().tolist() == [0, 0, 1, 1, 2, 2]
    half = rows.to(dtype=torch.float16)
    assert half.prompt_embeds.dtype == torch.float16 and half.extra["n"].dtype == torch.int64


def test_an_autoencoder_that_overflows_in_half_precision_runs_in_float32(pipe: Any) -> None:
    half = build_sdxl()
    half.vae.to(torch.float16)
    assert half.vae.config.force_upcast
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels = of(half).to_pixels(latents)
    assert half.vae.dtype == torch.float16
    assert (pixels.int() - of(pipe).to_pixels(latents).int()).abs().max() <= 2
    assert torch.isfinite(of(half).to_latents(pixels.numpy())).all()


def test_means_and_spreads_of_the_latents_are_followed(pipe: Any) -> None:
    """As Playground 2.5 has them: the pipeline's own picture of the same latents."""
    other = build_sdxl()
    other.vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.5, 1.0, 2.0])
    ours = sample(other, PROMPTS, SEEDS, num_steps=2, guidance_scale=5.0)
    assert np.abs(ours.astype(int) - by_diffusers(other, num_inference_steps=2)).max() <= 1
    model, pixels = of(other), np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    plain = of(pipe).to_latents(pixels) / pipe.vae.config.scaling_factor
    config = other.vae.config
    mean, spread = (torch.tensor(one).reshape(1, 4, 1, 1) for one in (config.latents_mean, config.latents_std))
    torch.testing.assert_close(model.to_latents(pixels), (plain - mean) * 0.13025 / spread)


def test_a_folder_loads_whole_and_is_written_for_plain_diffusers(folder: Path, tmp_path: Path) -> None:
    pipe = load_pipeline(folder, device="cpu")
    assert isinstance(of(pipe), Family) and pipe.watermark is None
    assert not any(p.requires_grad for p in of(pipe).parameters().values())
    assert "text_encoder_2.text_projection.weight" in of(pipe).parameters()
    erased = dressed(pipe, choose("cpu", "float32"))
    of(erased).save_folder(tmp_path / "copy")
    assert (
        json.loads((tmp_path / "copy" / "model_index.json").read_text())["_class_name"] == "StableDiffusionXLPipeline"
    )
    again = StableDiffusionXLPipeline.from_pretrained(tmp_path / "copy", add_watermarker=False)
    assert all(torch.equal(value, of(pipe).parameters()[name]) for name, value in of(again).parameters().items())
    assert (tmp_path / "copy" / "tokenizer_2" / "merges.txt").is_file()


def test_the_second_encoder_is_part_of_the_lock(folder: Path, tmp_path: Path) -> None:
    other = save_sdxl(tmp_path / "other")
    assert base_lock(other)["sha256"] == base_lock(folder)["sha256"]
    path = other / "text_encoder_2" / "config.json"
    path.write_text(path.read_text().replace('"gelu"', '"quick_gelu"'))
    assert base_lock(other)["sha256"] != base_lock(folder)["sha256"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"requires_aesthetics_score": True, "text_encoder": [None, None]}, "refiner"),
        ({"text_encoder": [None, None]}, "it has no text_encoder"),
        ({"controlnet": ["diffusers", "ControlNetModel"]}, "a controlnet as well"),
        ({"text_encoder_2": ["transformers", "T5EncoderModel"]}, "its text_encoder_2 is a T5EncoderModel"),
    ],
)
def test_what_is_no_base_is_refused_by_its_index(folder: Path, tmp_path: Path, change: Any, what: str) -> None:
    index = json.loads((folder / "model_index.json").read_text()) | change
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ConceptlibError, match=what) as told:
        load_pipeline(tmp_path, device="cpu")
    assert "the SDXL shape" in told.value.hint
    assert recognised(index) is Family


@pytest.mark.parametrize(
    ("component", "change", "what"),
    [
        ("unet", {"projection_class_embeddings_input_dim": 5 * 8 + POOLED}, "of 64 numbers, and there are 72"),
        ("unet", {"in_channels": 9}, "inpainting"),
        ("unet", {"cross_attention_dim": 32}, "width 32, the text encoders give 80"),
        ("unet", {"addition_embed_type": None}, "further conditions"),
        ("tokenizer_2", {"model_max_length": 99}, "its tokenizer 2 makes prompts of 99 tokens"),
    ],
)
def test_components_that_do_not_fit_are_named(component: str, change: dict[str, Any], what: str) -> None:
    pipe = build_sdxl()
    part = getattr(pipe, component)
    for name, value in change.items():
        if component == "unet":
            part.register_to_config(**{name: value})
        else:
            setattr(part, name, value)
    assert any(what in problem for problem in of(pipe).check())
