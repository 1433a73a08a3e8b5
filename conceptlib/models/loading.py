"""Load a model of a known family (`conceptlib.models.families`), and say clearly what is wrong with anything else.

A base is named by `tiny` (the embedded model), by a diffusers folder, by a Hub id with an optional revision
(`stable-diffusion-v1-5/stable-diffusion-v1-5@<commit>`), or by one file with the whole model, here or on the Hub
(`conceptlib.models.single_file`). Weights of folders are read from safetensors only.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from conceptlib import hubfiles
from conceptlib.errors import ConceptlibError
from conceptlib.huberrors import Absent, OutOfReach
from conceptlib.models import single_file
from conceptlib.models.bases import Source as Source
from conceptlib.models.bases import one_of
from conceptlib.models.bases import resolve_base as resolve_base
from conceptlib.models.devices import Placement, choose
from conceptlib.models.family import Defaults, Model, families, of, recognised, shapes, usable
from conceptlib.store.hashing import digest, sha256_file

INDEX = "model_index.json"


def base_lock(base: str | Path | Source) -> dict[str, str | None]:
    """What pins a base: `{"ref", "revision", "sha256"}`.

    For the embedded model and for folders `sha256` is the digest of every weight, configuration and vocabulary file;
    for a single file it is the file's (`single_file.lock`); for the Hub `revision` is the commit, which pins the files
    already, and `sha256` is null.
    """
    source = _settled(resolve_base(base))
    if source.on_hub:
        name = source.file or INDEX
        commit = _file(source, name).parents[name.count("/")].name
        return {"ref": source.ref.partition("@")[0], "revision": commit, "sha256": None}
    if source.single:
        return single_file.lock(Path(source.location))
    root = Path(source.location)
    names = ["scheduler", *_family_of_folder(root).COMPONENTS]
    files = [root / "model_index.json", *(f for name in names for f in sorted((root / name).rglob("*")) if f.is_file())]
    kept = [file for file in files if file.suffix in {".safetensors", ".json", ".txt"}]
    return {
        "ref": source.ref,
        "revision": None,
        "sha256": digest({file.relative_to(root).as_posix(): sha256_file(file) for file in kept}),
    }


def load_pipeline(
    base: str | Path, *, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> Any:
    """diffusers' pipeline of `base` on the chosen device, in evaluation mode, gradients off.

    Progress bars and the safety checker are off. Every tensor of every component must come from the files.

    Raises:
        ConceptlibError: no such model, no network, weights that are not safetensors, a damaged or incomplete file, or a
        model of
            another shape (the message says what differs).
    """
    return load_source(resolve_base(base), choose(device, dtype))


def load_source(source: Source, placement: Placement, *, stored: Collection[str] = (), forwards: bool = True) -> Any:
    """`load_pipeline` for a base that is resolved already.

    stored: components that keep their files' precision. forwards: whether the denoiser and the autoencoder will run; if
    not, both keep it.
    """
    import diffusers

    source = _settled(source)
    if source.single:
        with quiet():
            large = ("unet", "vae")
            whole = {*stored, *(() if forwards else large)}
            dtypes = {name: None if name in whole else placement.dtype for name in (*large, "text_encoder")}
            pipe = single_file.pipeline(_single(source), dtypes)
        _refuse_shape(pipe, source)
        return place(pipe, placement)
    index_file = _index_file(source)
    index = read_index(index_file, where=source.ref)
    family = usable(index, where=source.ref)
    where: dict[str, Any] = {"use_safetensors": True}
    with quiet(), _explained(source):
        variants = _variants(source, index_file, family)
        location = _on_disk(source, index_file, variants)
        modules = {}
        large = (family.DENOISER, "vae")
        kept = {*stored, *(() if forwards else large)}
        for name in family.WEIGHTS:
            # Read as it is stored, and turned into what is wanted in one pass over the weights.
            at_once = name in large and placement.dtype == torch.float32
            dtype = _stored_dtype(source, name) if name in kept or at_once else placement.dtype
            module, info = _class(*family.COMPONENTS[name]).from_pretrained(
                location,
                subfolder=name,
                output_loading_info=True,
                dtype=dtype,
                variant=variants[name],
                **where,
            )
            _check_complete(info, where=f"{source.ref}/{name}")
            if at_once and name not in kept:
                module.to(dtype=placement.dtype, **_layout(placement))
            modules[name] = module
        pipe = getattr(diffusers, family.PIPELINE).from_pretrained(
            location,
            dtype=placement.dtype,
            **family.OPTIONS,
            **modules,
            **where,
        )
    _refuse_shape(pipe, source)
    return place(pipe, placement)


def _refuse_shape(pipe: Any, source: Source) -> None:
    """Refuse components that load but do not fit each other or our training."""
    model = of(pipe)
    if problems := model.check():
        what = f"this model cannot be used: {'; '.join(problems)}"
        raise ConceptlibError(what, where=source.ref, hint=shapes(type(model)))


def _class(library: str, name: str) -> Any:
    """A class of diffusers or transformers, which import their parts when they are asked for."""
    return getattr(import_module(library), name)


def _family_of_folder(root: Path) -> type[Model]:
    """The family of a model on this machine; Stable Diffusion where the index does not say."""
    try:
        found = recognised(read_index(root / "model_index.json", where=str(root)))
    except ConceptlibError:
        found = None
    return found or families()["stable-diffusion"]


def _stored_dtype(source: Source, component: str) -> torch.dtype:
    """The precision of a component's weights in their file; float32 where there is not one such file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(_file(source, f"{component}/diffusion_pytorch_model.safetensors"), "pt") as file:
            first = next(iter(file.keys()))
            return {"F16": torch.float16, "BF16": torch.bfloat16}.get(file.get_slice(first).get_dtype(), torch.float32)
    except (ConceptlibError, OSError, SafetensorError, StopIteration):  # shards, or damage that loading will tell
        return torch.float32


