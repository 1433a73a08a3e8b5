from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler

from conceptlib.errors import ConceptlibError
from conceptlib.models.sampling import default_guidance, sample
from conceptlib.worlds.tiny import GUIDANCE_SCALE
from tests.support.models import build_pipeline

PROMPTS = ["a red circle", "a blue square", "a red circle"]
SEEDS = [7, 8, 9]


@pytest.fixture(scope="module")
def pipe() -> Any:
    return build_pipeline()


def by_diffusers(pipe: Any, **options: Any) -> np.ndarray:
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    images = pipe(PROMPTS, generator=generators, height=32, width=32, output_type="pil", **options).images
    return np.stack([np.asarray(image) for image in images])


def close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Equal but for a last bit here and there: the order of additions may differ."""
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    return bool(difference.max() <= 1 and (difference > 0).mean() < 0.01)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_pictures_are_those_of_the_pipeline(prediction_type: str, guidance: float) -> None:
    pipe = build_pipeline(prediction_type=prediction_type)
    ours = sample(pipe, PROMPTS, SEEDS, negative_prompts="QR code", num_steps=4, guidance_scale=guidance)
    theirs = by_diffusers(pipe, negative_prompt=["QR code"] * 3, num_inference_steps=4, guidance_scale=guidance)
    assert ours.shape == (3, 32, 32, 3) and ours.dtype == np.uint8
    assert close(ours, theirs)


def test_the_schedule_of_the_scheduler_is_kept() -> None:
    pipe = build_pipeline(prediction_type="v_prediction")
    pipe.scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )
    assert close(
        sample(pipe, PROMPTS, SEEDS, num_steps=5, guidance_scale=3),
        by_diffusers(pipe, num_inference_steps=5, guidance_scale=3),
    )


def test_another_scheduler_is_replaced_by_ddim_with_its_betas(pipe: Any) -> None:
    wanted = sample(pipe, PROMPTS, SEEDS, num_steps=3)
    other = build_pipeline()
    other.scheduler = PNDMScheduler.from_config(pipe.scheduler.config)
    assert close(sample(other, PROMPTS, SEEDS, num_steps=3), wanted)


def test_a_picture_depends_on_its_row_alone(pipe: Any) -> None:
    together = sample(pipe, PROMPTS, SEEDS, num_steps=3)
    assert not np.array_equal(together[0], together[2])  # the same prompt, another seed
    for index in range(3):
        alone = sample(pipe, [PROMPTS[index]], [SEEDS[index]], num_steps=3)
        assert close(alone, together[index : index + 1])
    assert close(sample(pipe, PROMPTS, SEEDS, num_steps=3, batch_size=2), together)


def test_the_same_call_gives_the_same_bytes(pipe: Any) -> None:
    assert np.array_equal(sample(pipe, PROMPTS, SEEDS, num_steps=2), sample(pipe, PROMPTS, SEEDS, num_steps=2))


def test_negative_prompts_may_differ_by_row_and_default_to_the_pipelines(pipe: Any) -> None:
    one, two = (sample(pipe, PROMPTS, SEEDS, negative_prompts=text, num_steps=2) for text in ("", "QR code"))
    mixed = sample(pipe, PROMPTS, SEEDS, negative_prompts=["", "QR code", ""], num_steps=2)
    assert close(mixed[[0, 2]], one[[0, 2]]) and close(mixed[[1]], two[[1]]) and not close(one, two)
    pipe.negative_prompt_default = "QR code"
    try:
        assert np.array_equal(sample(pipe, PROMPTS, SEEDS, num_steps=2), two)
        assert np.array_equal(sample(pipe, PROMPTS, SEEDS, negative_prompts="", num_steps=2), one)
    finally:
        del pipe.negative_prompt_default


def test_other_sizes_and_progress(pipe: Any) -> None:
    seen: list[tuple[str, int, int]] = []
    out = sample(
        pipe, PROMPTS, SEEDS, num_steps=1, height=16, width=40, batch_size=2, progress=lambda *step: seen.append(step)
    )
    assert out.shape == (3, 16, 40, 3)
    assert seen == [("sample", 2, 3), ("sample", 3, 3)]


@pytest.mark.parametrize(
    "wrong", [{"seeds": [1]}, {"negative_prompts": ["a"]}, {"num_steps": 0}, {"height": 30}, {"width": -8}]
)
def test_settings_that_make_no_sense_are_refused(pipe: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConceptlibError):
        sample(pipe, PROMPTS, **{"seeds": SEEDS, **wrong})


def test_small_models_are_guided_less(pipe: Any) -> None:
    assert default_guidance(64) == default_guidance(255) == GUIDANCE_SCALE
    assert default_guidance(256) == default_guidance(1024) == 7.5
    usual, given = (sample(pipe, PROMPTS, SEEDS, num_steps=1, guidance_scale=g) for g in (None, GUIDANCE_SCALE))
    assert np.array_equal(usual, given)
