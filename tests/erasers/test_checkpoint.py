from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

import conceptlib
from conceptlib.erasers.checkpoint import Checkpoint, load
from conceptlib.erasers.draw import draw
from conceptlib.erasers.erase import erase
from conceptlib.errors import ConceptlibError
from conceptlib.models.generate import generate
from conceptlib.models.sampling import sample
from conceptlib.store import Artifact, Store
from tests.support.erasure import store_annotations, store_dataset, weights_alone, write_recipe
from tests.support.models import save_pipeline

NEGATIVE = "QR code <l0,0> <l1,0> <l0,1> <l1,1>"
KINDS: dict[str, tuple[str, ...]] = {
    "full": ("lr_text=0.001",),
    "lora": ("adapter=lora", "lora_rank=2", "lr_text=0.01", "lr_unet=0.01"),
    "embeddings": ("mode=model-removal", "lr_tokens=0.1"),
}


@pytest.fixture
def make(base: Path, tmp_path: Path) -> Callable[[str], Artifact]:
    store = Store()
    store_annotations(store, store_dataset(store))
    recipe = write_recipe(tmp_path / "recipes")

    def call(kind: str) -> Artifact:
        return erase(recipe, data="icd-test", annotations="truth", base=base, overrides=KINDS[kind], device="cpu")

    return call


def picture(pipe: Any, **options: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    return np.asarray(pipe("a ring", num_inference_steps=2, generator=generator, output_type="np", **options).images[0])


def by_hand(kind: str, folder: Path, base: Path) -> Any:
    """Open a checkpoint with what diffusers and transformers offer, without conceptlib."""
    if kind == "full":
        return StableDiffusionPipeline.from_pretrained(folder)
    from transformers import CLIPTokenizer

    pipe = StableDiffusionPipeline.from_pretrained(base)
    pipe.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    pipe.text_encoder.resize_token_embeddings(len(pipe.tokenizer), mean_resizing=False)
    with torch.no_grad():
        for token, row in load_file(folder / "learned_embeds.safetensors").items():
            pipe.text_encoder.get_input_embeddings().weight[pipe.tokenizer.convert_tokens_to_ids(token)] = row
    if kind == "lora":
        pipe.load_lora_weights(folder)
    return pipe


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_checkpoint_opens_with_plain_diffusers_and_draws_the_same(
    make: Callable[[str], Artifact], base: Path, kind: str
) -> None:
    artifact = make(kind)
    ours, theirs = load(artifact, device="cpu"), by_hand(kind, artifact.path, base)
    theirs.set_progress_bar_config(disable=True)
    wanted = picture(theirs, negative_prompt=NEGATIVE)
    np.testing.assert_allclose(picture(ours), wanted, atol=1e-3)
    # The erasure is in the weights as well as in the negative prompt, and the test can tell.
    untouched = StableDiffusionPipeline.from_pretrained(base)
    assert np.abs(wanted - picture(untouched, negative_prompt=NEGATIVE)).max() > 2e-3
    names = {file.path for file in artifact.files}
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert ("model_index.json" in names) == (kind == "full") and ("pytorch_lora_weights.safetensors" in names) == (
        kind == "lora"
    )


def test_the_negative_prompt_is_applied_unless_the_caller_gives_one(make: Callable[[str], Artifact]) -> None:
    pipe = load(make("full"), device="cpu")
    assert pipe.negative_prompt_default == NEGATIVE
    by_default = picture(pipe)
    assert np.array_equal(by_default, picture(pipe, negative_prompt=NEGATIVE))
    without = picture(pipe, negative_prompt="")
    assert not np.array_equal(by_default, without)
    pipe.negative_prompt_default = ""
    assert np.array_equal(picture(pipe), without)


def test_the_default_fits_every_way_to_give_prompts(make: Callable[[str], Artifact]) -> None:
    pipe = load(make("full"), device="cpu")
    options = {"num_inference_steps": 1, "output_type": "np"}
    single = pipe("a ring", latents=torch.ones(1, 8, 8, 8), **options).images
    assert pipe(["a", "b"], num_images_per_prompt=2, **options).images.shape == (4, 32, 32, 3)
    embeds, negative = pipe.encode_prompt("a ring", "cpu", 1, True)
    assert torch.equal(negative, pipe.encode_prompt(NEGATIVE, "cpu", 1, False)[0])
    drawn = pipe(prompt_embeds=embeds, latents=torch.ones(1, 8, 8, 8), **options).images
    np.testing.assert_allclose(drawn, single, atol=1e-5)
    ours = pipe(prompt_embeds=embeds, negative_prompt_embeds=embeds, latents=torch.ones(1, 8, 8, 8), **options).images
    assert not np.allclose(ours, single)


def test_sampling_uses_the_default_too(make: Callable[[str], Artifact]) -> None:
    pipe = load(make("full"), device="cpu")
    wanted = sample(pipe, ["a ring"], [0], negative_prompts=NEGATIVE, num_steps=2)
    assert np.array_equal(sample(pipe, ["a ring"], [0], num_steps=2), wanted)


def test_a_loaded_pipeline_saves_a_plain_one(make: Callable[[str], Artifact], tmp_path: Path) -> None:
    pipe = load(make("lora"), device="cpu")
    pipe.unload_lora_weights()
    pipe.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "model_index.json").read_text())["_class_name"] == "StableDiffusionPipeline"