def place(pipe: Any, placement: Placement) -> Any:
    """Move a pipeline to its device, in evaluation mode, gradients off, progress bars off."""
    with quiet():
        pipe.to(placement.device)
    pipe.set_progress_bar_config(disable=True)
    model = of(pipe)
    for module in model.components().values():
        module.eval()
        module.requires_grad_(False)
    for module in model.convolutional() if placement.channels_last else ():
        module.to(**_layout(placement))
    return pipe


def _layout(placement: Placement) -> dict[str, Any]:
    return {"memory_format": torch.channels_last} if placement.channels_last else {}


def read_index(path: Path, *, where: str) -> dict[str, Any]:
    """The content of a `model_index.json`.

    Raises:
        ConceptlibError: it cannot be read, or is no mapping.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(index, dict):
            raise ValueError("it is no mapping")
    except (OSError, ValueError, RecursionError) as error:
        raise ConceptlibError(
            f"the model's model_index.json cannot be read: {error}",
            where=where,
            hint="the file is damaged or cut off: download or copy it again",
        ) from error
    return index


def _variants(source: Source, index_file: Path, family: type[Model]) -> dict[str, str | None]:
    """`fp16` for every component whose weights are there under that variant's name alone, by component."""
    folder = index_file.parent  # on the Hub's side what was fetched before
    names = {path.relative_to(folder).as_posix() for path in folder.glob("*/*.safetensors")}
    if source.on_hub:
        names |= hubfiles.listing(source.location, folder.name).files
    found: dict[str, str | None] = {}
    for component in family.COMPONENTS:
        weights = [name for name in names if name.startswith(f"{component}/") and name.endswith(".safetensors")]
        found[component] = "fp16" if weights and all(".fp16" in name for name in weights) else None
    return found


def _on_disk(source: Source, index_file: Path, variants: Mapping[str, str | None]) -> str:
    """The model's folder on this machine. From the Hub the commit is fetched that the index is of, even where a branch
    was named (it may move between two files), and of its weights those of the variants.
    """
    if not source.on_hub:
        return source.location
    patterns = ["model_index.json", "scheduler/*.json"]
    for component, variant in variants.items():
        ending = f".{variant}" if variant else ""
        patterns += [f"{component}/*.{kind}" for kind in ("json", "txt", "model")]
        for stem in ("diffusion_pytorch_model", "model"):
            patterns += [f"{component}/{stem}{ending}{shard}.safetensors" for shard in ("", "-*-of-*")]
            patterns.append(f"{component}/{stem}-*-of-*{ending}.safetensors")
    return str(hubfiles.snapshot(source.location, patterns, index_file.parent.name).folder)


def default_resolution(pipe: Any) -> int:
    """The side in pixels of the pictures that the model was trained on."""
    return of(pipe).resolution


