"""SLD against the paper's equations, step by step, in float64 on a small random model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from conceptlib.erasers.methods.sld import Config, SafeGuidance, apply
from conceptlib.errors import ConceptlibError
from conceptlib.models.devices import choose
from conceptlib.models.encoding import PromptCache
from conceptlib.models.pipeline import dressed
from conceptlib.models.sampling import denoise, sample
from tests.support.models import build_pipeline

SETTINGS: dict[str, dict[str, Any]] = {
    "weak": {"warmup_steps": 3, "scale": 200.0, "threshold": 0.0, "momentum_scale": 0.0, "momentum_beta": 0.0},
    "medium": {"warmup_steps": 2, "scale": 2.0, "threshold": 0.01, "momentum_scale": 0.3, "momentum_beta": 0.4},
    "strong": {"warmup_steps": 1, "scale": 20.0, "threshold": 0.025, "momentum_scale": 0.5, "momentum_beta": 0.7},
    "max": {"warmup_steps": 0, "scale": 5000.0, "threshold": 1.0, "momentum_scale": 0.5, "momentum_beta": 0.7},
}
STEPS, GUIDANCE = 5, 4.0


def pipeline(prediction_type: str) -> Any:
    pipe = build_pipeline(prediction_type=prediction_type)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    for module in (pipe.unet, pipe.text_encoder):
        module.double()
    return pipe


def by_the_paper(pipe: Any, noise: torch.Tensor, empty: Any, prompt: Any, safety: Any, s: dict[str, Any]) -> Any:
    """Three predictions a step, plain arithmetic, DDIM with η = 0 written out."""
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(STEPS)
    spacing = scheduler.config.num_train_timesteps // STEPS
    z, nu = noise, torch.zeros_like(noise)
    for step, t in enumerate(scheduler.timesteps):
        bar = scheduler.alphas_cumprod[t].double()
        before = int(t) - spacing
        bar_before = (scheduler.alphas_cumprod[before] if before >= 0 else scheduler.final_alpha_cumprod).double()

        def epsilon(condition: torch.Tensor, z: torch.Tensor = z, t: Any = t, bar: torch.Tensor = bar) -> torch.Tensor:
            out = pipe.unet(z, t, encoder_hidden_states=condition).sample
            if pipe.scheduler.config.prediction_type == "epsilon":
                return out
            return bar.sqrt() * out + (1 - bar).sqrt() * z

        e_u, e_p, e_s = epsilon(empty), epsilon(prompt), epsilon(safety)
        mu = (s["scale"] * (e_p - e_s).abs()).clamp(max=1.0)
        mu[(e_p - e_s) >= s["threshold"]] = 0.0
        gamma = mu * (e_s - e_u) + s["momentum_scale"] * nu
        nu = s["momentum_beta"] * nu + (1 - s["momentum_beta"]) * gamma
        guided = e_u + GUIDANCE * ((e_p - e_u) - (gamma if step >= s["warmup_steps"] else 0))
        clean = (z - (1 - bar).sqrt() * guided) / bar.sqrt()
        z = bar_before.sqrt() * clean + (1 - bar_before).sqrt() * guided
    return z


@pytest.mark.parametrize("preset", list(SETTINGS))
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_sampler_with_the_rule_is_the_papers_loop(preset: str, prediction_type: str) -> None:
    pipe, settings = pipeline(prediction_type), SETTINGS[preset]
    noise = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    embeds = PromptCache(pipe).encode(["", "", "a ring", "a star", "a red heart", "a red heart"]).prompt_embeds
    empty, prompt, safety = embeds.chunk(3)
    rule = SafeGuidance(Config(**settings, concept="a red heart"))
    with torch.no_grad():
        wanted = by_the_paper(pipe, noise, empty, prompt, safety, settings)
    found = denoise(pipe, noise, embeds, num_steps=STEPS, guidance_scale=GUIDANCE, rule=rule)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    usual = denoise(pipe, noise, embeds[:4], num_steps=STEPS, guidance_scale=GUIDANCE)
    assert (found - usual).abs().max() > 1e-3


def test_before_the_warm_up_is_over_nothing_is_steered_but_momentum_gathers() -> None:
    config = Config(warmup_steps=2, scale=10.0, threshold=10, momentum_scale=1.0, momentum_beta=0.5, concept="x")
    e_u, e_p, e_s = (torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (0.0, 1.0, 3.0))
    run = SafeGuidance(config).begin()
    found = [float(run(e_u, e_p, e_s[None], step, 2.0)) for step in range(3)]
    # mu = 1 throughout: gamma = 3, then 3 + 1.5, then 3 + 3; momentum 1.5, then 3.
    assert found == [2.0, 2.0, 2.0 * (1.0 - (3.0 + 0.5 * 1.5 + 0.5 * 4.5))]


def test_where_the_prompt_is_past_the_concept_nothing_is_done() -> None:
    config = Config(warmup_steps=0, scale=10.0, threshold=0.0, momentum_scale=0, momentum_beta=0, concept="x")
    e_u, e_p, e_s = (torch.tensor(values).reshape(1, 1, 1, 2) for values in ((0.0, 0.0), (1.0, 1.0), (0.5, 1.05)))
    found = SafeGuidance(config).begin()(e_u, e_p, e_s[None], 0, 1.0).flatten()
    torch.testing.assert_close(found, torch.tensor([1.0, 1.0 - 0.5 * 1.05]))


def test_a_pipeline_call_steers_as_our_sampler_does() -> None:
    pipe = dressed(build_pipeline(), choose("cpu"))
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    apply(pipe, {**SETTINGS["max"], "concept": "a red heart"})
    latents = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(3))
    called = pipe("a ring", latents=latents, num_inference_steps=3, guidance_scale=4.0, output_type="np").images[0]
    ours = sample(pipe, ["a ring"], [3], num_steps=3, guidance_scale=4.0)[0]
    assert np.abs(ours / 255 - called).max() < 0.01
    pipe.guidance_rule = None
    usual = pipe("a ring", latents=latents, num_inference_steps=3, guidance_scale=4.0, output_type="np").images[0]
    assert np.abs(usual - called).max() > 0.01


@pytest.mark.parametrize("config", [{}, {"concept": ""}, {"concept": "x", "scale": -1}, {"concept": "x", "new": 1}])
def test_a_configuration_that_makes_no_sense_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConceptlibError, match="cannot be read"):
        apply(dressed(build_pipeline(), choose("cpu")), config)
