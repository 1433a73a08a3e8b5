"""Files such as other projects write them, from a random model with every naming, and what must be refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from conceptlib.erasers.checkpoint import Checkpoint, load
from conceptlib.erasers.foreign import importer
from conceptlib.erasers.foreign.formats import component as component_format
from conceptlib.erasers.foreign.importer import import_checkpoint
from conceptlib.errors import ConceptlibError
from conceptlib.models.compvis import TEXT_PREFIX, UNET_PREFIX, unet_names
from conceptlib.models.loading import quiet
from conceptlib.store import Artifact, Store
from conceptlib.store.hashing import sha256_file
from tests.support.models import build_pipeline, save_pipeline

Tensors = dict[str, torch.Tensor]
KEY = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"


def edited(module: Any, matching: str = "") -> Tensors:
    """A module's parameters whose names hold `matching`, each a little changed."""
    return {
        name: (parameter.detach() + 0.01 * parameter.detach().norm() / parameter.numel() ** 0.5 + 1e-4).contiguous()
        for name, parameter in module.named_parameters()
        if matching in name
    }


@pytest.fixture(scope="module")
def pipe() -> Any:
    return build_pipeline()


def take(path: Path, base: Path, **options: Any) -> Artifact:
    settings: dict[str, Any] = {"method": "esd", "concepts": ["Van Gogh"], "base": base}
    return import_checkpoint(path, **(settings | options))


def check(artifact: Artifact, wanted: dict[str, Tensors], plain: Any) -> None:
    """The opened checkpoint has these tensors, and the base's everywhere else."""
    opened = load(artifact, device="cpu")
    for component in ("unet", "text_encoder", "vae"):
        before = dict(getattr(plain, component).named_parameters())
        for name, parameter in getattr(opened, component).named_parameters():
            expected = wanted.get(component, {}).get(name, before[name])
            torch.testing.assert_close(parameter.detach(), expected.detach(), rtol=0, atol=0)


def partial_safetensors(folder: Path, pipe: Any) -> tuple[Path, dict[str, Tensors]]:
    """ESD's and UCE's releases."""
    new = edited(pipe.unet, "attn2")
    save_file(new, folder / "esd.safetensors")
    return folder / "esd.safetensors", {"unet": new}


def prefixed_safetensors(folder: Path, pipe: Any) -> tuple[Path, dict[str, Tensors]]:
    new = edited(pipe.unet, "attn2.to_v")
    save_file({f"unet.{name}": value for name, value in new.items()}, folder / "uce.safetensors")
    return folder / "uce.safetensors", {"unet": new}


def delta_bin(folder: Path, pipe: Any) -> tuple[Path, dict[str, Tensors]]:
    """Ablating Concepts."""
    new = edited(pipe.unet, "attn2.to_k")
    torch.save({"unet": new, "modifier_token": {}, "global_step": 100}, folder / "delta.bin")
    return folder / "delta.bin", {"unet": new}


def whole_unet_pt(folder: Path, pipe: Any) -> tuple[Path, dict[str, Tensors]]:
    new = edited(pipe.unet)
    torch.save(new, folder / "unet.pt", _use_new_zipfile_serialization=False)
    return folder / "unet.pt", {"unet": new}


def by_module_pt(folder: Path, pipe: Any) -> tuple[Path, dict[str, Tensors]]:
    """ESD's first release: a state dict a module."""
    new = edited(pipe.unet, "attn2")
    nested: dict[str, Tensors] = {}
    for name, value in new.items():
        module, _, kind = name.rpartition(".")
        nested.setdefault(module, {})[kind] = value
    torch.save(nested, folder / "diffusers.pt")
    return folder / "diffusers.pt", {"unet": new}


def compvis_partial(folder: Path, pipe: Any) -> tuple[Path, dict[str, Tensors]]:
    new = edited(pipe.unet, "attn2")
    theirs = {UNET_PREFIX + their: new[our] for their, our in unet_names(pipe.unet).items() if our in new}
    torch.save({"state_dict": theirs, "epoch": 3}, folder / "delta.ckpt")
    return folder / "delta.ckpt", {"unet": new}