def family_of(base: str | Path | Source) -> type[Model]:
    """The family of a base.

    Raises:
        ConceptlibError: no such model, an index that cannot be read, or of no family that can be used.
    """
    source = _settled(resolve_base(base))
    if source.single:  # a file of another family is refused when it is opened
        return families()["stable-diffusion"]
    return usable(read_index(_index_file(source), where=source.ref), where=source.ref)


def resolution_of(base: str | Path | Source) -> int:
    """`default_resolution` of a base, see `defaults_of`."""
    return defaults_of(base).resolution


def defaults_of(base: str | Path | Source) -> Defaults:
    """What a base is run with where nothing is said, from its configuration files alone.

    Raises:
        ConceptlibError: no such model, one of no known family, or configurations that do not say it.
    """
    source = _settled(resolve_base(base))
    family = family_of(source)
    if source.single:
        return Defaults(single_file.resolution(_single(source)), family.GUIDANCE)

    def config(component: str) -> Any:
        return json.loads(_file(source, f"{component}/config.json").read_text("utf-8"))

    try:
        return Defaults(family.resolution_of(config), family.GUIDANCE)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConceptlibError(
            f"the model's configuration does not say how large its pictures are ({error!r})", where=source.ref
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the bars and notices of diffusers and transformers: progress is told by our own callers."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    loggers = (diffusers_logging, transformers_logging)
    before = [(module.get_verbosity(), module.is_progress_bar_enabled()) for module in loggers]
    for module in loggers:
        module.set_verbosity_error()
        module.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # A pipeline tells of every setting of a scheduler that it corrects; `models.schedules` does the same.
            warnings.filterwarnings("ignore", "The configuration file of this scheduler", FutureWarning)
            yield
    finally:
        for module, (verbosity, bar) in zip(loggers, before, strict=True):
            module.set_verbosity(verbosity)
            if bar:
                module.enable_progress_bar()


def _settled(source: Source) -> Source:
    """The same base; of a repository on the Hub that has no `model_index.json`, its one file with a whole model."""
    if not source.on_hub or source.single:
        return source
    try:
        _file(source, INDEX)
    except (Absent, OutOfReach) as error:
        if isinstance(error, Absent) and error.missing != "file":
            raise
        found = one_of(source, hubfiles.listing(source.location, source.revision).files)
        if found is None:
            raise
        return found
    return source


def _single(source: Source) -> Path:
    """The file of a base that is one, on this machine, with what is beside it and tells how to read it."""
    if source.file is None:
        return Path(source.location)
    found = hubfiles.listing(source.location, source.revision)
    for name in single_file.companions(source.file, found.files):
        hubfiles.file(source.location, name, found.commit)
    return hubfiles.file(source.location, source.file, found.commit).path


def _index_file(source: Source) -> Path:
    """`model_index.json` on this machine; on the Hub's side its parent folder is named by the commit."""
    return _file(source, INDEX)


def _file(source: Source, name: str) -> Path:
    """A file of a model on this machine, fetched if it is on the Hub."""
    if not source.on_hub:
        return Path(source.location) / name
    try:
        return hubfiles.file(source.location, name, source.revision).path
    except Absent as error:
        if error.missing != "file":
            raise
        hint = "give a diffusers repository: one with a model_index.json and safetensors weights"
        raise error.about("this repository lacks a file of a diffusers model", hint) from None


@contextlib.contextmanager
def _explained(source: Source) -> Iterator[None]:
    """Turn the libraries' failures into one sentence with the next step."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        hint = "the file is damaged or cut off: download or copy it again"
        raise ConceptlibError(f"weights cannot be read: {error}", where=source.ref, hint=hint) from error
    except (OSError, ValueError, RuntimeError) as error:
        hint = "weights must be safetensors files in the layout of diffusers' save_pretrained"
        raise ConceptlibError(
            f"the model cannot be loaded: {_first_line(error)}", where=source.ref, hint=hint
        ) from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _check_complete(info: dict[str, Any], *, where: str) -> None:
    missing = sorted(map(str, info["missing_keys"])) + sorted(map(str, info["mismatched_keys"]))
    if missing:
        raise ConceptlibError(
            f"{len(missing)} tensors are missing or have another shape, the first is {missing[0]}",
            where=where,
            hint="the weights do not belong to this configuration, or the file is incomplete",
        )
