"""The restated loops on a random model: what they cost, what they change, and that they learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import reference
from conceptlib.models.parts import select
from tests.support.models import PIXELS, build_pipeline

ESD: dict[str, Any] = {"eta": 1.0, "num_steps": 6, "guidance_scale": 3.0, "seed": 0}


def moved(pipe: Any, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in pipe.unet.state_dict().items() if not torch.equal(value, before[name])}


def copied(pipe: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in pipe.unet.state_dict().items()}


def test_esd_changes_its_part_and_costs_a_walk_for_every_update(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = build_pipeline()
    before, calls, encoded = copied(pipe), [], []
    forward = type(pipe.unet).forward
    monkeypatch.setattr(
        type(pipe.unet), "forward", lambda self, *a, **k: calls.append(len(a[0])) or forward(self, *a, **k)
    )
    embed = reference.embed
    monkeypatch.setattr(reference, "embed", lambda pipe, prompts: encoded.extend(prompts) or embed(pipe, prompts))
    spent = reference.esd(pipe, ["a star", "a moon"], updates=5, lr=1e-3, **ESD)
    assert (spent.evaluations, spent.updates, spent.calls) == (5, 5, len(calls))
    assert calls.count(1) == 3 * 5 and calls.count(2) == len(calls) - 15 > 0
    assert encoded == [text for k in range(5) for text in ("", ["a star", "a moon"][k % 2])]
    assert moved(pipe, before) == set(select(pipe.unet, "attn2"))


def test_esd_brings_the_concept_to_its_target() -> None:
    """After training, the student says of the concept about what 2 eps(null) - eps(concept) of the base is."""
    pipe, base = build_pipeline(), build_pipeline()
    reference.esd(pipe, ["a star"], updates=60, lr=3e-3, **ESD)
    latents, timestep = torch.randn((4, 8, 8, 8), generator=torch.Generator().manual_seed(1)), torch.tensor(400)
    null, star = (reference.embed(pipe, [text] * 4) for text in ("", "a star"))
    with torch.no_grad():
        said = [base.unet(latents, timestep, encoder_hidden_states=e)[0] for e in (null, star)]
        target = 2 * said[0] - said[1]
        after = pipe.unet(latents, timestep, encoder_hidden_states=star)[0]
    assert float((after - target).square().mean()) < 0.5 * float((said[1] - target).square().mean())


@pytest.mark.parametrize("prior", [0.0, 0.1])
def test_ablating_brings_the_concept_to_the_anchor(tmp_path: Path, prior: float) -> None:
    pipe = build_pipeline()
    before = copied(pipe)
    rng = np.random.default_rng(0)
    pictures = [tmp_path / f"{k}.png" for k in range(4)]
    for path in pictures:
        Image.fromarray(rng.integers(0, 256, (PIXELS, PIXELS, 3), np.uint8)).save(path)
    latents, timestep = torch.randn((4, 8, 8, 8), generator=torch.Generator().manual_seed(1)), torch.tensor(400)
    embeds = [reference.embed(pipe, [text] * 4) for text in ("a circle", "a star")]

    def apart() -> float:
        with torch.no_grad():
            circle, star = (pipe.unet(latents, timestep, encoder_hidden_states=e)[0] for e in embeds)
        return float((circle - star).square().mean())

    first = apart()
    spent = reference.ablating(
        pipe,
        pictures,
        [("a circle", "a star")] * 4,
        updates=24,
        batch_size=3,
        lr=5e-3,
        weight_decay=0.0,
        timestep_shift=1.0,
        prior_weight=prior,
        seed=0,
    )
    assert (spent.evaluations, spent.updates, spent.calls) == (72, 24, 48)
    assert moved(pipe, before) == set(select(pipe.unet, "attn2-kv"))
    assert apart() < 0.5 * first