def compvis_bare(folder: Path, pipe: Any) -> tuple[Path, dict[str, Tensors]]:
    new = edited(pipe.unet)
    save_file({their: new[our] for their, our in unet_names(pipe.unet).items()}, folder / "compvis.safetensors")
    return folder / "compvis.safetensors", {"unet": new}


def compvis_whole(folder: Path, pipe: Any) -> tuple[Path, dict[str, Tensors]]:
    """A `.ckpt` of a whole model: text encoder, schedule and moving averages are in it as well."""
    new, text = edited(pipe.unet, "attn2"), edited(pipe.text_encoder, "layers.1.mlp")
    unet, words = dict(pipe.unet.named_parameters()) | new, dict(pipe.text_encoder.named_parameters()) | text
    theirs = {UNET_PREFIX + their: unet[our].detach() for their, our in unet_names(pipe.unet).items()}
    theirs |= {f"{TEXT_PREFIX}text_model.{name}": value.detach() for name, value in words.items()}
    theirs |= {"betas": torch.ones(3), "model_ema.num_updates": torch.tensor(1)}
    theirs |= {f"{TEXT_PREFIX}text_model.embeddings.position_ids": torch.arange(77)[None]}
    torch.save({"state_dict": theirs}, folder / "model.ckpt")
    return folder / "model.ckpt", {"unet": new, "text_encoder": text}


def text_encoder_only(folder: Path, pipe: Any) -> tuple[Path, dict[str, Tensors]]:
    """AdvUnlearn, as transformers of its day wrote it."""
    new = edited(pipe.text_encoder)
    (folder / "te").mkdir()
    theirs = {f"text_model.{name}": value for name, value in new.items()}
    save_file(theirs | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, folder / "te/model.safetensors")
    (folder / "te/config.json").write_text("{}")
    return folder / "te", {"text_encoder": new}


def half_precision(folder: Path, pipe: Any) -> tuple[Path, dict[str, Tensors]]:
    """Only what differs from the base in half precision has changed."""
    new = edited(pipe.unet, "attn2.to_k")
    whole = {name: value.detach().half() for name, value in pipe.unet.named_parameters()}
    save_file(whole | {name: value.half() for name, value in new.items()}, folder / "half.safetensors")
    return folder / "half.safetensors", {"unet": {name: value.half().float() for name, value in new.items()}}


def diffusers_folder(folder: Path, pipe: Any) -> tuple[Path, dict[str, Tensors]]:
    other = build_pipeline()
    new = edited(other.unet, "attn1")
    for name, value in new.items():
        other.unet.get_parameter(name).data.copy_(value)
    with quiet():
        other.save_pretrained(folder / "erased")
    return folder / "erased", {"unet": new}


WRITERS: list[Callable[[Path, Any], tuple[Path, dict[str, Tensors]]]] = [
    partial_safetensors,
    prefixed_safetensors,
    delta_bin,
    whole_unet_pt,
    by_module_pt,
    compvis_partial,
    compvis_bare,
    compvis_whole,
    text_encoder_only,
    half_precision,
    diffusers_folder,
]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_naming_lands_where_it_belongs(
    write: Callable[[Path, Any], tuple[Path, dict[str, Tensors]]], tmp_path: Path, pipe: Any, base: Path
) -> None:
    path, wanted = write(tmp_path, pipe)
    artifact = take(path, base)
    assert artifact.kind == "checkpoint" and artifact.name == "esd/van-gogh"
    record = Checkpoint.read(artifact.path)
    assert (record.method, record.adapter, record.concepts, record.phrases) == (
        "esd",
        "tensors",
        ("van-gogh",),
        ("Van Gogh",),
    )
    changed = {f"{component}.{name}" for component, tensors in wanted.items() for name in tensors}
    assert set(record.tensors) == changed and artifact.info["changed"] == len(changed)
    if path.is_file():
        assert artifact.info["source_sha256"] == sha256_file(path)
    check(artifact, wanted, pipe)


