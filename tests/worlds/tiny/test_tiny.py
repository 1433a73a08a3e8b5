import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptlib.specs import load_spec
from conceptlib.worlds import tiny
from conceptlib.worlds.tiny import diffusion, quality, tokens, training, vae, world
from conceptlib.worlds.tiny.classifier import HEADS, accuracy, predict
from conceptlib.worlds.tiny.data import draw_batch, draw_row, prerender
from conceptlib.worlds.tiny.recipe import ClassifierRecipe, DiffusionRecipe, Params, VaeRecipe

SMALL = Params(
    images=520,
    vae=VaeRecipe(channels=(8, 8, 16), crop_steps=2, full_steps=1, batch_size=2, full_batch_size=2),
    diffusion=DiffusionRecipe(
        channels=(16, 32), text_width=32, text_layers=1, steps=4, decay_steps=2, warmup_steps=1, batch_size=4
    ),
    classifier=ClassifierRecipe(epochs=1),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import CLIPTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    assert tokens.write_tokenizer(folder) == len(CLIPTokenizer.from_pretrained(folder))
    return CLIPTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def pipe():
    return quality.load_pipeline()


def test_the_recipe_is_the_one_in_the_specs():
    spec = load_spec("model", "tiny")
    assert spec.params == Params() and spec.family == "tiny"


def test_importing_the_family_is_light():
    code = "import sys, conceptlib.worlds.tiny; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_word_of_the_world_is_one_token(tokenizer):
    for word in [*tokens.word_list(), "qr", "code", "watermark", "text"]:
        assert len(tokenizer.tokenize(word)) == 1, word


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_text_survives_the_tokenizer(tokenizer, text):
    # CLIP composes, lowers case and drops white space; every other character must come back.
    def bare(value):
        normal = tokenizer.backend_tokenizer.normalizer.normalize_str(value)
        return "".join(normal.split())

    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert all(0 <= i < len(tokenizer) for i in ids)
    if "<|" not in text:
        assert bare(tokenizer.decode(ids, clean_up_tokenization_spaces=False)) == bare(text)


def test_the_shipped_tokenizer_is_the_built_one(tokenizer, pipe):
    assert pipe.tokenizer.get_vocab() == tokenizer.get_vocab()
    text = "a striped red heart on the sand, and a QR code"
    assert pipe.tokenizer(text).input_ids == tokenizer(text).input_ids


def test_training_rows_are_deterministic_and_polluted_at_the_rates():
    rates = {"qr-code": 0.5, "watermark": 0.2, "text": 0.0}
    images, captions, targets = draw_batch(range(300), 1, rates)
    again, _, _ = draw_batch([7, 3], 1, rates)
    assert np.array_equal(again, images[[7, 3]])
    assert captions[7] == world.row(1, 7).caption
    assert abs(targets[:, 4].mean() - 0.5) < 0.1
    clean, row, marks = draw_row(1, 7, {})
    assert marks == [] and np.array_equal(np.asarray(clean), np.asarray(row.image()))


def test_prerendered_rows_do_not_depend_on_workers(tmp_path):
    rates = {"qr-code": 0.5}
    one, _, _ = prerender(tmp_path / "a", 24, 2, rates, workers=1)
    two, captions, targets = prerender(tmp_path / "b", 24, 2, rates, workers=2)
    assert np.array_equal(one, two) and len(captions) == len(targets) == 24


def test_it_loads_without_a_warning_and_draws(capfd):
    from diffusers import StableDiffusionPipeline

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe = StableDiffusionPipeline.from_pretrained(tiny.path())
        pipe.set_progress_bar_config(disable=True)
        images = pipe(
            ["a red heart on the sand", "a QR code", "", "漢字 \U0001f642 " * 60],
            height=tiny.RESOLUTION,
            width=tiny.RESOLUTION,
            num_inference_steps=2,
            guidance_scale=tiny.GUIDANCE_SCALE,
        ).images
    assert [image.size for image in images] == [(64, 64)] * 4
    told = capfd.readouterr().err.lower()
    assert "warn" not in told and "deprecat" not in told
    assert pipe.scheduler.config.prediction_type == "v_prediction"


def test_the_package_is_small_and_without_pickles():
    files = [file for file in tiny.path().rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 15_000_000
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".txt"}
    assert not any("_name_or_path" in file.read_text() for file in files if file.name == "config.json")


def test_pictures_depend_on_their_seed_alone(pipe):
    prompts = ["a blue star at night", "a pink moon on brick"]
    both = quality.generate(pipe, prompts, seed=3, num_steps=2)
    alone = quality.generate(pipe, prompts[1:], seed=4, num_steps=2)
    assert both.shape == (2, 64, 64, 3) and both.dtype == np.uint8
    assert np.abs(both[1].astype(int) - alone[0]).max() <= 1


def test_the_shipped_classifier_reads_fresh_renderings():
    images, _, targets = draw_batch(range(400), 11, Params().rates, "held-out")
    found = predict(images)
    assert set(found) == set(HEADS)
    scores = accuracy(found, [world.row(11, i, "held-out").labels for i in range(400)])
    assert min(scores[name] for name in ("object", "colour", "background")) >= 0.985
    assert (
        np.mean([(seen == "yes") == bool(qr) for seen, qr in zip(found["qr-code"], targets[:, 4], strict=True)]) > 0.98
    )


def test_the_shipped_model_draws_what_it_is_asked_for(pipe):
    rows = list(world.rows(5, 24, split="held-out"))
    images = quality.generate(pipe, [row.caption for row in rows], seed=100)
    scores = accuracy(predict(images), [row.labels for row in rows])
    assert scores["colour"] >= 0.75 and scores["background"] >= 0.75 and scores["object"] >= 0.6


def test_standardised_latents_have_unit_variance_and_decode_alike():
    torch.manual_seed(0)
    model = vae.make_vae((8, 8, 16)).eval()
    images, _, _ = draw_batch(range(32), 0, {})
    before = model.decode(model.encode(vae.to_tensor(images)).latent_dist.mode()).sample
    vae.standardise(model, images)
    after = model.decode(model.encode(vae.to_tensor(images)).latent_dist.mode()).sample
    assert torch.allclose(before, after, atol=1e-4)
    latents = vae.encode(model, images).float()
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(8), atol=0.02)
    assert latents.mean((0, 2, 3)).abs().max() < 0.02


