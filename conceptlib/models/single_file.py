"""A base in one file: a whole Stable Diffusion 1.x or 2.x with CompVis' names, as CompVis, A1111 and ComfyUI keep it.

The file holds weights alone. What else a model needs is in `conceptlib/models/configs`: the configurations of 1.x and
2.x and CLIP's vocabulary, so that nothing is fetched. A folder in diffusers' layout beside the file, named as the file
without its ending, takes their place (its weights, if it has any, are not read).

Whether a 2.x predicts ε or v cannot be seen from its weights. It is told, the first of these that says so, by the
folder; by `NAME.yaml` beside `NAME.safetensors`, as A1111 has it (`model: {params: {parameterization: v}}`); by the
file's own metadata (`modelspec.*`) or its tensor `v_pred`. A 1.x of which nothing is said predicts ε, a 2.x is refused.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from conceptlib.errors import ConceptlibError
from conceptlib.models import pickles
from conceptlib.models.compvis import TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX
from conceptlib.store.hashing import digest, sha256_file

CONFIGS = Path(__file__).parent / "configs"
_OPEN_CLIP = "cond_stage_model.model."
_CONTEXT = ".attn2.to_k.weight"
_FAMILIES = {768: "sd1", 1024: "sd2"}
_TRAINED_ON = 96
"""Side in latents of the pictures of a 2.x that predicts v; the others' is 64."""
_PREDICTIONS = {"v": "v_prediction", "v_prediction": "v_prediction", "eps": "epsilon", "epsilon": "epsilon"}
_YAML_BYTES = 1 << 20


@dataclass(frozen=True)
class About:
    """What a file is. config: a folder of configurations in diffusers' layout. prediction_type: None if `config` says
    it.
    """

    config: Path
    prediction_type: str | None


def lock(path: Path) -> dict[str, str | None]:
    """`base_lock` of a file: its sha256, or the digest of that and of what beside it says how to read it."""
    folder, sidecar = _beside(path)
    known = [sidecar] if sidecar else []
    if folder:
        kept = {".json", ".txt"}
        known += [file for file in sorted(folder.rglob("*")) if file.is_file() and file.suffix in kept]
    files = {file.relative_to(path.parent).as_posix(): sha256_file(file) for file in known}
    sha256 = sha256_file(path)
    return {
        "ref": str(path),
        "revision": None,
        "sha256": digest({"": sha256, **{name.removeprefix(path.stem): one for name, one in files.items()}})
        if files
        else sha256,
    }


def about(path: Path) -> About:
    """What the file at `path` is, by the names and shapes of its tensors and what is beside it.

    Raises:
        ConceptlibError: it is no whole model of the Stable Diffusion 1.x/2.x shape, or nobody says what it predicts.
    """
    shapes, metadata = _peek(path)
    family = _family(shapes, path)
    folder, sidecar = _beside(path)
    if folder:
        return About(folder, None)
    told = _told(sidecar, metadata, "v_pred" in shapes)
    if told is None and family == "sd2":
        raise ConceptlibError(
            "nobody says whether this Stable Diffusion 2.x predicts noise or v, and its weights do not show it",
            where=str(path),
            hint=f"write beside it a file {path.stem}.yaml that says 'model: {{params: {{parameterization: v}}}}' "
            "(the models for 768 px) or 'eps' in the place of v",
        )
    return About(CONFIGS / family, told or "epsilon")


def resolution(path: Path) -> int:
    """Side in pixels of the pictures that it was trained on. Raises as `about`."""
    found = about(path)
    unet, vae = (json.loads((found.config / part / "config.json").read_text("utf-8")) for part in ("unet", "vae"))
    return int(_sample_size(found, unet) * 2 ** (len(vae["block_out_channels"]) - 1))


