"""A checkpoint as a model repository: plain diffusers loads it, and its card says what went, what stayed, and how
it was made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from conceptlib.errors import ConceptlibError
from conceptlib.hub import cards, scores
from conceptlib.hub.plan import CardOptions, Contents, PlannedFile, artifact_files
from conceptlib.hub.privacy import without_local_paths
from conceptlib.hub.records import repo_of
from conceptlib.specs.registry import METHODS
from conceptlib.store import Artifact, Store
from conceptlib.worlds import weights

REPO_TYPE = "model"

DESCRIPTION = "checkpoint.json"
_PUBLISHED = {".json", ".safetensors", ".txt", ".model"}
_HUB_ID = re.compile(r"(?!\.)[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Description:
    """What `checkpoint.json` says that a card needs. adapter: a module of `conceptlib.erasers.adapters`."""

    method: str
    convention: str
    adapter: str
    base: str
    base_sha256: str
    concepts: tuple[str, ...]
    negative_prompt: str
    tokens: tuple[str, ...]
    components: tuple[str, ...] = ()
    """Those of which there is a file of changed tensors."""
    pipeline: str = "StableDiffusionPipeline"
    """diffusers' class."""
    encoders: tuple[str, ...] = ()
    """Endings of the files with the new tokens' rows, one a text encoder: "", "_2"."""

    @classmethod
    def read(cls, artifact: Artifact) -> Description:
        path = artifact.path / DESCRIPTION
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            base = raw["base"]
            return cls(
                method=str(raw["method"]),
                convention=str(raw.get("convention") or ""),
                adapter=str(raw["adapter"]),
                base=str(base["ref"]),
                base_sha256=str(base.get("sha256") or ""),
                concepts=tuple(raw.get("concepts") or ()),
                negative_prompt=str(raw.get("negative_prompt") or ""),
                tokens=tuple(raw.get("tokens") or ()),
                components=_components(raw),
                pipeline=str(raw.get("pipeline") or "StableDiffusionPipeline"),
                encoders=_encoders(artifact),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = f"`conceptlib verify {artifact.ref}` tells what is damaged; erase again"
            raise ConceptlibError(
                f"the checkpoint's description cannot be read ({error!r})", where=str(path), hint=hint
            ) from error

    @property
    def hub_base(self) -> str:
        """The base's id on the Hub, "" if it is a folder or the embedded model."""
        ref = self.base.partition("@")[0]
        return ref if _HUB_ID.fullmatch(ref) else ""

    @property
    def embedded(self) -> bool:
        """Whether the base comes with conceptlib."""
        return weights(self.base) is not None

    def base_in_words(self) -> str:
        if self.hub_base:
            return f"[{self.hub_base}](https://huggingface.co/{self.hub_base})"
        return f"conceptlib's embedded model `{self.base}`" if self.embedded else "a model that has not been published"


def _components(raw: dict[str, Any]) -> tuple[str, ...]:
    named = raw.get("tensors") or () if raw["adapter"] == "tensors" else ()
    return tuple(sorted({str(name).partition(".")[0] for name in named}))


def _encoders(artifact: Artifact) -> tuple[str, ...]:
    found = (re.fullmatch(r"learned_embeds(_\d+)?\.safetensors", entry.path) for entry in artifact.files)
    return tuple(sorted(match[1] or "" for match in found if match)) or ("",)


def contents(artifact: Artifact, store: Store, card: CardOptions) -> Contents:
    """The weights, the tokenizer, the description, the scores and the pictures of its evaluations."""
    described = Description.read(artifact)
    volatile = {entry.path for entry in artifact.files if entry.volatile}
    files = artifact_files(artifact, lambda path: path not in volatile and PurePosixPath(path).suffix in _PUBLISHED)
    files = [_without_local_paths(file) if file.path == DESCRIPTION else file for file in files]
    evaluations = scores.of(artifact, store)
    for one in evaluations:
        files += one.files()
    license = card.license or ("apache-2.0" if described.embedded else None)
    text = _card(artifact, store, described, evaluations, card.target, license)
    return Contents(text, tuple(files), cards.license_note(license))


def _without_local_paths(file: PlannedFile) -> PlannedFile:
    text = json.dumps(without_local_paths(json.loads(file.read())), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    return PlannedFile.from_bytes(file.path, text.encode())


def _card(
    artifact: Artifact,
    store: Store,
    described: Description,
    evaluations: Sequence[scores.Evaluation],
    target: str,
    license: str | None,
) -> str:
    from huggingface_hub import ModelCardData

    lineage = cards.ancestors(artifact, store)
    repos = [repo_of(store, one.id) for one in lineage if one.artifact is not None and one.artifact.kind == "dataset"]
    results = [result for one in evaluations for result in one.results()]
    data = ModelCardData(
        license=license or "unknown",
        library_name="diffusers",
        pipeline_tag="text-to-image",
        base_model=described.hub_base or None,
        base_model_relation=("finetune" if described.adapter == "full" else "adapter") if described.hub_base else None,
        datasets=[repo for repo in repos if repo] or None,
        tags=[
            "conceptlib",
            "concept-erasure",
            "machine-unlearning",
            "stable-diffusion-xl" if "XL" in described.pipeline else "stable-diffusion",
            described.method,
            *(["lora"] if described.adapter == "lora" else []),
            *cards.concept_tags(described.concepts),
        ],
        model_name=artifact.name,
        eval_results=results or None,
    )
    if not results:
        data.pop("model_name")
    what = cards.phrases(described.concepts) or "a concept"
    picture = next((one.grid_path for one in evaluations if one.grid_path), None)
    sections = [
        f"# {artifact.name}",
        f"A text-to-image model from which a concept was erased: **{what}**. Base: {described.base_in_words()}. "
        f"Method: {described.method}. Made with conceptlib.",
        f"![The same prompts and seeds before and after]({picture})" if picture else "",
        _usage(described, target),
        *(one.section() for one in evaluations),
        _method(described),
        cards.lock_section(artifact),
        _limits(described, what, bool(evaluations), license),
        cards.lineage_section(artifact, lineage),
    ]
    return cards.render(data, sections)


def _usage(described: Description, target: str) -> str:
    """How to load it, with conceptlib and without."""
    ours = f'import conceptlib\n\npipe = conceptlib.load("{target}")\nimage = pipe("{_prompt(described)}").images[0]'
    does = {"tensors": "lays the changed tensors on the base", "config": "applies the method to the base"}
    by_itself = does.get(described.adapter, "loads the weights")
    by_itself += " and sets the negative prompt" if described.negative_prompt else ""
    text = f"## Use it\n\n{_form(described)}With conceptlib, which {by_itself}:\n\n" + cards.fenced(ours, "python")
    plainly = "With diffusers alone"
    if described.embedded and described.adapter != "full":
        plainly += ", but for the base, which comes with conceptlib"
    if described.adapter != "config":
        text += f"\n\n{plainly}:\n\n" + cards.fenced("\n".join(_plain_usage(described, target)), "python")
    elif described.negative_prompt:
        text += f"\n\n{plainly}, give the negative prompt in every call:\n\n"
        text += cards.fenced("\n".join(_plain_usage(described, target)), "python")
    else:
        text += "\n\nPlain diffusers lacks the method: opened with it alone, the base draws as if nothing were erased."
    if described.negative_prompt:
        text += "\n\nThe negative prompt is part of the method: without it less of the concept is gone."
    return text


def _prompt(described: Description) -> str:
    """Something that the model can draw."""
    return "a striped blue star on the sand" if described.embedded else "a photo of a bicycle"


def _form(described: Description) -> str:
    """What the files are, where no other library knows their form."""
    if described.adapter == "tensors":
        files = " and ".join(f"`{component}.changed.safetensors`" for component in described.components)
        return (
            f"The weights are those that the erasure changed, whole, under their names in the base: {files}. Load the "
            "base first; all other tensors are the base's.\n\n"
        )
    if described.adapter == "config":
        return (
            "There are no weights here: the method works while the picture is drawn, and `erasure.json` holds its "
            f"settings. They apply to {described.base_in_words()}.\n\n"
        )
    return ""


def _plain_usage(described: Description, target: str) -> list[str]:
    call = f'image = pipe("{_prompt(described)}"'
    call += (
        f", negative_prompt={described.negative_prompt!r}).images[0]" if described.negative_prompt else ").images[0]"
    )
    if described.adapter == "full":
        return [
            f"from diffusers import {described.pipeline}",
            "",
            f'pipe = {described.pipeline}.from_pretrained("{target}")',
            call,
        ]
    remote = not target.startswith("./")
    if described.embedded:
        imports, lines = ["import conceptlib"], [f'pipe = conceptlib.load_pipeline("{described.base}")']
    else:
        base = described.hub_base or "path/to/the/base"
        imports = [f"from diffusers import {described.pipeline}"]
        lines = [f'pipe = {described.pipeline}.from_pretrained("{base}")']
    if described.tokens or described.components:
        fetch = ["from huggingface_hub import hf_hub_download"] if remote else []
        imports = ["from safetensors.torch import load_file", *fetch, *imports]

    def read(name: str) -> str:
        return f'load_file(hf_hub_download("{target}", "{name}"))' if remote else f'load_file("{target}/{name}")'

    if described.adapter == "lora":
        lines.append(f'pipe.load_lora_weights("{target}", weight_name="pytorch_lora_weights.safetensors")')
    for component in described.components:
        lines.append(f"pipe.{component}.load_state_dict({read(f'{component}.changed.safetensors')}, strict=False)")
    for ending in described.encoders if described.tokens else ():
        encoder, tokenizer = (f"pipe.{part}{ending}" for part in ("text_encoder", "tokenizer"))
        where = f", text_encoder={encoder}, tokenizer={tokenizer}" if ending else ""
        lines.append(f"tokens = {read(f'learned_embeds{ending}.safetensors')}")
        lines.append(f"pipe.load_textual_inversion([{{token: row}} for token, row in tokens.items()]{where})")
        if ending:  # or the pooled embedding would be taken at a new token
            lines.append(f"{encoder}.text_model.eos_token_id = {tokenizer}.eos_token_id")
    return [*imports, *lines, call]


def _method(described: Description) -> str:
    """What the method's own module says about it, and where the code comes from."""
    about = ""
    convention = f" Variant: {described.convention}." if described.convention else ""
    if METHODS.plugin(described.method):
        return f"## Method\n\n{described.method} is a plug-in of the maker's own, no part of conceptlib.{convention}"
    if described.method in METHODS:
        about = (METHODS.get(described.method).__doc__ or "").strip() + "\n\n"
    return (
        f"## Method\n\n{about}conceptlib's code is a reimplementation from the paper's formulas. It contains no "
        f"code of the paper's "
        f"authors, and its results need not be theirs.{convention}"
    )


def _limits(described: Description, what: str, measured: bool, license: str | None) -> str:
    text = (
        f"## Intended use and limits\n\nFor drawing pictures without the concept ({what}), and for research on concept "
        "erasure. Erasure is not a guarantee: the model may still draw the concept, and a prompt that asks for it, "
        "another seed or a fine-tune can bring it back. Do not use it as the only safeguard."
    )
    if described.embedded:
        text += f" The base `{described.base}` draws a small synthetic world. It exists to try methods."
    if not measured:
        text += " It has not been evaluated with conceptlib."
    if not license:
        text += " The licence has not been stated: the base model's licence applies."
    return text
