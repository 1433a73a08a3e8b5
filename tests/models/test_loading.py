from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conceptlib.errors import ConceptlibError
from conceptlib.models.devices import choose, narrow
from conceptlib.models.loading import base_lock, default_resolution, load_pipeline, load_source, quiet, resolve_base
from tests.support.models import build_pipeline, build_tokenizer, save_pipeline


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """A copy of the base that a test may damage."""
    return Path(shutil.copytree(base, tmp_path / "copy"))


def test_a_folder_loads_whole_with_gradients_off(base: Path) -> None:
    pipe = load_pipeline(base, device="cpu")
    stored = load_file(base / "unet" / "diffusion_pytorch_model.safetensors")
    state = pipe.unet.state_dict()
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[name], stored[name]) for name in stored)
    assert not any(p.requires_grad for module in (pipe.unet, pipe.vae, pipe.text_encoder) for p in module.parameters())
    assert pipe.safety_checker is None and default_resolution(pipe) == 32


@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
def test_weights_are_widened_and_laid_out_without_a_bit_lost(copy: Path, stored: torch.dtype) -> None:
    for path in (copy / "unet", copy / "vae"):
        file = path / "diffusion_pytorch_model.safetensors"
        save_file({name: value.to(stored) for name, value in load_file(file).items()}, file, metadata={"format": "pt"})
    pipe = load_pipeline(copy, device="cpu")
    for part in ("unet", "vae"):
        wanted = load_file(copy / part / "diffusion_pytorch_model.safetensors")
        state = getattr(pipe, part).state_dict()
        assert state.keys() == wanted.keys()
        for name, value in state.items():
            assert value.dtype == torch.float32 and torch.equal(value, wanted[name].float()), name
            assert value.dim() != 4 or value.is_contiguous(memory_format=torch.channels_last), name


def test_loading_says_nothing(base: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    load_pipeline(base, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert not [warning for warning in recwarn if issubclass(warning.category, (FutureWarning, UserWarning))]


def test_the_dtype_reaches_every_component(base: Path) -> None:
    pipe = load_pipeline(base, device="cpu", dtype="bfloat16")
    assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.bfloat16}


def test_a_lock_follows_the_weights_not_the_place(base: Path, copy: Path) -> None:
    assert base_lock(base)["sha256"] == base_lock(copy)["sha256"]
    path = copy / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, path, metadata={"format": "pt"})
    assert base_lock(base)["sha256"] != base_lock(copy)["sha256"]


def test_a_scheduler_is_part_of_the_lock(base: Path, copy: Path) -> None:
    path = copy / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace('"epsilon"', '"v_prediction"'))
    assert base_lock(base)["sha256"] != base_lock(copy)["sha256"]


@pytest.mark.parametrize("left", [(), ("tokenizer_config.json",)])
def test_a_base_without_its_vocabulary_is_refused(copy: Path, left: tuple[str, ...]) -> None:
    for path in (copy / "tokenizer").iterdir():
        if path.name not in left:
            path.unlink()
    with pytest.raises(ConceptlibError, match="tokenizer"):
        load_pipeline(copy, device="cpu")


def test_a_tokenizer_of_another_model_is_refused(copy: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.add_tokens([f"<extra-{number}>" for number in range(9)])
    tokenizer.save_pretrained(copy / "tokenizer")
    with pytest.raises(ConceptlibError, match="its tokenizer knows"):
        load_pipeline(copy, device="cpu")


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "/not/there", "./nor-here", "org/"])
def test_what_is_no_model_is_refused(name: str) -> None:
    with pytest.raises(ConceptlibError, match="no model"):
        resolve_base(name)


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match=r"model_index\.json"):
        resolve_base(tmp_path)


def test_a_hub_id_may_carry_a_revision() -> None:
    source = resolve_base("org/name@abc")
    assert (source.location, source.revision, source.on_hub) == ("org/name", "abc", True)