def lora_pairs(pipe: Any, seed: int = 0) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Rank 2 for the linear layers of the UNet's cross-attention and of the text encoder's, 1 for a convolution."""
    source = torch.Generator().manual_seed(seed)
    found = {}
    for component in ("unet", "text_encoder"):
        for name, module in getattr(pipe, component).named_modules():
            linear = isinstance(module, torch.nn.Linear) and ("attn2" in name or "self_attn" in name)
            if linear or name.endswith("conv1"):
                rank = 2 if linear else 1
                out, *inside = module.weight.shape
                up = torch.randn(out, rank, *([1] * (len(inside) - 1)), generator=source) * 0.2
                found[f"{component}.{name}"] = (up, torch.randn(rank, *inside, generator=source) * 0.2)
    return found


def kohya(pairs: dict[str, tuple[torch.Tensor, torch.Tensor]], alpha: float) -> Tensors:
    state: Tensors = {}
    for layer, (up, down) in pairs.items():
        component, _, inner = layer.partition(".")
        spelled = f"text_model.{inner}" if component == "text_encoder" else inner
        name = {"unet": "lora_unet_", "text_encoder": "lora_te_"}[component] + spelled.replace(".", "_")
        state |= {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down, f"{name}.alpha": torch.tensor(alpha)}
    return state


def dense(pipe: Any, layer: str) -> torch.Tensor:
    """What a layer multiplies by, in all: with the adapter of diffusers' own, if it has one."""
    component, _, inner = layer.partition(".")
    module = getattr(pipe, component).get_submodule(inner)
    if not hasattr(module, "base_layer"):
        return module.weight.detach()
    (name,) = module.active_adapters
    return module.base_layer.weight.detach() + module.get_delta_weight(name).detach()


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_kohya_files_are_scaled_loras(alpha: float, tmp_path: Path, pipe: Any, base: Path) -> None:
    pairs = lora_pairs(pipe)
    save_file(kohya(pairs, alpha), tmp_path / "spm.safetensors")
    artifact = take(tmp_path / "spm.safetensors", base, method="spm", name="spm/mine")
    assert Checkpoint.read(artifact.path).adapter == "lora" and artifact.name == "spm/mine"
    assert artifact.info["layers"] == len(pairs) and artifact.info["rank"] == 2
    opened = load(artifact, device="cpu")
    for layer, (up, down) in pairs.items():
        component, _, inner = layer.partition(".")
        weight = getattr(pipe, component).get_submodule(inner).weight.detach()
        change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * alpha / len(down)
        torch.testing.assert_close(dense(opened, layer), weight + change, rtol=1e-5, atol=1e-6)


def test_a_kohya_file_is_read_as_diffusers_reads_it(tmp_path: Path, pipe: Any, base: Path) -> None:
    pairs = {layer: pair for layer, pair in lora_pairs(pipe).items() if "attn2" in layer}
    save_file(kohya(pairs, 3.0), tmp_path / "leco.safetensors")
    opened = load(take(tmp_path / "leco.safetensors", base, method="leco"), device="cpu")
    theirs = StableDiffusionPipeline.from_pretrained(base)
    theirs.load_lora_weights(tmp_path, weight_name="leco.safetensors")
    for layer in pairs:
        torch.testing.assert_close(dense(opened, layer), dense(theirs, layer), rtol=1e-5, atol=1e-6)


def test_peft_names_and_compvis_spelling_are_read_too(tmp_path: Path, pipe: Any, base: Path) -> None:
    pairs = {layer: pair for layer, pair in lora_pairs(pipe).items() if layer.startswith("unet") and "attn2" in layer}
    peft = {f"{layer}.lora_A.weight": down for layer, (_, down) in pairs.items()}
    save_file(peft | {f"{layer}.lora_B.weight": up for layer, (up, _) in pairs.items()}, tmp_path / "peft.safetensors")
    theirs = {
        our.removesuffix(".weight"): their.removesuffix(".weight") for their, our in unet_names(pipe.unet).items()
    }
    state = kohya({f"unet.{theirs[layer.removeprefix('unet.')]}": pair for layer, pair in pairs.items()}, 2.0)
    save_file(state, tmp_path / "compvis.safetensors")
    one, two = (load(take(tmp_path / f"{name}.safetensors", base), device="cpu") for name in ("peft", "compvis"))
    for layer in pairs:
        torch.testing.assert_close(dense(one, layer), dense(two, layer))


