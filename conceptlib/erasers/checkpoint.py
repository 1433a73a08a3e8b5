"""Checkpoints of erased models: written in the formats that diffusers reads, and opened with their negative prompt set.

pipe = conceptlib.load("geom-erasing/qr")           # or an artifact, a folder, or the Hub id of a published checkpoint
pipe("a red circle on grey")                        # the negative prompt is applied
pipe("a red circle on grey", negative_prompt="")    # and here it is not
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from conceptlib.erasers.base import Result
from conceptlib.erasers.tokens import LEARNED_EMBEDS, save_learned, set_rows
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.models.devices import Placement, choose
from conceptlib.models.loading import base_lock, load_source, place, quiet, resolve_base
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_write

CHECKPOINT = "checkpoint.json"
LORA = "pytorch_lora_weights.safetensors"
ADAPTERS = ("full", "lora", "embeddings")


@dataclass(frozen=True)
class Checkpoint:
    """`checkpoint.json`: what the folder holds and how to use it. `base` is `base_lock`'s answer for what it was
    trained on.
    """

    recipe: str
    method: str
    convention: str
    adapter: str
    base: dict[str, str | None]
    concepts: tuple[str, ...]
    negative_prompt: str
    tokens: tuple[str, ...]
    schema: int = 1

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """The description in a checkpoint's folder.

        Raises:
            ConceptlibError: none there, or one that this version does not understand.
        """
        path = folder / CHECKPOINT
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            found = cls(**{**raw, "concepts": tuple(raw["concepts"]), "tokens": tuple(raw["tokens"])})
        except FileNotFoundError as error:
            raise ConceptlibError(
                "this folder holds no checkpoint", where=str(path), hint="`conceptlib erase` makes one"
            ) from error
        except (ValueError, TypeError, KeyError) as error:
            raise ConceptlibError(
                "this checkpoint.json cannot be read", where=str(path), hint=f"{error}; a newer version?"
            ) from error
        if found.adapter not in ADAPTERS:
            raise ConceptlibError(f"unknown adapter {found.adapter!r}", where=str(path), hint="update conceptlib")
        return found


class ErasedPipeline(StableDiffusionPipeline):
    """A `StableDiffusionPipeline` that uses `negative_prompt_default` wherever the caller gives no negative prompt."""

    negative_prompt_default: str = ""
    checkpoint: Checkpoint | None = None

    def encode_prompt(
        self,
        prompt: str | list[str] | None,
        device: Any,
        num_images_per_prompt: int,
        do_classifier_free_guidance: bool,
        negative_prompt: str | list[str] | None = None,
        prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """As diffusers', with the default negative prompt filled in."""
        if negative_prompt is None and negative_prompt_embeds is None and self.negative_prompt_default:
            count = len(prompt) if isinstance(prompt, list) else 1 if prompt_embeds is None else prompt_embeds.shape[0]
            single = isinstance(prompt, str)
            negative_prompt = self.negative_prompt_default if single else [self.negative_prompt_default] * count
        return super().encode_prompt(
            prompt,
            device,
            num_images_per_prompt,
            do_classifier_free_guidance,
            negative_prompt,
            prompt_embeds=prompt_embeds,
            negative_prompt_embeds=negative_prompt_embeds,
            **kwargs,
        )

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Write a folder that plain diffusers opens: it must not name this class."""
        plain = StableDiffusionPipeline(**self.components, requires_safety_checker=False)
        plain.save_pretrained(save_directory, **kwargs)


def save(folder: Path, pipe: Any, result: Result, *, recipe: Any, base: dict[str, str | None]) -> None:
    """Write a checkpoint's files; the layout is in docs/architecture.md.

    Args:
        folder: where to; existing files are replaced.
        pipe: the pipeline that the method changed.
        result: what the method says it changed.
        recipe: its spec (`name`, `method`, `concepts`).
        base: `base_lock` of what was erased from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        if result.adapter == "full":
            for module in (pipe.unet, pipe.vae, pipe.text_encoder):
                module.to(memory_format=torch.contiguous_format)
            pipe.save_pretrained(folder, safe_serialization=True)
        else:
            pipe.tokenizer.save_pretrained(folder / "tokenizer")
        if result.adapter == "lora":
            StableDiffusionPipeline.save_lora_weights(
                folder,
                unet_lora_layers=_lora_state(pipe.unet),
                text_encoder_lora_layers=_lora_state(pipe.text_encoder),
                safe_serialization=True,
            )
    if result.tokens:
        save_learned(folder, pipe, result.tokens)
    record = Checkpoint(
        recipe=recipe.name,
        method=recipe.method,
        convention=result.convention,
        adapter=result.adapter,
        base=base,
        concepts=tuple(recipe.concepts),
        negative_prompt=result.negative_prompt,
        tokens=result.tokens,
    )
    atomic_write(folder / CHECKPOINT, json.dumps(asdict(record), indent=2, sort_keys=True) + "\n")