def test_a_hub_model_that_is_not_here_offline_says_how_to_get_it() -> None:
    with pytest.raises(ConceptlibError, match="out of reach") as caught:
        load_pipeline("org/not-in-the-cache", device="cpu")
    assert "hf download org/not-in-the-cache" in caught.value.hint and "tiny" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"controlnet": ["diffusers", "ControlNetModel"]}, "a controlnet as well"),
        ({"unet": [None, None], "transformer": ["diffusers", "FluxTransformer2DModel"]}, "has no unet"),
        ({"text_encoder": ["transformers", "T5EncoderModel"]}, "T5EncoderModel"),
    ],
)
def test_another_family_is_refused_by_its_index(
    copy: Path, change: dict[str, list[str | None]], complaint: str
) -> None:
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | change | {"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(ConceptlibError, match=complaint) as caught:
        load_pipeline(copy, device="cpu")
    assert "StableDiffusionXLPipeline" in caught.value.what and "1.x/2.x" in caught.value.hint


def test_an_inpainting_unet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match=r"takes 17 and gives 8 channels.*inpainting"):
        load_pipeline(save_pipeline(tmp_path / "inpaint", in_channels=17), device="cpu")


def test_an_unknown_prediction_type_is_refused(copy: Path) -> None:
    path = copy / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace('"epsilon"', '"sample"'))
    with pytest.raises(ConceptlibError, match="prediction type is sample"):
        load_pipeline(copy, device="cpu")


def test_a_missing_tensor_is_named(copy: Path) -> None:
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["conv_in.weight"]
    save_file(tensors, path)
    with pytest.raises(ConceptlibError, match=r"conv_in\.weight"):
        load_pipeline(copy, device="cpu")


def test_a_file_that_was_cut_off_is_refused(copy: Path) -> None:
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ConceptlibError):
        load_pipeline(copy, device="cpu")


def test_pickled_weights_are_not_read(copy: Path) -> None:
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    with pytest.raises(ConceptlibError, match="cannot be loaded") as caught:
        load_pipeline(copy, device="cpu")
    assert "safetensors" in caught.value.hint


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_components_may_keep_the_precision_of_their_files(tmp_path: Path, dtype: torch.dtype) -> None:
    pipe = build_pipeline()
    for module in (pipe.unet, pipe.vae):
        narrow(module, dtype, ())
    with quiet():
        pipe.save_pretrained(tmp_path / "model", safe_serialization=True)
    opened = load_source(resolve_base(tmp_path / "model"), choose("cpu", "float32"), stored=("unet",))
    assert (opened.unet.dtype, opened.vae.dtype, opened.text_encoder.dtype) == (dtype, torch.float32, torch.float32)


def test_weights_that_are_there_as_fp16_alone_are_taken(tmp_path: Path) -> None:
    pipe = build_pipeline()
    for module in (pipe.unet, pipe.vae, pipe.text_encoder):
        narrow(module, torch.float16, ())
    with quiet():
        pipe.save_pretrained(tmp_path / "half", safe_serialization=True, variant="fp16")
        pipe.save_pretrained(tmp_path / "shards", safe_serialization=True, variant="fp16", max_shard_size="100kB")
    assert len(list((tmp_path / "shards/unet").glob("*.safetensors"))) > 1
    for name in ("half", "shards"):
        opened = load_pipeline(tmp_path / name, device="cpu")
        assert opened.unet.dtype == torch.float32
        for key, value in pipe.unet.named_parameters():
            assert torch.equal(opened.unet.get_parameter(key), value.float())


def test_whole_weights_go_before_a_variant_beside_them(copy: Path) -> None:
    whole = copy / "unet" / "diffusion_pytorch_model.safetensors"
    other = {name: torch.zeros_like(value).half() for name, value in load_file(whole).items()}
    save_file(other, whole.with_name("diffusion_pytorch_model.fp16.safetensors"), metadata={"format": "pt"})
    assert bool(load_pipeline(copy, device="cpu").unet.conv_in.weight.any())


@pytest.mark.parametrize("text", ["{", "[]", "", "[" * 100_000, "\udcff"])
def test_a_damaged_index_is_told(copy: Path, text: str) -> None:
    (copy / "model_index.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConceptlibError, match=r"model_index\.json cannot be read"):
        load_pipeline(copy, device="cpu")
