"""The family in docs/families.md, as the page prints it: added from outside, it is loaded, drawn from and erased from.

It is one of flow matching, whose output is a velocity: what the interface must bear beside ε and v.
"""

from __future__ import annotations

import json
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from conceptlib.erasers.checkpoint import load
from conceptlib.erasers.erase import erase
from conceptlib.erasers.methods.esd import esd_target
from conceptlib.errors import ConceptlibError
from conceptlib.models.family import of
from conceptlib.models.loading import defaults_of, load_pipeline, quiet
from conceptlib.models.prediction import FlowPrediction
from conceptlib.models.sampling import sample
from tests.support.models import build_pipeline

PAGE = Path(__file__).parents[3] / "docs" / "families.md"
PROMPTS, SEEDS = ["a red ring", "a star"], [3, 4]


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    ((name, source),) = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = Path(os.environ["CONCEPTLIB_HOME"]) / name
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    monkeypatch.setenv("CONCEPTLIB_PLUGINS", "1")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pipe = build_pipeline()
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    folder = tmp_path_factory.mktemp("flow") / "model"
    with quiet():
        pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def by_hand(pipe: Any, steps: int, guidance: float) -> np.ndarray:
    """Euler's steps along the velocity, with its own embeddings and shift."""
    sigmas = torch.linspace(1, 0.003 / 1.002, steps, dtype=torch.float64)  # the last one is shifted already
    sigmas = torch.cat([3 * sigmas / (1 + 2 * sigmas), torch.zeros(1)])
    latents = torch.cat([torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in SEEDS])
    ids = pipe.tokenizer(["", "", *PROMPTS], padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        states = pipe.text_encoder(ids)[0]
        for now, then in pairwise(sigmas):
            said = pipe.unet(torch.cat([latents] * 2), 1000 * now.float(), encoder_hidden_states=states).sample
            empty, prompt = said.chunk(2)
            latents = latents + float(then - now) * (empty + guidance * (prompt - empty))
        pixels = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    return ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy().astype(int)


def drawn(pipe: Any) -> np.ndarray:
    return sample(pipe, PROMPTS, SEEDS, num_steps=3, guidance_scale=4.0).astype(int)


def test_without_the_file_such_a_model_is_refused(base: Path) -> None:
    with pytest.raises(ConceptlibError, match="flow matching"):
        load_pipeline(base, device="cpu")


def test_with_the_file_it_is_loaded_and_drawn_from(family: None, base: Path) -> None:
    pipe = load_pipeline(base, device="cpu")
    assert of(pipe).NAME == "flow-unet" and defaults_of(base).guidance_scale == 3.0
    assert np.abs(drawn(pipe) - by_hand(pipe, 3, 4.0)).max() <= 1


def test_the_target_in_epsilon_is_the_target_in_velocity(family: None, base: Path) -> None:
    """The coefficients of ESD's target sum to 1, and v to ε is affine at fixed z and t."""
    generator = torch.Generator().manual_seed(0)
    null, concept, start, noisy = (torch.randn(3, 8, 8, 8, generator=generator, dtype=torch.float64) for _ in range(4))
    timesteps = torch.tensor([10.0, 500.0, 990.0])
    prediction = of(load_pipeline(base, device="cpu")).prediction
    assert isinstance(prediction, FlowPrediction)
    for convention in ("paper", "release"):
        there = esd_target(null, concept, start, 1.5, convention)  # type: ignore[arg-type]
        here = esd_target(
            *(prediction.to_epsilon(one, noisy, timesteps) for one in (null, concept, start)), 1.5, convention
        )  # type: ignore[call-arg,arg-type]
        torch.testing.assert_close(prediction.to_epsilon(there, noisy, timesteps), here, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        prediction.to_epsilon(prediction.shifted(null, concept, timesteps), noisy, timesteps),
        prediction.to_epsilon(null, noisy, timesteps) + concept,
    )
    clean, noise = null, concept
    z = prediction.noised(clean, noise, timesteps)
    torch.testing.assert_close(prediction.to_epsilon(prediction.target(clean, noise, timesteps), z, timesteps), noise)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("esd", {"steps": 2, "batch_size": 2, "trajectories": 1, "num_steps": 2, "lr": 0.01}),
        ("ablating", {"steps": 2, "batch_size": 2, "images": 8, "num_steps": 2, "lr": 0.01, "anchor": ["a ring"]}),
        ("uce", {}),
        ("sld", {"warmup_steps": 0, "scale": 5000.0, "threshold": 1.0}),
    ],
)
def test_every_kind_of_method_erases_from_it(
    family: None, base: Path, tmp_path: Path, method: str, params: dict[str, Any]
) -> None:
    spec = {"kind": "recipe", "name": f"{method}/flow", "method": method, "targets": ["a red ring"], "params": params}
    (tmp_path / "recipe.yaml").write_text(json.dumps(spec))
    artifact = erase(tmp_path / "recipe.yaml", base=base, device="cpu")
    found, plain = (drawn(load(one, device="cpu")) for one in (artifact, base))
    assert np.isfinite(found).all() and np.abs(found - plain).max() > 0
