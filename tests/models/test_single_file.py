"""Whole models in one file, against the pipelines that they were written from."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from conceptlib.erasers.checkpoint import load
from conceptlib.errors import ConceptlibError
from conceptlib.models import single_file
from conceptlib.models.bases import artifact_name
from conceptlib.models.compvis import UNET_PREFIX, VAE_PREFIX, unet_names
from conceptlib.models.family import of
from conceptlib.models.loading import base_lock, load_pipeline, resolution_of
from conceptlib.store.hashing import sha256_file
from tests.support.compvis import save_single, tensors, vae_name
from tests.support.models import build_pipeline


@pytest.fixture(scope="module")
def pipe() -> Any:
    return build_pipeline(seed=3)


def same(opened: Any, pipe: Any, *, dtype: torch.dtype = torch.float32) -> None:
    for name, module in of(opened).components().items():
        wanted = dict(getattr(pipe, name).named_parameters())
        found = dict(module.named_parameters())
        assert set(found) == set(wanted)
        for key, value in found.items():
            assert torch.equal(value.detach(), wanted[key].detach().to(dtype).float()), f"{name}.{key}"


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_file_is_the_model_that_it_was_written_from(
    tmp_path: Path, base: Path, pipe: Any, ending: str, dtype: torch.dtype
) -> None:
    path = save_single(pipe, tmp_path / f"my.model.{ending}", configs=base, dtype=dtype)
    opened = load_pipeline(path, device="cpu")
    same(opened, pipe, dtype=dtype)
    assert opened.tokenizer("a ring").input_ids == pipe.tokenizer("a ring").input_ids
    assert not opened.unet.training and not any(value.requires_grad for value in opened.unet.parameters())
    assert resolution_of(path) == resolution_of(base)
    same(load(path, device="cpu"), pipe, dtype=dtype)


def test_the_file_and_what_is_beside_it_are_the_identity(tmp_path: Path, base: Path, pipe: Any) -> None:
    alone = save_single(pipe, tmp_path / "one" / "model.safetensors")
    assert base_lock(alone) == {"ref": str(alone), "revision": None, "sha256": sha256_file(alone)}
    told = save_single(pipe, tmp_path / "two" / "other.safetensors", configs=base)
    again = save_single(pipe, tmp_path / "three" / "model.safetensors", configs=base)
    assert base_lock(told)["sha256"] == base_lock(again)["sha256"] != base_lock(alone)["sha256"]
    scheduler = told.with_suffix("") / "scheduler/scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("epsilon", "v_prediction"))
    assert base_lock(told)["sha256"] != base_lock(again)["sha256"]
    assert load_pipeline(told, device="cpu").scheduler.config.prediction_type == "v_prediction"


def without(prefix: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda found: {name: value for name, value in found.items() if not name.startswith(prefix)}


FIRST = UNET_PREFIX + "input_blocks.0.0.weight"
WRONG: list[tuple[str, Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]]] = [
    ("no UNet", without(UNET_PREFIX)),
    ("no autoencoder", without(VAE_PREFIX)),
    ("no text encoder", without("cond_stage_model")),
    ("inpainting", lambda found: found | {FIRST: torch.zeros(8, 9, 3, 3)}),
    ("Stable Diffusion XL", lambda found: found | {"conditioner.embedders.0.x": torch.zeros(1)}),
    ("transformer", lambda found: found | {UNET_PREFIX + "joint_blocks.0.x": torch.zeros(1)}),
    ("model cannot be loaded|missing", lambda found: {n: v for n, v in found.items() if "middle_block.0" not in n}),
    ("missing", lambda found: {n: v for n, v in found.items() if "layers.1.mlp.fc1.weight" not in n}),
    ("cannot be loaded", lambda found: found | {FIRST: torch.zeros(4, 8, 3, 3)}),
]


@pytest.mark.parametrize(("words", "change"), WRONG, ids=[words for words, _ in WRONG])
def test_what_is_no_whole_model_is_told(
    tmp_path: Path, base: Path, pipe: Any, words: str, change: Callable[..., dict[str, torch.Tensor]]
) -> None:
    path = save_single(pipe, tmp_path / "model.safetensors", configs=base)
    save_file(change(tensors(pipe)), path)
    with pytest.raises(ConceptlibError, match=words) as caught:
        load_pipeline(path, device="cpu")
    assert str(path) in str(caught.value)


def test_a_width_of_neither_family_wants_a_folder_of_configurations(tmp_path: Path) -> None:
    path = little(tmp_path / "model.safetensors", 32)
    with pytest.raises(ConceptlibError, match="width 32, not of 768 or 1024"):
        load_pipeline(path, device="cpu")


class Harm:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("harmed"),))


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
def test_nothing_of_a_pickle_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}, "other": Harm()}, tmp_path / name)
    with pytest.raises(ConceptlibError, match="nothing of it was run"):
        load_pipeline(tmp_path / name, device="cpu")
    (tmp_path / name).write_bytes(pickle.dumps(Harm()))
    with pytest.raises(ConceptlibError):
        load_pipeline(tmp_path / name, device="cpu")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("data", [b"", b"x", b"\x00" * 100, b"version https://git-lfs.github.com/spec/v1\n"])
@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
def test_a_damaged_file_is_told(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConceptlibError, match=r"cannot be read|holds more than tensors"):
        load_pipeline(tmp_path / name, device="cpu")


def little(path: Path, width: int, metadata: dict[str, str] | None = None, **more: torch.Tensor) -> Path:
    """As much of a whole model as tells what it is."""
    names = {UNET_PREFIX + "input_blocks.0.0.weight": (320, 4, 3, 3), "first_stage_model.decoder.conv_in.bias": (1,)}
    names |= {UNET_PREFIX + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (8, width)}
    names |= {"cond_stage_model.model.ln_final.weight" if width == 1024 else single_file.TEXT_PREFIX + "x": (1,)}
    save_file({name: torch.zeros(shape) for name, shape in names.items()} | more, path, metadata)
    return path


@pytest.mark.parametrize(
    ("width", "sidecar", "metadata", "marked", "wanted"),
    [
        (768, None, None, False, "epsilon"),
        (768, None, None, True, "v_prediction"),
        (768, "model: {params: {parameterization: v}}", None, False, "v_prediction"),
        (768, "model: {params: {other: 1}}", None, False, "epsilon"),
        (768, "model: {params: {parameterization: eps}}", {"modelspec.prediction_type": "v"}, True, "epsilon"),
        (1024, "model: {params: {parameterization: v}}", None, False, "v_prediction"),
        (1024, "model: {params: {parameterization: eps}}", None, False, "epsilon"),
        (1024, None, {"modelspec.prediction_type": "epsilon"}, False, "epsilon"),
        (1024, None, {"modelspec.prediction_type": "v"}, False, "v_prediction"),
        (1024, None, {"modelspec.architecture": "stable-diffusion-v2-768-v"}, False, "v_prediction"),
        (1024, None, {"modelspec.architecture": "stable-diffusion-v2-512/lora"}, False, "epsilon"),
        (1024, None, None, True, "v_prediction"),
        (1024, None, None, False, None),
        (1024, None, {"modelspec.architecture": "stable-diffusion-v1"}, False, None),
    ],
)
def test_what_a_file_predicts_is_told_by_what_is_said_of_it(
    tmp_path: Path, width: int, sidecar: str | None, metadata: Any, marked: bool, wanted: str | None
) -> None:
    path = little(tmp_path / "model.safetensors", width, metadata, **({"v_pred": torch.zeros(1)} if marked else {}))
    if sidecar is not None:
        path.with_suffix(".yaml").write_text(sidecar)
    if wanted is None:
        with pytest.raises(ConceptlibError, match="predicts noise or v") as caught:
            single_file.about(path)
        assert "model.yaml" in caught.value.hint
        return
    assert single_file.about(path).prediction_type == wanted
    assert single_file.resolution(path) == (768 if (width, wanted) == (1024, "v_prediction") else 512)
    assert (single_file.lock(path)["sha256"] == sha256_file(path)) == (sidecar is None)


@pytest.mark.parametrize("text", ["[", "- 1", "model: {params: {parameterization: x0}}", "a: !!python/name:os.system"])
def test_a_sidecar_that_says_nonsense_is_told(tmp_path: Path, text: str) -> None:
    path = little(tmp_path / "model.safetensors", 768)
    path.with_suffix(".yaml").write_text(text)
    with pytest.raises(ConceptlibError, match=r"no configuration|unknown parameterization"):
        single_file.about(path)


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_the_configurations_are_those_of_stable_diffusion(family: str) -> None:
    """Sizes that are known of the published files, on no device."""
    folder = single_file.CONFIGS / family
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(json.loads((folder / "unet/config.json").read_text()))
        vae = AutoencoderKL.from_config(json.loads((folder / "vae/config.json").read_text()))
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))
    sizes = [sum(value.numel() for value in module.parameters()) for module in (unet, vae, text)]
    assert sizes == [
        {"sd1": 859_520_964, "sd2": 865_910_724}[family],
        83_653_863,
        {"sd1": 123_060_480, "sd2": 340_387_840}[family],
    ]
    own = dict(unet.named_parameters())
    whole = {UNET_PREFIX + theirs: own[ours] for theirs, ours in unet_names(unet).items()}
    assert {*convert_ldm_unet_checkpoint(whole, dict(unet.config))} == {*own}
    names = {VAE_PREFIX + vae_name(name, 4): value for name, value in vae.named_parameters()}
    assert {*convert_ldm_vae_checkpoint(names, dict(vae.config))} == {*dict(vae.named_parameters())}


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_the_vocabulary_is_clips(family: str) -> None:
    found = single_file._tokenizer(single_file.About(single_file.CONFIGS / family, "epsilon"))
    assert len(found) == 49408 and found.model_max_length == 77
    assert found("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert found("A  Photograph of an astronaut").input_ids[1:-1] == [320, 8853, 539, 550, 18376]
    padded = found("cat", padding="max_length", max_length=5).input_ids
    assert padded == [49406, 2368, 49407, *([0, 0] if family == "sd2" else [49407, 49407])]


def test_a_2x_is_read_with_open_clips_names(tmp_path: Path, base: Path) -> None:
    pipe = build_pipeline(open_clip=True, prediction_type="v_prediction")
    path = save_single(pipe, tmp_path / "model.safetensors", configs=base)
    theirs = {"cond_stage_model.model." + name: value for name, value in open_clip(pipe.text_encoder).items()}
    save_file(without("cond_stage_model")(tensors(pipe)) | theirs, path)
    opened = load_pipeline(path, device="cpu")
    same(opened, pipe)


def open_clip(text_encoder: Any) -> dict[str, torch.Tensor]:
    """The names of OpenCLIP, which keeps queries, keys and values in one matrix."""
    own = {name: value.detach().clone() for name, value in text_encoder.named_parameters()}
    found = {
        "token_embedding.weight": own["embeddings.token_embedding.weight"],
        "positional_embedding": own["embeddings.position_embedding.weight"],
        "ln_final.weight": own["final_layer_norm.weight"],
        "ln_final.bias": own["final_layer_norm.bias"],
    }
    inner = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    inner["self_attn.out_proj"] = "attn.out_proj"
    for name, value in own.items():
        match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if match and match[2] in inner:
            found[f"transformer.resblocks.{match[1]}.{inner[match[2]]}.{match[3]}"] = value
        elif match and match[2].endswith("q_proj"):
            parts = [own[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            found[f"transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"] = torch.cat(parts)
    return found


def test_artifacts_of_a_base_are_named_by_it_and_not_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "my model.safetensors").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    names = {str(tmp_path / "my model.safetensors"): "my-model", str(tmp_path / "folder"): "folder"}
    names |= {"org/name@main": "org/name", "tiny": "tiny"}
    assert {base: artifact_name(base) for base in names} == names
