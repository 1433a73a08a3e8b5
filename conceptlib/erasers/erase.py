"""`erase`: from a recipe, a dataset, annotations and a base to a checkpoint in the store."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from conceptlib.erasers import checkpoint
from conceptlib.erasers.base import Job, Result
from conceptlib.erasers.loop import make_accelerator
from conceptlib.erasers.memory import peak_memory
from conceptlib.erasers.neighbours import find_neighbours
from conceptlib.erasers.ranks import told
from conceptlib.erasers.request import resolve
from conceptlib.errors import ConceptlibError
from conceptlib.models.devices import Placement, choose, dtype_lock
from conceptlib.models.encoding import refuse_cut
from conceptlib.models.family import of
from conceptlib.models.reference import ModelRef
from conceptlib.progress import Progress
from conceptlib.specs.registry import METHODS
from conceptlib.specs.schema import ConceptSpec, RecipeSpec
from conceptlib.store import Artifact, Store

LOG = "log.jsonl"
_WORK = "work"
_NOTHING = 1e-12
"""An entry of B below which B A is lost in the rounding of the weight that it is added to."""


def erase(
    recipe: str | Path,
    *,
    data: str | Artifact | None = None,
    annotations: str | Artifact | None = None,
    base: str | Path | ModelRef = "tiny",
    overrides: Sequence[str] = (),
    store: Store | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Erase the recipe's concepts (or its `targets`: phrases that need no concept spec) from a base.

    Stopped at any point, the same call goes on from the last saved step; done already, it returns what is there. Under
    `accelerate launch` all processes call it alike.

    Args:
        recipe: a recipe's name (`geom-erasing/qr`) or a YAML file.
        data: a `dataset` or `images` artifact, by name or id; only its train split is read.
        annotations: an artifact, its id, or the name of a detector (or `truth`): then its newest set of that dataset.
        base: `tiny`, a diffusers folder, or a Hub id `org/name[@revision]`, of a known family (docs/families.md).
        overrides: `key=value` for the recipe.
        device, dtype: by default the best there is; bfloat16 and float16 mean autocast (in float16 with scaled losses),
            weights are trained in float32.
        progress: called with ("encode" | "train", done, total).

    Returns:
        The `checkpoint` artifact. `info` has what the method counted (steps, loss, peak memory, rank, ...), and the
        `neighbours` that the recipe asked for, each with its distance.

    Raises:
        ConceptlibError: inputs that are missing, or of another dataset, or lack the concept; an unusable base; a loss
        that is not finite; an erasure that changes no weight.
    """
    store = store or Store()
    request = resolve(recipe, data=data, annotations=annotations, base=base, overrides=overrides, store=store)
    spec, method, concepts = request.spec, request.method, request.concepts
    placement = choose(device, dtype)
    accelerator = make_accelerator(placement)
    placement = dataclasses.replace(placement, device=accelerator.device)
    locked = request.base.lock
    parents = {"dataset": request.data, "annotations": request.annotations}
    draft = store.draft(
        "checkpoint",
        spec.name,
        lock=erasure_lock(spec, concepts, locked, placement.dtype_name),
        parents={role: artifact for role, artifact in parents.items() if artifact is not None},
    )

    def work(folder: Path) -> Result:
        # Weights are loaded whole: what is trained or saved must not have been rounded. Autocast makes the forwards
        # fast.
        forwards = getattr(method, "FORWARDS", True)
        whole = Placement(placement.device, torch.float32, placement.channels_last and forwards)
        pipe = request.base.load(whole, forwards=forwards)
        phrases = [phrase for concept in concepts for phrase in concept.phrases]
        refuse_cut(of(pipe).tokenizer, phrases, what="concept")
        neighbours = find_neighbours(pipe, phrases, spec.neighbours, seed=spec.seed)
        job = Job(
            params=spec.params,
            seed=spec.seed,
            concepts=concepts,
            pipe=pipe,
            placement=placement,
            accelerator=accelerator,
            workdir=folder / _WORK,
            log=folder / LOG,
            data=request.data,
            annotations=request.annotations,
            progress=progress,
            neighbours=neighbours,
        )
        before = _fingerprint(pipe) if getattr(spec.params, "adapter", "") == "full" else {}
        result: Result = method.run(job)
        _refuse_unchanged(pipe, result, before, spec.name)
        if neighbours:
            listed = [dataclasses.asdict(neighbour) for neighbour in neighbours]
            result = dataclasses.replace(result, info={**result.info, "neighbours": listed})
        if accelerator.is_main_process:
            checkpoint.save(folder, pipe, result, recipe=spec, base=locked, concepts=concepts)
        return result

    if not accelerator.is_main_process:
        return _follow(accelerator, store, work)
    with draft:
        _announce(accelerator, draft.done, draft.done.path if draft.done else draft.path)
        if draft.done is not None:
            return draft.done
        draft.path.mkdir(parents=True, exist_ok=True)
        with peak_memory(placement.device) as peak:
            result = work(draft.path)
        shutil.rmtree(draft.path / _WORK, ignore_errors=True)
        info = {
            **result.info,
            "peak_memory_mb": peak.mb,
            "adapter": result.adapter,
            "negative_prompt": result.negative_prompt,
            "device": str(placement.device),
        }
        artifact = draft.commit(info=info, volatile=(LOG,))
    _announce(accelerator, artifact, artifact.path)
    return artifact


