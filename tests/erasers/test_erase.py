from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from conceptlib.erasers.erase import erase
from conceptlib.erasers.methods.geom_erasing import GeometryObjective
from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact, Store
from tests.support.erasure import store_annotations, store_dataset, write_recipe


@pytest.fixture
def data() -> Artifact:
    store = Store()
    artifact = store_dataset(store)
    store_annotations(store, artifact)
    return artifact


@pytest.fixture
def call(base: Path, data: Artifact, tmp_path: Path) -> Callable[..., Artifact]:
    recipe = write_recipe(tmp_path / "recipes")

    def run(*overrides: str, **options: Any) -> Artifact:
        settings = {"data": data, "annotations": "truth", "base": base, "device": "cpu", "overrides": overrides}
        return erase(recipe, **{**settings, **options})

    return run


def test_a_checkpoint_says_where_it_comes_from(call: Callable[..., Artifact], data: Artifact) -> None:
    artifact = call()
    assert (artifact.kind, artifact.name) == ("checkpoint", "geom-erasing/test")
    annotations = Store().get("truth", kind="annotations")
    assert artifact.parents == {"dataset": data.id, "annotations": annotations.id}
    assert artifact.lock["recipe"]["params"]["steps"] == 4 and artifact.lock["base"]["sha256"]
    info = artifact.info
    assert info["steps"] == 4 and info["loss"] > 0 and info["images_with_concept"] == 12 and info["peak_memory_mb"] > 0
    assert info["prompts_overflowed"] == 0 and info["negative_prompt"].startswith("QR code <l0,0>")
    lines = [json.loads(line) for line in (artifact.path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert not (artifact.path / "work").exists() and not Store().verify(artifact)


def test_the_same_call_trains_once(call: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch) -> None:
    first = call()
    monkeypatch.setattr(GeometryObjective, "loss", lambda *args: pytest.fail("trained again"))
    assert call() == first


def test_the_same_call_elsewhere_gives_the_same_id(
    call: Callable[..., Artifact], data: Artifact, tmp_path: Path
) -> None:
    store = Store(tmp_path / "elsewhere")
    other = store_dataset(store)
    store_annotations(store, other)
    assert other.id == data.id
    assert call(data=other, store=store).id == call().id


@pytest.mark.parametrize(("stop", "adapter"), [(2, "full"), (3, "lora")])
def test_a_stopped_erasure_goes_on_and_ends_in_the_same_bits(
    call: Callable[..., Artifact],
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
    adapter: str,
    tmp_path: Path,
    data: Artifact,
) -> None:
    settings = ("steps=5", "lr_text=0.001", "ema=0.5", f"adapter={adapter}")
    store = Store(tmp_path / "elsewhere")
    store_annotations(store, store_dataset(store))
    whole = call(*settings, store=store, data="icd-test")
    loss, calls = GeometryObjective.loss, [0]

    def stopping(self: Any, rows: Any, generators: Any) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == stop + 1:
            raise KeyboardInterrupt
        return loss(self, rows, generators)

    monkeypatch.setattr(GeometryObjective, "loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        call(*settings)
    assert not Store().list("checkpoint")
    resumed = call(*settings)
    assert calls[0] == stop + 1 + 5 - stop  # it was saved between the steps, and none is done again
    assert resumed.id == whole.id
    assert [f.sha256 for f in resumed.files if not f.volatile] == [f.sha256 for f in whole.files if not f.volatile]


def test_accumulation_changes_nothing_but_the_last_bits(call: Callable[..., Artifact]) -> None:
    one, two = call(), call("gradient_accumulation=2")
    files = [load_file(artifact.path / "unet" / "diffusion_pytorch_model.safetensors") for artifact in (one, two)]
    # AdamW's first steps have the size of the rate whatever the gradient: where that is nearly 0 its sign may differ.
    apart = torch.cat([(files[0][name] - files[1][name]).abs().flatten() for name in files[0]])
    assert (apart > 1e-6).float().mean() < 0.01
    assert one.info["loss"] == pytest.approx(two.info["loss"], rel=1e-4)


def test_annotations_are_found_by_the_detectors_name(call: Callable[..., Artifact], data: Artifact) -> None:
    store = Store()
    store_annotations(store, data, name="zxing", score=0.5)
    newest = store_annotations(store, data, name="zxing", score=0.6)
    other = store_dataset(store, name="other", seed=1)
    store_annotations(store, other, name="zxing", seed=1)
    assert call(annotations="zxing").parents["annotations"] == newest.id


def test_annotations_of_another_dataset_are_refused(call: Callable[..., Artifact], data: Artifact) -> None:
    store = Store()
    other = store_dataset(store, name="other", seed=1)
    foreign = store_annotations(store, other, name="zxing", seed=1)
    with pytest.raises(ConceptlibError, match="zxing has not annotated") as caught:
        call(annotations="zxing")
    assert f"conceptlib annotate {data.ref}" in caught.value.hint
    with pytest.raises(ConceptlibError, match="of another dataset"):
        call(annotations=foreign)


def test_a_dataset_without_the_concept_is_refused(call: Callable[..., Artifact]) -> None:
    store = Store()
    clean = store_dataset(store, name="clean", share=0.0)
    store_annotations(store, clean, share=0.0)
    with pytest.raises(ConceptlibError, match="no picture of the train split shows qr-code"):
        call(data=clean)
    plain = call("concept_name=false", "location_tokens=false", "region_weighting=false", data=clean, annotations=None)
    assert plain.parents == {"dataset": clean.id} and plain.info["negative_prompt"] == ""


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"annotations": None}, "needs annotations"),
        ({"data": None, "annotations": None}, "needs annotations and data"),
        ({"data": "nothing"}, "nothing"),
        ({"annotations": "nothing"}, "nothing"),
        ({"base": "no-such-base"}, "no model"),
    ],
)
def test_what_is_missing_is_named(call: Callable[..., Artifact], options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConceptlibError, match=complaint):
        call(**options)