def test_checkpoints_open_by_name_id_folder_and_artifact(make: Callable[[str], Artifact], tmp_path: Path) -> None:
    artifact = make("embeddings")
    copy = shutil.copytree(artifact.path, tmp_path / "copy")
    for ref in (artifact, "geom-erasing/test", artifact.id, artifact.path, str(copy)):
        pipe = conceptlib.load(ref, device="cpu")
        assert pipe.checkpoint is not None and pipe.checkpoint.concepts == ("qr-code",)


def test_a_base_opens_without_a_default(base: Path) -> None:
    pipe = load(base, device="cpu")
    assert pipe.checkpoint is None and pipe.negative_prompt_default == ""


def test_what_is_no_checkpoint_names_the_next_command(home: Path) -> None:
    with pytest.raises(ConceptlibError, match="nonsense"):
        load("nonsense")
    with pytest.raises(ConceptlibError, match="org/nothing"):
        load("org/nothing")


def test_a_base_that_changed_is_told(make: Callable[[str], Artifact], base: Path, tmp_path: Path) -> None:
    artifact = make("embeddings")
    other = save_pipeline(tmp_path / "other", seed=1)
    folder = weights_alone(artifact, tmp_path / "copy")
    record = json.loads((folder / "checkpoint.json").read_text())
    record["base"]["ref"] = str(other)
    (folder / "checkpoint.json").write_text(json.dumps(record))
    with pytest.raises(ConceptlibError, match="has changed"):
        load(folder, device="cpu")
    pipe = load(folder, device="cpu", base=other)
    assert torch.equal(pipe.unet.conv_in.weight, load(other, device="cpu").unet.conv_in.weight)
    record["base"]["ref"] = str(tmp_path / "gone")
    (folder / "checkpoint.json").write_text(json.dumps(record))
    with pytest.raises(ConceptlibError, match="needs its base") as caught:
        load(folder, device="cpu")
    assert "base=" in caught.value.hint


def test_a_base_of_another_width_is_refused(make: Callable[[str], Artifact], tmp_path: Path) -> None:
    other = save_pipeline(tmp_path / "other", text_width=48)
    with pytest.raises(ConceptlibError, match="wants 48"):
        load(make("embeddings"), device="cpu", base=other)


