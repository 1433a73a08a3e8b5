from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from conceptlib.models.devices import choose
from conceptlib.models.pipeline import ErasedPipeline, dressed
from conceptlib.models.sampling import sample
from tests.support.models import build_pipeline

OPTIONS: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 4.0, "output_type": "np"}


class Usual:
    """Classifier-free guidance, said as a rule."""

    prompts: tuple[str, ...] = ()

    def begin(self) -> Any:
        return lambda negative, positive, extra, step, scale: negative + scale * (positive - negative)


class Away:
    """Guidance away from two further prompts, more of it at every step."""

    prompts = ("a ring", "a star")

    def __init__(self) -> None:
        self.steps: list[int] = []

    def begin(self) -> Any:
        strength = [0.0]

        def run(negative: Any, positive: Any, extra: Any, step: int, scale: float) -> torch.Tensor:
            assert extra.shape == (2, *negative.shape) and extra.dtype == torch.float32
            self.steps.append(step)
            strength[0] += 0.5
            return negative + scale * (positive - negative) - strength[0] * (extra[0] + extra[1] - 2 * negative)

        return run


@pytest.fixture(params=["epsilon", "v_prediction"])
def pipe(request: pytest.FixtureRequest) -> ErasedPipeline:
    return dressed(build_pipeline(prediction_type=request.param), choose("cpu"))


def drawn(pipe: Any, **options: Any) -> np.ndarray:
    latents = torch.cat([torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)])
    return np.asarray(pipe(["a heart", "a moon"], latents=latents, **{**OPTIONS, **options}).images)


def test_the_usual_guidance_as_a_rule_draws_the_usual_picture(pipe: ErasedPipeline) -> None:
    wanted = drawn(pipe)
    ours = sample(pipe, ["a heart"], [3], num_steps=3, guidance_scale=4)
    pipe.guidance_rule = Usual()
    np.testing.assert_allclose(drawn(pipe), wanted, atol=1e-4)
    assert np.abs(sample(pipe, ["a heart"], [3], num_steps=3, guidance_scale=4).astype(int) - ours).max() <= 1


def test_a_plain_call_and_our_sampler_follow_the_same_rule(pipe: ErasedPipeline) -> None:
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    usual = drawn(pipe)
    pipe.guidance_rule = rule = Away()
    called = drawn(pipe)
    assert np.abs(called - usual).max() > 0.01 and rule.steps == [0, 1, 2]
    ours = sample(pipe, ["a heart", "a moon"], [3, 4], num_steps=3, guidance_scale=4)
    assert rule.steps == [0, 1, 2, 0, 1, 2]
    assert np.abs(ours / 255 - called).max() < 0.01
    # Each run has a state of its own, and the hooks are gone when it is over.
    np.testing.assert_array_equal(drawn(pipe), called)
    pipe.guidance_rule = None
    np.testing.assert_array_equal(drawn(pipe), usual)


def test_without_guidance_a_rule_has_no_effect(pipe: ErasedPipeline) -> None:
    wanted = drawn(pipe, guidance_scale=1.0)
    pipe.guidance_rule = rule = Away()
    np.testing.assert_array_equal(drawn(pipe, guidance_scale=1.0), wanted)
    assert np.array_equal(sample(pipe, ["a ring"], [0], num_steps=1, guidance_scale=1).shape, (1, 32, 32, 3))
    assert not rule.steps