def test_generated_pictures_can_be_the_data(call: Callable[..., Artifact], base: Path) -> None:
    store = Store()
    images = store_dataset(store, name="drawn", kind="images")
    store_annotations(store, images, name="on-drawn")
    artifact = call("mode=model-removal", data="drawn", annotations="on-drawn")
    assert artifact.info["adapter"] == "embeddings" and artifact.parents["dataset"] == images.id


def test_a_checkpoint_is_not_data(call: Callable[..., Artifact]) -> None:
    with pytest.raises(ConceptlibError, match="of kind checkpoint"):
        call(data=call())


def test_a_full_checkpoint_can_be_the_base_of_another(call: Callable[..., Artifact]) -> None:
    first = call()
    again = call(base=first.path)
    assert again.info["steps"] == 4 and again.id != first.id


def test_encoding_goes_on_where_it_stopped(call: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch) -> None:
    from conceptlib.erasers import examples
    from conceptlib.models.families import _clip_unet as family

    monkeypatch.setattr(examples, "BATCH", 4)
    encode, seen = family.encode_images, []

    def stopping(vae: Any, pixels: Any) -> torch.Tensor:
        seen.append(len(pixels))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return encode(vae, pixels)

    monkeypatch.setattr(examples, "NOTE_EVERY", 1)
    monkeypatch.setattr(family, "encode_images", stopping)
    with pytest.raises(KeyboardInterrupt):
        call()
    monkeypatch.setattr(family, "encode_images", lambda vae, pixels: seen.append(len(pixels)) or encode(vae, pixels))
    call()
    assert seen == [4] * 3 + [4] * 4  # two of six batches were done


@pytest.mark.parametrize("adapter", ["tensors", "lora", "full"])
def test_an_erasure_that_changes_no_weight_is_an_error(adapter: str, base: Path, home: Path) -> None:
    """A rate so low that no float32 moves, as any other cause: for every method and form."""
    few = ["steps=1", "batch_size=1", "trajectories=1", "num_steps=2", "weight_decay=0", "lr=1e-30", "targets=[moon]"]
    with pytest.raises(ConceptlibError, match="changed nothing"):
        erase("esd/object", base=base, overrides=[*few, f"adapter={adapter}"], device="cpu")
    assert not list((home / "artifacts").glob("checkpoint/*/*"))