def _refuse_unchanged(pipe: Any, result: Result, before: Mapping[str, int], recipe: str) -> None:
    """An erasure that leaves every weight as it was is none, whatever the method; new tokens and rules of inference
    are changes of another kind.
    """
    if result.adapter == "config" or result.tokens:
        return
    model = of(pipe)
    now = {f"{model.DENOISER}.{name}": value for name, value in model.denoiser.named_parameters()}
    if result.changed:
        same = all(
            name in now and bool((value.to(now[name]) == now[name]).all()) for name, value in result.changed.items()
        )
    elif result.adapter == "lora":  # of B A, trained from B = 0 on
        ups = [value for name, value in now.items() if "lora_B" in name]
        same = bool(ups) and all(float(value.detach().abs().max()) < _NOTHING for value in ups)
    else:
        same = bool(before) and _fingerprint(pipe) == before
    if same:
        raise ConceptlibError(
            f"the recipe {recipe} changed nothing: every weight is the base's, and nothing was stored",
            hint="what it shall mean instead must differ from what is erased, and rates and scales be above 0",
        )


def _fingerprint(pipe: Any) -> dict[str, int]:
    """A number a parameter that changes with its bits, nearly always: the sum of them as integers."""
    model = of(pipe)
    modules = {name: module for name, module in model.components().items() if name in model.ADAPTABLE}
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return {
        f"{part}.{name}": int(value.detach().view(whole[value.element_size()]).sum(dtype=torch.int64))
        for part, module in modules.items()
        for name, value in module.named_parameters()
    }


def erasure_lock(
    spec: RecipeSpec, concepts: Sequence[ConceptSpec], base: Mapping[str, Any], dtype: str
) -> dict[str, Any]:
    """What decides a checkpoint, beside its parents."""
    return {
        "recipe": spec.resolved() | {"concepts": [concept.name for concept in concepts]},
        "phrases": {concept.name: concept.phrases for concept in concepts},
        "base": base,
        **dtype_lock(dtype),
        **METHODS.version_lock(spec.method),
    }


def about(artifact: Artifact) -> dict[str, Any]:
    """What a checkpoint's erasure was: the phrases that were `erased`, the `base` that they were erased from, and the
    `neighbours` that were to survive, phrases too, those given by hand first, then the nearest.
    """
    base = artifact.lock.get("base", {})
    return {
        "erased": [phrase for phrases in artifact.lock.get("phrases", {}).values() for phrase in phrases],
        "base": "@".join(filter(None, (base.get("ref"), base.get("revision")))),
        "neighbours": [neighbour["phrase"] for neighbour in artifact.info.get("neighbours", ())],
    }


def _announce(accelerator: Any, done: Artifact | None, path: Path) -> None:
    """Tell the other processes of an `accelerate launch`: only this one may hold the draft's lock."""
    told(accelerator, done is not None, str(path))


def _follow(accelerator: Any, store: Store, work: Any) -> Artifact:
    """What a process that is not the main one does: train along, then open what the main one committed."""
    done, path = told(accelerator, None, None)
    if not done:
        work(Path(path))
        done, path = told(accelerator, None, None)
    return store.get(str(path))