def test_a_full_checkpoint_takes_no_base(make: Callable[[str], Artifact], base: Path) -> None:
    with pytest.raises(ConceptlibError, match="takes no base"):
        load(make("full"), device="cpu", base=base)


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("kind", "file", "change", "complaint"),
    [
        ("embeddings", "learned_embeds.safetensors", lambda t: t.pop("<l0,0>"), "differ: <l0,0>"),
        ("embeddings", "learned_embeds.safetensors", lambda t: t.update({"<x>": torch.ones(32)}), "differ: <x>"),
        ("full", "learned_embeds.safetensors", lambda t: t["<l0,0>"].add_(1), "is not the learned one"),
        ("full", "unet/diffusion_pytorch_model.safetensors", lambda t: t.pop("conv_out.bias"), r"conv_out\.bias"),
        ("lora", "pytorch_lora_weights.safetensors", lambda t: t.pop(sorted(t)[0]), "LoRA"),
    ],
)
def test_tensors_that_do_not_match_are_found(
    make: Callable[[str], Artifact], tmp_path: Path, kind: str, file: str, change: Callable[[Any], Any], complaint: str
) -> None:
    folder = weights_alone(make(kind), tmp_path / "copy")
    rewrite(folder / file, change)
    with pytest.raises(ConceptlibError, match=complaint):
        load(folder, device="cpu")


@pytest.mark.parametrize("kind", list(KINDS))
def test_flipped_bytes_are_an_error_and_never_drawn_with(make: Callable[[str], Artifact], kind: str) -> None:
    artifact = make(kind)
    rows = [{"caption": "a ring", "seed": 3}]
    load(artifact, device="cpu")
    weights = max((artifact.path / entry.path for entry in artifact.files), key=lambda path: path.stat().st_size)
    data = bytearray(weights.read_bytes())
    data[-50] ^= 255
    weights.write_bytes(data)
    for ref in (artifact, artifact.name, artifact.path):
        with pytest.raises(
            ConceptlibError, match="is damaged: its bytes are not those that the manifest names"
        ) as caught:
            load(ref, device="cpu")
        assert caught.value.where == str(weights) and "--repair" in caught.value.hint
    with pytest.raises(ConceptlibError, match="is damaged"):
        generate(artifact, rows, num_steps=1, device="cpu")
    assert Store().list("images") == []


@pytest.mark.parametrize("text", ["", "{}", '{"adapter": "magic"}', "[]"])
def test_a_description_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "checkpoint.json").write_text(text)
    with pytest.raises(ConceptlibError):
        Checkpoint.read(tmp_path)


def test_pictures_of_a_checkpoint_have_it_as_their_parent(make: Callable[[str], Artifact]) -> None:
    artifact = make("full")
    rows = [{"caption": "a ring", "seed": 3}]
    images = generate("geom-erasing/test", rows, num_steps=1, device="cpu")
    assert images.parents == {"checkpoint": artifact.id} and images.info["negative_prompt"] == NEGATIVE
    without = generate(artifact, rows, negative="none", num_steps=1, device="cpu")
    assert without.info["negative_prompt"] == "" and without.id != images.id


def test_drawing_with_and_without_erasure(make: Callable[[str], Artifact], base: Path, tmp_path: Path) -> None:
    artifact = make("full")
    options: dict[str, Any] = {"count": 3, "seed": 5, "steps": 2, "device": "cpu"}
    both = draw(artifact, "a ring", mode="compare", **options)
    assert both.pixels.shape == (2, 3, 32, 32, 3) and both.rows == (f"{base} (without erasure)", "geom-erasing/test")
    assert np.array_equal(both.pixels[0], draw(artifact, "a ring", mode="without", **options).pixels[0])
    assert np.array_equal(both.pixels[0], draw(base, "a ring", **options).pixels[0])
    assert np.array_equal(both.pixels[1], draw(artifact, "a ring", **options).pixels[0])
    assert both.image().width > 3 * 128  # the grid of named rows has tests of its own
    assert both.save(tmp_path / "x.png").is_file()
    with pytest.raises(ConceptlibError, match=r"\.jpg"):
        both.save("x.jpg")
    with pytest.raises(ConceptlibError, match="nothing erased"):
        draw(base, "a ring", mode="compare", **options)