def load(
    ref: str | Path | Artifact,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    base: str | Path | None = None,
    store: Store | None = None,
) -> ErasedPipeline:
    """Open a checkpoint as a pipeline whose negative prompt is set (`pipe.negative_prompt_default`).

    Args:
        ref: a checkpoint's name, id, artifact or folder, or the Hub id (`org/name[@revision]`) of a published one. A
            base (`tiny`, a diffusers folder, a Hub id) opens too, with no default negative prompt.
        base: what to apply a `lora` or `embeddings` checkpoint to, instead of the very base that it was trained on.
        store: where names are looked up.

    Raises:
        ConceptlibError: nothing by that name; a tensor that is missing, left over or of another shape; a base that is
        not here, or
            that is not the one that the checkpoint was trained on (unless `base` says so).
    """
    placement = choose(device, dtype)
    folder = find(ref, store)
    if folder is None:
        return _dressed(load_source(resolve_base(str(ref)), placement), None, placement)
    record = Checkpoint.read(folder)
    if record.adapter == "full":
        if base is not None:
            raise ConceptlibError(
                "a full checkpoint takes no base: it holds the whole model", where=str(folder), hint="leave base out"
            )
        pipe = load_source(resolve_base(folder), placement)
        _check_tokens(pipe, _learned(folder, record), folder)
        return _dressed(pipe, record, placement)
    pipe = load_source(resolve_base(_base_for(record, base, folder)), placement)
    with quiet():
        pipe.tokenizer = type(pipe.tokenizer).from_pretrained(folder / "tokenizer")
    learned = _learned(folder, record)
    if learned:
        set_rows(pipe, learned)
    if record.adapter == "lora":
        _load_lora(pipe, folder)
    return _dressed(pipe, record, placement)


def find(ref: str | Path | Artifact, store: Store | None = None) -> Path | None:
    """The folder of a checkpoint; None if `ref` names a base instead.

    Raises:
        ConceptlibError: nothing by that name.
    """
    if isinstance(ref, Artifact):
        return ref.path
    text = str(ref)
    folder = Path(text).expanduser()
    if folder.is_dir() and (folder / CHECKPOINT).is_file():
        return folder.resolve()
    if text == "tiny" or (folder / "model_index.json").is_file():
        return None
    try:
        return (store or Store()).get(text, kind="checkpoint").path
    except NotFound as error:
        published = _published(text)
        if published is None:
            raise error
        return published if (published / CHECKPOINT).is_file() else None


