from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from conceptlib.erasers.anchors import Anchors
from conceptlib.erasers.erase import erase
from conceptlib.erasers.loop import generators
from conceptlib.erasers.methods import ablating
from conceptlib.erasers.methods.ablating import AblatingObjective, Params
from conceptlib.errors import ConceptlibError
from conceptlib.models.parts import select
from conceptlib.store import Store
from tests.support.erasure import store_dataset
from tests.support.jobs import adam_step, build_job, concept, epsilon

SETTINGS: dict[str, Any] = {
    "steps": 1, "batch_size": 4, "images": 4, "num_steps": 2, "schedule": "constant", "weight_decay": 0.0,
    "grad_clip": 0.0, "lr": 1e-3, "anchor": ("ring",), "templates": ("a {}", "the {} at night"),
}  # fmt: skip


class BeginMarkAside(torch.nn.Module):
    """Keys or values with the first token's computed apart, without gradients: written anew for the test."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            first = self.layer(states[:, :1])
        return torch.cat([first, self.layer(states[:, 1:])], dim=1)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    "options",
    [
        {"variant": "model", "prior_weight": 0.0},
        {"variant": "model", "prior_weight": 0.7, "part": "attention"},
        {"variant": "noise", "loss": "l1"},
        {"variant": "model", "prior_weight": 0.7, "convention": "release"},
    ],
    ids=["model", "prior", "noise", "release"],
)
def test_loss_and_update_are_those_of_the_paper(tmp_path: Path, prediction_type: str, options: dict[str, Any]) -> None:
    params = Params(**{**SETTINGS, **options})
    job = build_job(tmp_path, params, ("red star",), prediction_type=prediction_type)
    student = copy.deepcopy(job.pipe.unet)
    pairs = [("a ring", "a red star"), ("the ring at night", "the red star at night")] * 2
    ablating.run(job)

    # The same random numbers, drawn as the docs say: noise, timestep, then the prior's picture, noise and timestep.
    (path,) = (tmp_path / "work").glob("anchor-*.safetensors")
    pictures = load_file(path)["latents"]
    from conceptlib.erasers.loop import stream

    positions = torch.arange(4).numpy()
    rows, sources = stream(job.seed, 4, positions), generators(job.seed, positions)
    bars = job.pipe.scheduler.alphas_cumprod.double()

    def noised(chosen: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        noise = torch.stack([torch.randn(pictures.shape[1:], generator=source) for source in sources]).double()
        times = torch.tensor([int(1000 * torch.rand(1, generator=source, dtype=torch.float64)) for source in sources])
        bar = bars[times].reshape(-1, 1, 1, 1)
        return bar**0.5 * pictures[chosen] + (1 - bar) ** 0.5 * noise, noise, times

    latents, noise, times = noised(rows)
    trained = select(student, params.part)
    with torch.no_grad():
        target = epsilon(job.pipe, student, latents, times, [pairs[row][0] for row in rows])
    if params.variant == "noise":
        target = noise
    for parameter in trained.values():
        parameter.requires_grad_(True)
    for module in student.modules():
        if hasattr(module, "attn2"):
            module.attn2.to_k, module.attn2.to_v = BeginMarkAside(module.attn2.to_k), BeginMarkAside(module.attn2.to_v)
    measure = torch.abs if params.loss == "l1" else torch.square
    said = epsilon(job.pipe, student, latents, times, [pairs[row][1] for row in rows])
    loss = measure(said - target).mean()
    if params.convention == "release":
        loss = measure(said - target).sum(dim=1).mean()
    if params.prior_weight:
        others = [int(torch.randint(4, (), generator=source)) for source in sources]
        latents, noise, times = noised(others)
        prior = epsilon(job.pipe, student, latents, times, [pairs[row][0] for row in others])
        loss = loss + params.prior_weight * measure(prior - noise).mean()
    gradients = torch.autograd.grad(loss, list(trained.values()))
    now = dict(job.pipe.unet.named_parameters())
    for (name, before), gradient in zip(trained.items(), gradients, strict=True):
        torch.testing.assert_close(now[name], adam_step(before, gradient, params.lr), rtol=1e-8, atol=1e-8)
        assert not torch.equal(now[name], before)
    untouched = set(now) - set(trained)
    old = {name.replace(".layer.", "."): value for name, value in student.named_parameters()}
    assert all(torch.equal(now[name], old[name]) for name in untouched)


@pytest.mark.parametrize(
    ("anchors", "wanted"),
    [
        (Anchors("object", ("cat",), templates=("a {}",)), [("a cat", "a grumpy cat")]),
        (Anchors("object", ("dog",), {"grumpy-cat": ("cat",)}, ("a {}",)), [("a cat", "a grumpy cat")]),
        (
            Anchors("object", (), {"grumpy cat": ("cat", "pet")}, ("{}",)),
            [("cat", "grumpy cat"), ("pet", "grumpy cat")],
        ),
        (Anchors("style", (), templates=("a {}",)), [("a painting", "a painting, in the style of grumpy cat")]),
        (Anchors("memorised", ("a pet", "an animal")), [("a pet", "grumpy cat"), ("an animal", "grumpy cat")]),
    ],
)
def test_prompts_pair_the_anchor_with_the_concept(anchors: Anchors, wanted: list[tuple[str, str]]) -> None:
    assert anchors.pairs(concept("grumpy cat")) == wanted


def test_captions_that_name_the_anchor_make_pairs() -> None:
    captions = ["a Cat on a mat", "a category", "a dog", "two cats and a cat", ""]
    objects = Anchors("object", ("cat",)).of_captions(concept("grumpy cat"), captions)
    assert objects == {
        0: (captions[0], "a grumpy cat on a mat"),
        3: (captions[3], "two cats and a grumpy cat"),
    }
    styles = Anchors("style", ("dog",)).of_captions(concept("Van Gogh"), captions)
    assert styles == {2: ("a dog", "a dog, in the style of Van Gogh")}
    assert list(Anchors("memorised").of_captions(concept("x"), captions)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("anchors", "complaint"),
    [
        (Anchors("object"), "has no anchor"),
        (Anchors("object", (" ",)), "has no anchor"),
        (Anchors("object", ("cat", "Grumpy Cat ")), "is the concept itself"),
        (Anchors("memorised", ("grumpy cat",)), "is the concept itself"),
    ],
)
def test_an_anchor_must_be_something_else(anchors: Anchors, complaint: str) -> None:
    with pytest.raises(ConceptlibError, match=complaint):
        anchors.drawn([concept("grumpy cat")], 100)


def test_several_concepts_take_turns(tmp_path: Path) -> None:
    params = Params(**{**SETTINGS, "anchors": {"a star": ("an animal",)}, "images": 5})
    objective = AblatingObjective(build_job(tmp_path, params, ("a heart", "a star")))
    assert [pair[1] for pair in objective.pairs] == [
        "a a heart", "the a heart at night", "a a star", "the a star at night", "a a heart",
    ]  # fmt: skip
    assert objective.pairs[2][0] == "a an animal"
    with pytest.raises(ConceptlibError, match="do not reach for 4 anchor prompts"):
        AblatingObjective(build_job(tmp_path, params.model_copy(update={"images": 3}), ("a heart", "a star")))


@pytest.mark.parametrize("options", [{"templates": ("none",)}, {"guidance_scale": 1.0}, {"part": "nose"}])
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Params(**options)


def write(folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(
        "kind: recipe\nname: ablating/test\nmethod: ablating\ntargets: [a mean ring]\n"
        "params: {steps: 3, batch_size: 4, images: 8, num_steps: 2, anchor: [ring], lr: 0.001, checkpoint_every: 1}\n"
    )
    return path


def test_a_stopped_run_goes_on_and_ends_in_the_same_bits(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write(tmp_path)
    options: dict[str, Any] = {"base": base, "device": "cpu", "overrides": ["adapter=lora", "prior_weight=1.0"]}
    whole = erase(recipe, store=Store(tmp_path / "elsewhere"), **options)
    real, calls = AblatingObjective.loss, [0]

    def stopping(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(AblatingObjective, "loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        erase(recipe, **options)
    assert erase(recipe, **options).id == whole.id and whole.info["images"] == 8


def test_given_pictures_stand_in_for_drawn_ones(base: Path, tmp_path: Path) -> None:
    recipe, store = write(tmp_path), Store()
    data = store_dataset(store)
    artifact = erase(recipe, data=data, base=base, device="cpu")
    assert artifact.parents == {"dataset": data.id} and artifact.info["images"] == 6  # "a yellow ring", of 24
    with pytest.raises(ConceptlibError, match="no caption of the train split names an anchor"):
        erase(recipe, data=data, base=base, device="cpu", overrides=["anchor=[elephant]"])