def by_diffusers_lora(folder: Path, **config: Any) -> tuple[Path, Any]:
    """What `save_lora_weights` of today writes: alpha stands in the file's metadata."""
    from diffusers.training_utils import _collate_lora_metadata
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    other = with_lora(**config)
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(other)),
        **_collate_lora_metadata({"unet": other}),
    )
    return folder / "pytorch_lora_weights.safetensors", other


def by_peft(folder: Path, **config: Any) -> tuple[Path, Any]:
    """peft's own file: alpha stands in `adapter_config.json`."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        other = get_peft_model(build_pipeline().unet, LoraConfig(**LORA | config))
    other.save_pretrained(folder)
    return folder / "adapter_model.safetensors", other


LORA: dict[str, Any] = {"r": 4, "lora_alpha": 4, "target_modules": ["to_k", "to_v"], "init_lora_weights": False}


def with_lora(**config: Any) -> Any:
    from peft import LoraConfig

    unet = build_pipeline().unet
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet.add_adapter(LoraConfig(**LORA | config))
    return unet


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"lora_alpha": 8},
        {"lora_alpha": 1},
        {"lora_alpha": 8, "use_rslora": True},
        {"rank_pattern": {"to_v": 2}, "lora_alpha": 6},
        {"alpha_pattern": {"attn2.to_k": 12}},
    ],
    ids=str,
)
@pytest.mark.parametrize("write", [by_diffusers_lora, by_peft], ids=lambda write: write.__name__)
def test_a_lora_has_the_scale_that_its_settings_say(
    write: Callable[..., tuple[Path, Any]], config: dict[str, Any], tmp_path: Path, base: Path
) -> None:
    path, theirs = write(tmp_path, **config)
    opened = load(take(path, base), device="cpu")
    latents, states = torch.ones(1, 8, 8, 8), torch.ones(1, 5, 32)
    with torch.no_grad():
        wanted, found = (unet(latents, torch.tensor(300), states)[0] for unet in (theirs, opened.unet))
        plain = build_pipeline().unet(latents, torch.tensor(300), states)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (wanted - plain).abs().max() > 0.01


def test_a_file_of_peft_without_its_settings_is_refused(tmp_path: Path, base: Path) -> None:
    path, _ = by_peft(tmp_path)
    path.with_name("adapter_config.json").unlink()
    with pytest.raises(ConceptlibError, match=r"adapter_config\.json"):
        take(path, base)


def test_attention_processors_of_older_diffusers_are_loras(tmp_path: Path, pipe: Any, base: Path) -> None:
    """MACE's `save_attn_procs`."""
    pairs = {layer: pair for layer, pair in lora_pairs(pipe).items() if ".attn2." in layer}
    old: Tensors = {}
    for layer, (up, down) in pairs.items():
        module, _, projection = layer.removeprefix("unet.").removesuffix(".0").rpartition(".")
        old[f"{module}.processor.{projection}_lora.up.weight"] = up
        old[f"{module}.processor.{projection}_lora.down.weight"] = down
    assert any("to_out_lora" in name for name in old)
    torch.save(old, tmp_path / "pytorch_lora_weights.bin")
    artifact = take(tmp_path / "pytorch_lora_weights.bin", base, method="mace")
    assert artifact.info["layers"] == len(pairs)
    opened = load(artifact, device="cpu")
    for layer, (up, down) in pairs.items():
        weight = pipe.unet.get_submodule(layer.removeprefix("unet.")).weight.detach()
        torch.testing.assert_close(dense(opened, layer), weight + up @ down, rtol=1e-5, atol=1e-6)