def _published(text: str) -> Path | None:
    """The local copy of a checkpoint on the Hub, a folder without `checkpoint.json` for a plain model; None if there is
    no such repository.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
    )

    name, _, revision = text.partition("@")
    if name.count("/") != 1:
        return None
    try:
        hf_hub_download(name, CHECKPOINT, revision=revision or None)
        return Path(snapshot_download(name, revision=revision or None))
    except RemoteEntryNotFoundError:
        return Path(hf_hub_download(name, "model_index.json", revision=revision or None)).parent
    except LocalEntryNotFoundError:  # offline: the repository may still be in the cache, as a plain model
        try:
            return Path(
                hf_hub_download(name, "model_index.json", revision=revision or None, local_files_only=True)
            ).parent
        except LocalEntryNotFoundError:
            return None
    except (HfHubHTTPError, HFValidationError, OSError):
        return None


def _base_for(record: Checkpoint, base: str | Path | None, folder: Path) -> str:
    if base is not None:
        return str(base)
    ref, revision, sha256 = record.base["ref"] or "", record.base["revision"], record.base["sha256"]
    wanted = f"{ref}@{revision}" if revision else ref
    try:
        here = base_lock(wanted)
    except ConceptlibError as error:
        raise ConceptlibError(
            f"this checkpoint needs its base, {wanted}: {error.what}",
            where=str(folder),
            hint="say base= (--base) if it is elsewhere",
        ) from error
    if sha256 and here["sha256"] != sha256:
        raise ConceptlibError(
            f"the base {ref} has changed since this checkpoint was trained on it "
            f"({sha256[:12]}, now {str(here['sha256'])[:12]})",
            where=str(folder),
            hint="erase again, or say base= (--base) to apply it all the same",
        )
    return wanted


def _learned(folder: Path, record: Checkpoint) -> dict[str, torch.Tensor]:
    """The learned rows, one for each token of the checkpoint, neither more nor fewer."""
    if not record.tokens:
        return {}
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        rows: dict[str, torch.Tensor] = load_file(folder / LEARNED_EMBEDS)
    except (OSError, SafetensorError) as error:
        raise ConceptlibError(
            "the learned embeddings cannot be read", where=str(folder / LEARNED_EMBEDS), hint=str(error)
        ) from error
    odd = set(rows) ^ set(record.tokens)
    if odd:
        raise ConceptlibError(
            f"learned embeddings and tokens differ: {', '.join(sorted(odd)[:3])}",
            where=str(folder),
            hint="the checkpoint is incomplete",
        )
    return {token: rows[token] for token in record.tokens}


def _check_tokens(pipe: Any, learned: dict[str, torch.Tensor], folder: Path) -> None:
    """The whole model must hold the rows that were learned, under the ids that its tokenizer gives."""
    table = pipe.text_encoder.get_input_embeddings().weight
    ids = pipe.tokenizer.convert_tokens_to_ids(list(learned))
    for (token, row), index in zip(learned.items(), ids, strict=True):
        if index >= len(table) or not torch.equal(table[index].cpu(), row.to(table.dtype)):
            raise ConceptlibError(
                f"the text encoder's row for {token} is not the learned one",
                where=str(folder),
                hint="the checkpoint's files do not belong together",
            )


def _lora_state(module: Any) -> dict[str, torch.Tensor] | None:
    if not getattr(module, "peft_config", None):
        return None
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    # The new tokens' rows are in learned_embeds.safetensors, not here.
    state: dict[str, torch.Tensor] = convert_state_dict_to_diffusers(
        get_peft_model_state_dict(module, save_embedding_layers=False)
    )
    return state


def _load_lora(pipe: Any, folder: Path) -> None:
    from safetensors import safe_open

    with quiet():
        pipe.load_lora_weights(str(folder), weight_name=LORA)
    with safe_open(folder / LORA, "pt") as file:
        written = len(file.keys())
    loaded = sum(".lora_" in name for module in (pipe.unet, pipe.text_encoder) for name in module.state_dict())
    if loaded != written:
        raise ConceptlibError(
            f"{written} LoRA tensors in the file, {loaded} in the model",
            where=str(folder / LORA),
            hint="this base has other layers",
        )


def _dressed(pipe: Any, record: Checkpoint | None, placement: Placement) -> ErasedPipeline:
    erased = ErasedPipeline(**pipe.components, requires_safety_checker=False)
    erased.checkpoint = record
    erased.negative_prompt_default = record.negative_prompt if record else ""
    place(erased, placement)
    return erased
