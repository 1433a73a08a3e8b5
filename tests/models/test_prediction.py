from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from conceptlib.models.prediction import Prediction

SHAPE = (4, 2, 3, 3)
TIMESTEPS = torch.tensor([0, 10, 500, 999])


def scheduler(kind: str, **options: object) -> DDPMScheduler:
    return DDPMScheduler(prediction_type=kind, beta_schedule="scaled_linear", **options)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_right_output_states_the_noise(kind: str) -> None:
    schedule = scheduler(kind)
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    noisy = schedule.add_noise(clean, noise, TIMESTEPS)
    prediction = Prediction(schedule)
    output = prediction.target(clean, noise, TIMESTEPS)
    wanted = noise if kind == "epsilon" else schedule.get_velocity(clean, noise, TIMESTEPS)
    torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(prediction.to_epsilon(output, noisy, TIMESTEPS), noise, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_shifted_output_states_the_shifted_noise(kind: str) -> None:
    prediction = Prediction(scheduler(kind))
    generator = torch.Generator().manual_seed(1)
    output, noisy, change = (torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(3))
    before, after = (
        prediction.to_epsilon(one, noisy, TIMESTEPS) for one in (output, prediction.shifted(output, change, TIMESTEPS))
    )
    torch.testing.assert_close(after - before, change)


def test_without_any_signal_a_v_model_is_left_alone() -> None:
    prediction = Prediction(scheduler("v_prediction", rescale_betas_zero_snr=True))
    output = torch.ones(1, 2, 3, 3)
    last = torch.tensor([999])
    assert prediction.alpha_sigma(last, output)[0].item() == 0
    assert torch.equal(prediction.shifted(output, output, last), output)