def test_a_wrapped_text_encoder_with_a_second_name_for_its_embeddings_is_read(
    tmp_path: Path, pipe: Any, base: Path
) -> None:
    """AdvUnlearn's `CustomTextEncoder.state_dict()`."""
    new = edited(pipe.text_encoder)
    theirs = {f"text_encoder.text_model.{name.removeprefix('text_model.')}": value for name, value in new.items()}
    again = {
        "embedding." + name.rpartition("embeddings.")[2]: value for name, value in new.items() if "embeddings." in name
    }
    assert again
    torch.save(theirs | again, tmp_path / "TextEncoder.pt")
    check(take(tmp_path / "TextEncoder.pt", base, method="advunlearn"), {"text_encoder": new}, pipe)
    torch.save(theirs | {name: value + 1 for name, value in again.items()}, tmp_path / "two.pt")
    with pytest.raises(ConceptlibError, match=r"embedding\."):
        take(tmp_path / "two.pt", base, method="advunlearn")


@pytest.mark.parametrize("edits", [False, True])
@pytest.mark.parametrize(
    ("narrow", "widened"),
    [
        (torch.float16, False),
        (torch.float16, True),
        (torch.bfloat16, False),
        (torch.bfloat16, True),
        (torch.float8_e4m3fn, False),
    ],
    ids=str,
)
def test_rounding_is_no_erasure(
    tmp_path: Path, pipe: Any, base: Path, narrow: torch.dtype, widened: bool, edits: bool
) -> None:
    """A whole model that went through a narrow format, stored in it or widened again; with an erasure, or without."""
    new = edited(pipe.unet, "attn2.to_k")
    whole = {name: value.detach() for name, value in pipe.unet.named_parameters()} | (new if edits else {})
    stored = {name: value.to(narrow) for name, value in whole.items()}
    save_file({name: value.float() if widened else value for name, value in stored.items()}, tmp_path / "a.safetensors")
    if edits:
        assert set(Checkpoint.read(take(tmp_path / "a.safetensors", base).path).tensors) == {f"unet.{n}" for n in new}
    else:
        with pytest.raises(ConceptlibError, match="the base's own"):
            take(tmp_path / "a.safetensors", base)


