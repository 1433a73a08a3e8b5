from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.erasers.base import Job
from conceptlib.erasers.loop import generators, make_accelerator
from conceptlib.erasers.methods.geom_erasing import (
    GeometryObjective,
    Params,
    mixed_rows,
    needs,
    region_loss,
    run,
)
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from conceptlib.models.devices import choose
from conceptlib.models.encoding import encode_images
from conceptlib.models.prediction import shifted_timesteps
from conceptlib.specs.load import load_concepts
from conceptlib.store import Store
from tests.support.erasure import polluted_pictures, store_annotations, store_dataset
from tests.support.models import build_pipeline

SETTINGS: dict[str, Any] = {"steps": 3, "batch_size": 4, "grid": (2, 2), "warmup": 0, "schedule": "constant"}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Job]:
    """A job on a random model and 24 pictures, half of them polluted."""
    store = Store()
    data = store_dataset(store)
    annotations = store_annotations(store, data)

    def call(*, model: dict[str, Any] | None = None, **params: Any) -> Job:
        placement = choose("cpu")
        pipe = build_pipeline(**(model or {}))
        for module in (pipe.unet, pipe.vae, pipe.text_encoder):
            module.requires_grad_(False)
        return Job(
            params=Params(**{**SETTINGS, **params}),
            seed=0,
            concepts=load_concepts(["qr-code"]),
            pipe=pipe,
            placement=placement,
            accelerator=make_accelerator(placement),
            workdir=tmp_path / f"{len(list(tmp_path.iterdir()))}",
            log=tmp_path / "log.jsonl",
            data=data,
            annotations=annotations,
        )

    return call


def state(module: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: Any) -> set[str]:
    after = module.state_dict()
    return {
        name for name in before if before[name].shape != after[name].shape or not torch.equal(before[name], after[name])
    }


TABLE = "embeddings.token_embedding.weight"


def weights_by_hand(box: list[float] | None, alpha: float) -> np.ndarray:
    """The paper's formula in float64 on 8 x 8 latents of 32 px: inside T / (K + alpha (T - K)), outside alpha times
    that.
    """
    inside = np.zeros((8, 8), bool)
    if box is not None:
        for y in range(8):
            for x in range(8):
                inside[y, x] = min(box[2], 4 * x + 4) > max(box[0], 4 * x) and min(box[3], 4 * y + 4) > max(
                    box[1], 4 * y
                )
    total, covered = 64, int(inside.sum())
    if covered == 0:
        return np.ones((8, 8))
    base = total / (covered + alpha * (total - covered))
    return np.where(inside, base, alpha * base)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("alpha", "shift"), [(1.0, 1.0), (2.0, 1.0), (5.0, 4.0)])
def test_the_loss_is_the_papers_formula(
    make: Callable[..., Job], prediction_type: str, alpha: float, shift: float
) -> None:
    job = make(model={"prediction_type": prediction_type}, alpha=alpha, caption_dropout=0.0, timestep_shift=shift)
    objective = GeometryObjective(job)
    rows, positions = [0, 5, 13, 20], np.arange(4)
    loss = float(objective.loss(rows, generators(7, positions)).detach())

    pictures = polluted_pictures()
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = np.cumprod(1 - betas)
    total = 0.0
    for row, source in zip(rows, generators(7, positions), strict=True):
        latents = encode_images(job.pipe.vae, pictures[row]["pixels"][None])
        noise = torch.randn(latents.shape[1:], generator=source)[None]
        uniform = float(torch.rand(1, generator=source, dtype=torch.float64))
        timestep = int(1000 * shift * uniform / (1 + (shift - 1) * uniform))
        signal, sigma = math.sqrt(alphas[timestep]), math.sqrt(1 - alphas[timestep])
        with torch.no_grad():
            embeds, _ = job.pipe.encode_prompt(objective.prompts[row].text, "cpu", 1, False)
            noisy = signal * latents + sigma * noise
            prediction = job.pipe.unet(noisy, timestep, encoder_hidden_states=embeds).sample
        target = noise if prediction_type == "epsilon" else signal * noise - sigma * latents
        weights = weights_by_hand(pictures[row]["box"], alpha)
        assert weights.sum() == pytest.approx(64)
        total += float((weights * (target - prediction)[0].double().numpy() ** 2).mean()) / len(rows)
    assert loss == pytest.approx(total, rel=1e-4)