def pipeline(path: Path, dtypes: dict[str, torch.dtype | None]) -> Any:
    """The file as a `StableDiffusionPipeline` on the CPU.

    Args:
        dtypes: of `unet`, `vae` and `text_encoder`; None: as in the file.

    Raises:
        ConceptlibError: as `about`; a file that is damaged or holds more than tensors; tensors that are missing or do
            not fit its configuration.
    """
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
    from transformers import CLIPTextModel

    found = about(path)
    tensors = _tensors(path)
    local = {"config": str(found.config), "local_files_only": True}
    unet_config = json.loads((found.config / "unet/config.json").read_text("utf-8"))
    prefixes = {"unet": UNET_PREFIX, "vae": VAE_PREFIX, "text_encoder": "cond_stage_model."}
    kinds = {name: dtypes[name] or _dtype(tensors, prefix) for name, prefix in prefixes.items()}
    try:
        modules = {
            "unet": UNet2DConditionModel.from_single_file(
                tensors, subfolder="unet", dtype=kinds["unet"], sample_size=_sample_size(found, unet_config), **local
            ),
            "vae": AutoencoderKL.from_single_file(tensors, subfolder="vae", dtype=kinds["vae"], **local),
            "text_encoder": create_diffusers_clip_model_from_ldm(
                CLIPTextModel, tensors, subfolder="text_encoder", torch_dtype=kinds["text_encoder"], **local
            ),
        }
    except (OSError, ValueError, RuntimeError, LookupError) as error:  # what the converters raise on missing tensors
        raise ConceptlibError(
            f"the model cannot be loaded: {str(error).strip().splitlines()[0] if str(error).strip() else error!r}",
            where=str(path),
            hint="the file is incomplete, or of another model than it seems",
        ) from error
    for name, module in modules.items():
        _check_whole(module, f"{path}: {name}")
    return StableDiffusionPipeline(
        **modules,
        tokenizer=_tokenizer(found),
        scheduler=_scheduler(found),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def companions(name: str, files: Iterable[str]) -> list[str]:
    """Of a repository's files those beside the model `name` that tell how to read it."""
    stem = name.rpartition(".")[0]
    return sorted(
        file
        for file in files
        if file == f"{stem}.yaml" or (file.startswith(f"{stem}/") and file.endswith((".json", ".txt")))
    )


def _beside(path: Path) -> tuple[Path | None, Path | None]:
    """The folder of configurations and the YAML file that tell how to read `path`."""
    folder, sidecar = path.with_suffix(""), path.with_suffix(".yaml")
    has_folder = folder != path and (folder / "model_index.json").is_file()
    return (folder if has_folder else None), (sidecar if sidecar.is_file() else None)


def _peek(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Names, shapes and metadata, without reading the weights."""
    from safetensors import SafetensorError, safe_open

    if pickles.is_pickle(path):
        return {name: tuple(tensor.shape) for name, tensor in _tensors(path).items()}, {}
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ConceptlibError(
            f"this file cannot be read: {error}", where=str(path), hint="it is damaged or cut off: fetch it again"
        ) from error


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    raw = pickles.read_weights(path)
    for _ in range(4):  # wrapped once in practice
        if not isinstance(inner := raw.get("state_dict"), dict):
            break
        raw = inner
    return {str(name): value for name, value in raw.items() if isinstance(value, torch.Tensor)}


def _channels(folder: Path) -> int:
    """Of the latents that the UNet of a folder of configurations takes."""
    config = folder / "unet" / "config.json"
    try:
        return int(json.loads(config.read_text("utf-8"))["in_channels"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConceptlibError(
            "the configurations beside this file are not whole",
            where=str(config),
            hint="mend the folder, or move it away: those of Stable Diffusion 1.x/2.x come with conceptlib",
        ) from error


def _family(shapes: dict[str, tuple[int, ...]], path: Path) -> str:
    """`sd1` or `sd2`."""
    attended = (one for name, one in shapes.items() if name.startswith(UNET_PREFIX) and name.endswith(_CONTEXT))
    width = next((shape[-1] for shape in attended if shape), 0)
    first = shapes.get(UNET_PREFIX + "input_blocks.0.0.weight")
    folder, _ = _beside(path)
    channels = _channels(folder) if folder else 4
    problem = ""
    if any(name.startswith("conditioner.embedders.") for name in shapes):
        problem = "it is a Stable Diffusion XL"
    elif any("double_blocks." in name or "joint_blocks." in name for name in shapes):
        problem = "it is a transformer (Stable Diffusion 3, FLUX), with no UNet"
    elif first is None:
        problem = "it has no UNet with CompVis' names"
    elif first[1:2] != (channels,):
        problem = (
            f"its UNet takes {first[1] if first[1:] else 0} channels, not {channels} (an inpainting or editing model?)"
        )
    elif not any(name.startswith(VAE_PREFIX + "decoder.") for name in shapes):
        problem = "it has no autoencoder"
    elif not any(name.startswith((TEXT_PREFIX, _OPEN_CLIP)) for name in shapes):
        problem = "it has no text encoder"
    elif width not in _FAMILIES and folder is None:
        problem = f"its UNet attends to vectors of width {width}, not of 768 or 1024"
    if problem:
        raise ConceptlibError(
            f"this file cannot be a base: {problem}",
            where=str(path),
            hint="a base in one file is a whole Stable Diffusion 1.x/2.x; `conceptlib import FILE --base BASE` reads "
            "weights that were erased elsewhere",
        )
    return _FAMILIES.get(width, "")


def _told(sidecar: Path | None, metadata: dict[str, str], marked: bool) -> str | None:
    """The prediction type by what is said of a file, None if nothing is."""
    if sidecar and (said := _parameterization(sidecar)):
        return said
    spec = metadata.get("modelspec.prediction_type", "").lower().removesuffix("_prediction")
    if spec in ("v", "epsilon", "eps"):
        return _PREDICTIONS[spec]
    if marked:
        return "v_prediction"
    architecture = metadata.get("modelspec.architecture", "").lower()
    if architecture.startswith("stable-diffusion-v2"):
        return "v_prediction" if architecture.split("/")[0].endswith("-v") else "epsilon"
    return None


def _parameterization(sidecar: Path) -> str | None:
    import yaml

    try:
        if sidecar.stat().st_size > _YAML_BYTES:
            raise ValueError("it is far too large for one")
        found: Any = yaml.safe_load(sidecar.read_text(encoding="utf-8"))
        for key in ("model", "params"):
            found = found.get(key) or {}
        said = found.get("parameterization")
    except (OSError, ValueError, AttributeError, RecursionError, yaml.YAMLError) as error:
        raise ConceptlibError(
            f"this is no configuration of a model: {str(error).splitlines()[0]}",
            where=str(sidecar),
            hint="it should say 'model: {params: {parameterization: v}}' (or eps); without the file, what the weights "
            "say holds",
        ) from error
    if said is None:
        return None
    if said not in _PREDICTIONS:
        raise ConceptlibError(f"unknown parameterization {said!r}", where=str(sidecar), hint="say eps or v")
    return _PREDICTIONS[said]


def _sample_size(found: About, unet: dict[str, Any]) -> int:
    wide = found.config == CONFIGS / "sd2" and found.prediction_type == "v_prediction"
    return _TRAINED_ON if wide else int(unet["sample_size"])


def _dtype(tensors: dict[str, torch.Tensor], prefix: str) -> torch.dtype:
    return next(tensor.dtype for name, tensor in tensors.items() if name.startswith(prefix))


def _check_whole(module: torch.nn.Module, where: str) -> None:
    missing = [name for name, value in module.named_parameters() if value.device.type == "meta"]
    if missing:
        raise ConceptlibError(
            f"{len(missing)} tensors are missing, the first is {missing[0]}",
            where=where,
            hint="the file is incomplete, or of another model than it seems",
        )


def _scheduler(found: About) -> Any:
    import diffusers

    config = json.loads((found.config / "scheduler/scheduler_config.json").read_text("utf-8"))
    if found.prediction_type:
        config["prediction_type"] = found.prediction_type
    kind = getattr(diffusers, str(config.get("_class_name")), None)
    if kind is None or not str(config["_class_name"]).endswith("Scheduler"):
        raise ConceptlibError(
            f"diffusers has no scheduler {config.get('_class_name')!r}", where=str(found.config / "scheduler")
        )
    return kind.from_config(config)


def _tokenizer(found: About) -> Any:
    from transformers import CLIPTokenizer

    if found.config.parent != CONFIGS:
        return CLIPTokenizer.from_pretrained(found.config / "tokenizer", local_files_only=True)
    vocab, merges = _vocabulary()
    return CLIPTokenizer(
        vocab=dict(vocab),
        merges=list(merges),
        model_max_length=77,
        pad_token="!" if found.config.name == "sd2" else "<|endoftext|>",
    )


@cache
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, ...]]]:
    """CLIP's: every byte, every byte at a word's end, what merges make of them, the two marks."""
    merges = gzip.decompress((CONFIGS / "clip-merges.txt.gz").read_bytes()).decode("utf-8").split("\n")[:-1]
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = [chr(byte) for byte in plain] + [chr(256 + place) for place in range(len(others))]
    pairs = [tuple(merge.split(" ")) for merge in merges]
    words = [*letters, *(letter + "</w>" for letter in letters), *map("".join, pairs)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: place for place, word in enumerate(words)}, pairs