class Opens:
    """A pickle that would run something."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def hostile(folder: Path) -> None:
    torch.save({"unet": Opens(folder / "ran")}, folder / "file")


def hostile_plain(folder: Path) -> None:
    (folder / "file").write_bytes(pickle.dumps({"unet": Opens(folder / "ran")}))


REFUSED: list[tuple[str, Callable[[Path], None], str]] = [
    ("hostile", hostile, "more than tensors"),
    ("hostile pickle", hostile_plain, "more than tensors"),
    ("no weights", lambda folder: (folder / "file").write_text("hello there, this is text"), "cannot be read"),
    ("empty", lambda folder: (folder / "file").write_bytes(b""), "cannot be read"),
    ("no tensors", lambda folder: torch.save({"epoch": 3}, folder / "file"), "no tensors"),
    ("unknown name", lambda folder: save_file({"conv_out_2.weight": torch.ones(2)}, folder / "file"), "no such tensor"),
    ("shape", lambda folder: save_file({KEY: torch.ones(3, 3)}, folder / "file"), "the base's is"),
    ("nan", lambda folder: save_file({KEY: torch.full((16, 32), float("nan"))}, folder / "file"), "not finite"),
    ("alien", lambda folder: save_file({KEY: torch.ones(16, 32)}, folder / "file"), "another model's"),
    (
        "half a pair",
        lambda folder: save_file({f"unet.{KEY[:-7]}.lora_A.weight": torch.ones(2, 32)}, folder / "file"),
        "no such tensor",
    ),
    (
        "a zero LoRA",
        lambda folder: save_file(
            {f"unet.{KEY[:-7]}.lora_A.weight": torch.ones(2, 32), f"unet.{KEY[:-7]}.lora_B.weight": torch.zeros(16, 2)},
            folder / "file",
        ),
        "changes nothing",
    ),
    ("whole numbers", lambda folder: save_file({KEY: torch.zeros(16, 32).long()}, folder / "file"), "int64"),
    *(
        (name, lambda folder, key=key: save_file({key: torch.ones(4, 32)}, folder / "file"), words)
        for name, key, words in (
            ("LoHa", "lora_unet_down_blocks_1.hada_w1_a", "LoHa"),
            ("LoKr", "lora_unet_down_blocks_1.lokr_w1", "LoKr"),
            ("DoRA of kohya", "lora_unet_down_blocks_1.dora_scale", "DoRA"),
            ("DoRA of peft", f"unet.{KEY[:-7]}.lora_magnitude_vector", "DoRA"),
            ("OFT", "oft_unet_down_blocks_1.oft_blocks", "OFT"),
            ("textual inversion of diffusers", "<cat-toy>", "textual inversion"),
            ("textual inversion of A1111", "emb_params", "textual inversion"),
            ("textual inversion of SDXL", "clip_g", "textual inversion"),
        )
    ),
    (
        "textual inversion of A1111, pickled",
        lambda folder: torch.save(
            {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(2, 32)}}, folder / "file"
        ),
        "textual inversion",
    ),
    ("nothing there", lambda folder: None, "no file|out of reach|no such file"),
]


@pytest.mark.parametrize(("write", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_does_not_fit_is_refused_and_nothing_is_stored(
    write: Callable[[Path], None], message: str, tmp_path: Path, base: Path, home: Path
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    write(folder)
    with pytest.raises(ConceptlibError, match=message):
        take(folder / "file", base)
    assert not (folder / "ran").exists()
    assert not list((home / "artifacts").glob("*/*/*")) if (home / "artifacts").exists() else True


def test_the_same_file_again_is_found_and_another_base_is_another_checkpoint(
    tmp_path: Path, pipe: Any, base: Path
) -> None:
    path, _ = partial_safetensors(tmp_path, pipe)
    before = path.read_bytes()
    assert take(path, base).path == take(path, base).path
    other = save_pipeline(tmp_path / "other", seed=1)
    with pytest.raises(ConceptlibError, match="another model's"):
        take(path, other)
    assert path.read_bytes() == before


def test_another_version_of_the_reader_reads_again(
    tmp_path: Path, pipe: Any, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_pipeline(seed=1).save_pretrained(tmp_path / "whole", safe_serialization=True)
    monkeypatch.setattr(importer, "ALIEN", 10.0)
    path, _ = partial_safetensors(tmp_path, pipe)
    first = {source: take(source, base) for source in (path, tmp_path / "whole")}
    monkeypatch.setattr(component_format, "VERSION", 2, raising=False)
    for source, old in first.items():
        assert take(source, base) == old  # the same tensors
        lock = old.lock | {"source": old.lock["source"] | {"code_version": 2}}
        assert "code_version" not in str(old.lock) and Store().done("checkpoint", old.name, lock=lock) == old


def test_the_base_itself_is_no_erasure(tmp_path: Path, pipe: Any, base: Path) -> None:
    save_file({name: value.detach() for name, value in pipe.unet.named_parameters()}, tmp_path / "same.safetensors")
    with pytest.raises(ConceptlibError, match="the base's own"):
        take(tmp_path / "same.safetensors", base)


def test_a_registered_concept_is_found_by_name_and_several_may_be_named(tmp_path: Path, pipe: Any, base: Path) -> None:
    path, _ = partial_safetensors(tmp_path, pipe)
    record = Checkpoint.read(take(path, base, concepts=["qr-code", "a ring"]).path)
    assert record.concepts == ("qr-code", "a-ring") and record.phrases[1] == "a ring"


@pytest.mark.parametrize("wrong", [{"method": "../up"}, {"concepts": []}, {"concepts": [" "]}])
def test_method_and_concept_must_be_said(wrong: dict[str, Any], tmp_path: Path, pipe: Any, base: Path) -> None:
    path, _ = partial_safetensors(tmp_path, pipe)
    with pytest.raises(ConceptlibError):
        take(path, base, **wrong)