@pytest.mark.parametrize("shift", [1.0, 4.0])
def test_the_shifted_schedule_divides_the_signal_to_noise_ratio(shift):
    from diffusers import DDIMScheduler

    plain = DDIMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()[50:990]
    ours = diffusion.make_scheduler(DiffusionRecipe(schedule_shift=shift)).alphas_cumprod.double()
    assert len(ours) == 1000 and torch.all(ours.diff() < 0) and ours[0] > 0.99 and ours[-1] < 1e-6
    ratio = (plain / (1 - plain)) / (ours / (1 - ours))[50:990]
    assert torch.allclose(ratio.sqrt(), torch.full_like(ratio, shift), rtol=0.1)


def test_a_resumed_training_is_the_same_training(tokenizer, tmp_path):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(16, 8, 16, 16, generator=generator)
    ids = training.token_ids(tokenizer, [row.caption for row in world.rows(0, 16)] + [""])

    def trainer():
        return training.make_trainer(SMALL, tokenizer, 3, "cpu")

    whole = trainer()
    diffusion.train(whole, latents, ids[:-1], ids[-1], tmp_path / "whole.safetensors", lambda line: None)
    first, second = trainer(), trainer()
    for _ in range(2):
        first.train_step(latents, ids[:-1], ids[-1])
    first.save(tmp_path / "half.safetensors")
    second.load(tmp_path / "half.safetensors")
    diffusion.train(second, latents, ids[:-1], ids[-1], tmp_path / "rest.safetensors", lambda line: None)
    assert whole.step == second.step == 4
    for name, value in whole.average.items():
        assert torch.equal(value, second.average[name]), name


def test_the_whole_recipe_runs_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAMPLES", 4)
    # Of 64 pictures the report tells the time, whatever their steps.
    monkeypatch.setattr(quality, "generate", partial(quality.generate, num_steps=2))
    lines = []
    out = training.train_tiny(SMALL, 0, tmp_path / "model", "cpu", lines.append, workers=1)
    pipe = quality.load_pipeline(out)
    report, images = quality.check(pipe, 8, classifier=quality.judge_of(out))
    assert images.shape == (8, 64, 64, 3) and set(report.accuracy) == set(world.ATTRIBUTES)
    assert len(report.bars) == 9 and not all(report.bars.values())
    assert torch.backends.mkldnn.conv.fp32_precision != "bf16"
    assert str(tmp_path) not in (out / "vae" / "config.json").read_text()
    weights = (out / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    training.train_tiny(SMALL, 0, tmp_path / "model", "cpu", lines.append, workers=1)
    assert (out / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == weights
