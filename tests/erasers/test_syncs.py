"""A step of a training, and of sampling, does not wait for a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from conceptlib.erasers import loop
from conceptlib.erasers.base import TrainingParams
from conceptlib.erasers.erase import erase
from conceptlib.models.sampling import sample
from conceptlib.specs.registry import METHODS
from conceptlib.store import Store
from tests.support.erasure import store_annotations, store_dataset
from tests.support.models import build_pipeline
from tests.support.syncs import Watched, watching

STEPS = ("steps=3", "batch_size=4", "checkpoint_every=100")
TRAINED = {
    "esd": [("trajectories=4", "num_steps=2"), ("convention=release", "trajectories=4", "num_steps=2", "loss=l1")],
    "ablating": [("images=8", "num_steps=1", "prior_weight=1.0", "anchor=[ring]")],
    "geom-erasing": [
        ("grid=[2,2]",),
        ("mode=model-removal", "grid=[2,2]"),
        ("adapter=lora", "lora_rank=2", "lr_text=0.01", "grid=[2,2]", "ema=0.9"),
    ],
}
HALVES = [(method, TRAINED[method][0]) for method in ("ablating", "geom-erasing")]
"""Whose batches are read ahead."""
CASES = [(method, options) for method, kinds in TRAINED.items() for options in kinds]


def test_every_trained_method_is_here() -> None:
    trained = {name for name in METHODS.names() if issubclass(METHODS.get(name).Params, TrainingParams)}
    assert trained == set(TRAINED)


@pytest.fixture
def train(base: Path, tmp_path: Path) -> Callable[..., Any]:
    def call(method: str, options: Sequence[str]) -> Any:
        about = "concepts: [qr-code]" if method == "geom-erasing" else "targets: [a red ring]"
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(f"kind: recipe\nname: test/test\nmethod: {method}\n{about}\n")
        given: dict[str, Any] = {}
        if method == "geom-erasing":
            data = store_dataset(Store())
            given = {"data": data, "annotations": store_annotations(Store(), data)}
        return erase(recipe, base=base, device="cpu", overrides=[*STEPS, *options], **given)

    return call


@pytest.mark.parametrize(("method", "options"), CASES)
def test_no_step_waits_for_the_device(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, method: str, options: tuple[str, ...]
) -> None:
    """As on a GPU: losses are read every few steps, and batches are read ahead."""
    step, seen = loop._Run.step, []
    known: list[Watched] = []

    def watched(self: Any, model: torch.nn.Module, number: int, rows: int) -> torch.Tensor:
        with watching([self.module], monkeypatch, *known) as watch:
            loss: torch.Tensor = step(self, model, number, rows)
        known[:] = [watch]
        seen.append(watch.seen if number else [])  # once: tables of a schedule
        return loss

    plain = train(method, options) if (method, options) in HALVES else None
    monkeypatch.setattr(loop._Run, "step", watched)
    monkeypatch.setattr(loop, "on_its_own", lambda device: True)
    monkeypatch.setenv("CONCEPTLIB_HOME", "another")
    again = train(method, options)
    assert seen == [[], [], []]
    assert plain is None or again.id == plain.id, "nothing else is changed by it"


@pytest.mark.parametrize("rule", [None, "sld"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_no_step_of_sampling_waits_for_the_device(
    monkeypatch: pytest.MonkeyPatch, prediction: str, rule: str | None
) -> None:
    pipe = build_pipeline(prediction_type=prediction)
    if rule:
        METHODS.get(rule).apply(pipe, METHODS.get(rule).Config(concept="a star").model_dump(mode="json"))
    draw = partial(sample, pipe, ["a ring", "a star"], [1, 2], num_steps=4, guidance_scale=3.0, batch_size=1)
    wanted = draw()
    waits: list[Callable[[], torch.Tensor]] = []
    with watching([pipe.unet, pipe.vae, pipe.text_encoder], monkeypatch) as watch:
        draw(each=lambda rows, wait: waits.append(wait))
    assert watch.seen == []
    assert torch.cat([wait() for wait in waits]).numpy().tolist() == wanted.tolist()


def test_looking_at_a_tensor_of_the_device_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, host = torch.nn.Linear(2, 2), torch.ones(2)
    looks: list[Callable[[torch.Tensor], Any]] = [
        lambda out: float(out.detach().sum()),
        lambda out: out.tolist(),
        lambda out: out.detach().numpy(),
        lambda out: bool((out > 0).any()),
        lambda out: out.detach().cpu(),
        lambda out: host.to(torch.device("cpu")),
        lambda out: torch.tensor([1], device="cpu"),
    ]
    for look in looks:
        with watching([layer], monkeypatch) as watch:
            out = layer(host)
            assert watch.seen == []
            look(out)
        assert len(watch.seen) == 1, look
    with watching([layer], monkeypatch) as watch:
        float(host.sum())
        host.tolist()
        host.to(torch.device("cpu"), non_blocking=True)
    assert watch.seen == []