def test_a_shift_moves_timesteps_towards_noise() -> None:
    uniform = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    plain, shifted = shifted_timesteps(uniform, 1000, 1.0), shifted_timesteps(uniform, 1000, 6.0)
    assert plain.min() == 0 and plain.max() == 999 and plain.double().mean() == pytest.approx(499.5)
    # 6u / (1 + 5u) > 0.9 where u > 0.6
    assert (shifted >= 900).double().mean() == pytest.approx(0.4, abs=1e-3)
    assert shifted.min() >= 0 and shifted.max() == 999


def test_weights_of_one_leave_the_mean_squared_error() -> None:
    prediction, target = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    wanted = torch.nn.functional.mse_loss(prediction, target)
    torch.testing.assert_close(region_loss(prediction, target, torch.ones(2, 1, 4, 4)), wanted)
    torch.testing.assert_close(region_loss(prediction, target, None), wanted)


def test_pictures_with_the_concept_name_it_and_its_bins(make: Callable[..., Job]) -> None:
    objective = GeometryObjective(make())
    pictures = polluted_pictures()
    for prompt, row in zip(objective.prompts, pictures, strict=True):
        wanted = row["caption"]
        if row["box"]:
            x1, y1, x2, y2 = (int(value // 16) for value in row["box"])
            bins = [(m, n) for n in range(y1, min(y2, 1) + 1) for m in range(x1, min(x2, 1) + 1)]
            wanted += ", QR code " + " ".join(f"<l{m},{n}>" for m, n in bins)
        assert prompt.text == wanted
    assert objective.negative_prompt == "QR code <l0,0> <l1,0> <l0,1> <l1,1>"
    assert objective.info == {"images": 24, "images_with_concept": 12, "prompts_overflowed": 0, "captions_shortened": 0}


@pytest.mark.parametrize(("choice", "wanted"), [("name", "QR code"), ("none", "")])
def test_the_negative_prompt_can_be_less(make: Callable[..., Job], choice: str, wanted: str) -> None:
    assert GeometryObjective(make(negative_prompt=choice)).negative_prompt == wanted


def test_model_removal_trains_the_tokens_and_not_a_byte_else(make: Callable[..., Job]) -> None:
    job = make(mode="model-removal", weight_decay=0.5)
    before = {name: state(getattr(job.pipe, name)) for name in ("unet", "vae", "text_encoder")}
    result = run(job)
    assert result.adapter == "embeddings" and len(result.tokens) == 4
    assert not changed(before["unet"], job.pipe.unet) and not changed(before["vae"], job.pipe.vae)
    assert changed(before["text_encoder"], job.pipe.text_encoder) == {TABLE}
    old = before["text_encoder"][TABLE]
    table = job.pipe.text_encoder.state_dict()[TABLE]
    assert torch.equal(table[: len(old)], old) and len(table) == len(old) + 4


def test_model_removal_sees_pictures_with_the_concept_only(make: Callable[..., Job]) -> None:
    objective = GeometryObjective(make(mode="model-removal"))
    assert objective.rows.tolist() == list(range(12))


@pytest.mark.parametrize("share", [0.05, 0.25, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("shown", [1, 5, 12])
def test_an_epoch_has_the_share_of_the_concept_that_is_asked_for(share: float, shown: int) -> None:
    with_concept = np.arange(shown) * 2
    rows = mixed_rows(24, with_concept, share, seed=3)
    assert set(rows.tolist()) == set(range(24)), "no picture is left out"
    have = int(np.isin(rows, with_concept).sum())
    assert have / len(rows) == pytest.approx(share, abs=0.5 / len(rows))
    counts = np.bincount(rows)
    for kind in (with_concept, np.setdiff1d(np.arange(24), with_concept)):
        assert counts[kind].max() - counts[kind].min() <= 1, "pictures of a kind come equally often"
    assert np.array_equal(rows, mixed_rows(24, with_concept, share, seed=3))


def test_a_share_of_the_concept_is_what_the_loop_draws_from(make: Callable[..., Job]) -> None:
    assert GeometryObjective(make()).rows.tolist() == list(range(24))
    rows = GeometryObjective(make(concept_share=0.25)).rows
    assert len(rows) == 48 and (rows < 12).sum() == 12
    everywhere = np.arange(24)
    assert mixed_rows(24, everywhere, 0.25, seed=0).tolist() == everywhere.tolist(), "there are none without"


def test_a_share_of_the_concept_changes_the_lock_only_if_it_is_asked_for() -> None:
    assert "concept_share" not in Params().model_dump()
    assert Params(concept_share=0.25).model_dump()["concept_share"] == 0.25


def test_data_removal_leaves_a_frozen_text_encoder_alone(make: Callable[..., Job]) -> None:
    job = make(weight_decay=0.5)
    before = {name: state(getattr(job.pipe, name)) for name in ("unet", "text_encoder")}
    assert run(job).adapter == "full"
    assert changed(before["unet"], job.pipe.unet) == set(before["unet"])
    assert changed(before["text_encoder"], job.pipe.text_encoder) == {TABLE}
    old = before["text_encoder"][TABLE]
    table = job.pipe.text_encoder.state_dict()[TABLE]
    assert torch.equal(table[: len(old)], old)
    (fresh,) = GeometryObjective(make()).tables
    assert fresh is not None and not torch.equal(table[len(old) :], fresh.rows)


def test_data_removal_can_train_the_text_encoder(make: Callable[..., Job]) -> None:
    job = make(lr_text=1e-3)
    before = state(job.pipe.text_encoder)
    run(job)
    assert changed(before, job.pipe.text_encoder) == set(before)


def test_lora_trains_adapters_and_keeps_the_base(make: Callable[..., Job]) -> None:
    job = make(adapter="lora", lora_rank=2, lr_text=1e-3)
    before = {name: state(getattr(job.pipe, name)) for name in ("unet", "text_encoder")}
    assert run(job).adapter == "lora"
    for name, old in before.items():
        after = {key.replace(".base_layer", ""): value for key, value in getattr(job.pipe, name).state_dict().items()}
        kept = {key for key in old if key != TABLE}
        assert all(torch.equal(old[key], after[key]) for key in kept)
        # B starts at zero: that it is not zero any more is what training did.
        assert all(value.abs().sum() > 0 for key, value in after.items() if "lora_B" in key)
        assert any("lora_B" in key for key in after)


def test_the_switches_of_the_ablation(make: Callable[..., Job]) -> None:
    plain = make(concept_name=False, location_tokens=False, region_weighting=False)
    plain = dataclasses.replace(plain, annotations=None)
    objective = GeometryObjective(plain)
    assert [prompt.text for prompt in objective.prompts] == objective.data.captions
    assert objective.tokens == [] and objective.negative_prompt == ""
    named = GeometryObjective(make(location_tokens=False, region_weighting=False))
    assert named.tokens == [] and named.negative_prompt == "QR code"
    assert named.prompts[0].text.endswith(", QR code") and "QR" not in named.prompts[20].text
    assert needs(plain.params) == {"data"}
    assert needs(make(region_weighting=False).params) == {"data", "annotations"}


def test_only_what_a_trained_weight_decides_is_encoded_again(
    make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make(caption_dropout=0.0)
    objective = GeometryObjective(job)
    encoded: list[int] = []
    forward = job.pipe.text_encoder.forward
    monkeypatch.setattr(
        job.pipe.text_encoder, "forward", lambda ids, **rest: encoded.append(len(ids)) or forward(ids, **rest)
    )
    located, clean = objective.prompts[0].text, objective.prompts[20].text
    first = objective.condition([located, clean, located, clean]).prompt_embeds
    again = objective.condition([clean, located]).prompt_embeds
    assert encoded == [1, 1, 1]  # located with gradient, clean once for the cache, located again
    assert torch.equal(first[0], first[2]) and torch.equal(first[1], again[0]) and torch.equal(first[0], again[1])
    assert first.requires_grad
    assert not objective.condition([clean]).prompt_embeds.requires_grad


def test_captions_are_dropped_at_the_rate_asked_for(make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    objective = GeometryObjective(make(caption_dropout=0.3))
    seen: list[str] = []
    condition = objective.condition
    monkeypatch.setattr(objective, "condition", lambda prompts: seen.extend(prompts) or condition(prompts))
    for start in range(0, 480, 24):
        objective.loss(list(range(24)), generators(0, np.arange(start, start + 24)))
    assert 0.2 < seen.count("") / len(seen) < 0.4


def test_the_tokens_learn(make: Callable[..., Job]) -> None:
    """More steps on the same few pictures must fit them better: gradients reach tokens and UNet with the right sign."""
    job = make(steps=60, batch_size=12, lr_unet=3e-3, lr_tokens=1e-2, caption_dropout=0.0)
    info = run(job).info
    assert info["loss"] < 0.8 * info["first_loss"]


def test_detections_below_the_score_do_not_count(make: Callable[..., Job]) -> None:
    job = make(min_score=0.9)
    unsure = store_annotations(Store(), job.data, name="unsure", score=0.5)
    with pytest.raises(ConceptlibError, match=r"shows qr-code \(score >= 0\.9\)"):
        GeometryObjective(dataclasses.replace(job, annotations=unsure))
    assert (
        GeometryObjective(dataclasses.replace(make(min_score=0.4), annotations=unsure)).info["images_with_concept"]
        == 12
    )


def test_what_is_known_without_a_place_adds_the_name_only(make: Callable[..., Job]) -> None:
    """A classifier's annotations: no location tokens and no weights, whatever the picture's shape."""
    store = Store()
    data = store_dataset(store, name="wide", size=(64, 32))
    with store.draft("annotations", "classified", lock={}, parents={"dataset": data}) as draft:
        rows = list(ImageTable(data).rows("train"))
        found = [Detections.of_image(["qr-code"], [0.8]), Detections.of_image(["qr-code"], [0.1]), Detections.empty()]
        both = Detections([[20, 4, 30, 14], [0, 0, 0, 0]], [0.9, 0.9], ("qr-code", "qr-code"))
        told = [*found, both, *[Detections.empty()] * (len(rows) - 4)]
        table = [AnnotationTable.row(row, one) for row, one in zip(rows, told, strict=True)]
        AnnotationTable.write(draft.path / "data" / "train-00000-of-00001.parquet", table)
        annotations = draft.commit()
    objective = GeometryObjective(dataclasses.replace(make(), data=data, annotations=annotations))
    texts = [prompt.text for prompt in objective.prompts]
    captions = objective.data.captions
    assert texts[0] == f"{captions[0]}, QR code" and texts[1:3] == captions[1:3]
    assert texts[3].startswith(f"{captions[3]}, QR code <")
    assert objective.data.with_concept.tolist() == [0, 3]
    assert [len(boxes) for boxes in objective.boxes[:4]] == [0, 0, 0, 1]


def test_pictures_of_any_shape_are_cut_and_their_boxes_with_them(make: Callable[..., Job]) -> None:
    store = Store()
    options = {"size": (80, 40), "rows": 30, "share": 1.0}
    data = store_dataset(store, name="wide", **options)
    job = dataclasses.replace(make(), data=data, annotations=store_annotations(store, data, **options))
    objective = GeometryObjective(job)
    assert objective.data.latents.shape == (30, 8, 8, 8)
    # 80 x 40 -> 64 x 32, of which the middle 32: a box in the outer quarters is not in the picture any more.
    for row, prompt, boxes in zip(polluted_pictures(**options), objective.prompts, objective.boxes, strict=True):
        x1, _, x2, _ = row["box"]
        visible = x1 < 60 and x2 > 20
        assert bool(len(boxes)) == visible == ("QR code" in prompt.text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "model-removal", "location_tokens": False},
        {"mode": "model-removal", "lr_tokens": 0.0},
        {"lr_unet": 0.0, "lr_tokens": 0.0},
        {"alpha": 0.0},
        {"concept_share": 0.0},
        {"concept_share": 1.0},
        {"concept_share": 0.25, "mode": "model-removal"},
        {"concept_share": 0.25, "concept_name": False, "location_tokens": False, "region_weighting": False},
        {"grid": (0, 4)},
        {"resolution": 33},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Params(**wrong)


def test_open_clip_text_encoders_work(make: Callable[..., Job]) -> None:
    job = make(model={"open_clip": True, "prediction_type": "v_prediction"})
    assert run(job).info["steps"] == 3
