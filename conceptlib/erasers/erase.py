"""`erase`: from a recipe, a dataset, annotations and a base to a checkpoint in the store."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from conceptlib.concepts.tables import ImageTable
from conceptlib.erasers import checkpoint
from conceptlib.erasers.base import Job, Progress, Result
from conceptlib.erasers.loop import make_accelerator
from conceptlib.erasers.memory import peak_memory
from conceptlib.erasers.neighbours import find_neighbours
from conceptlib.errors import ConceptlibError
from conceptlib.models.devices import Placement, choose, dtype_lock, trainable
from conceptlib.models.encoding import refuse_cut
from conceptlib.models.loading import base_lock, load_source, resolve_base
from conceptlib.specs import load_spec
from conceptlib.specs.load import load_targets
from conceptlib.specs.registry import METHODS
from conceptlib.specs.schema import ConceptSpec, RecipeSpec
from conceptlib.store import Artifact, NotFound, Store

LOG = "log.jsonl"
_WORK = "work"


def erase(
    recipe: str | Path,
    *,
    data: str | Artifact | None = None,
    annotations: str | Artifact | None = None,
    base: str | Path = "tiny",
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
        base: `tiny`, a diffusers folder, or a Hub id `org/name[@revision]` of the SD 1.x/2.x shape.
        overrides: `key=value` for the recipe.
        device, dtype: by default the best there is; bfloat16 means autocast, weights are trained in float32.
        progress: called with ("encode" | "train", done, total).

    Returns:
        The `checkpoint` artifact. `info` has what the method counted (steps, loss, peak memory, rank, ...), and the
        `neighbours` that the recipe asked for, each with its distance.

    Raises:
        ConceptlibError: inputs that are missing, or of another dataset, or lack the concept; an unusable base; a loss
        that is not finite.
    """
    store = store or Store()
    spec = load_spec("recipe", recipe, overrides)
    method = METHODS.get(spec.method)
    concepts = load_targets(spec)
    source_data = _data(store, data)
    source_annotations = _annotations(store, annotations, source_data)
    _check_needs(method.needs(spec.params), {"data": source_data, "annotations": source_annotations}, spec.name)
    if source_data is not None and "data" not in method.needs(spec.params) | _uses(method, spec.params):
        raise ConceptlibError(f"the recipe {spec.name} reads no data", where=source_data.ref, hint="leave data out")
    placement = trainable(choose(device, dtype), dtype)
    accelerator = make_accelerator(placement)
    placement = dataclasses.replace(placement, device=accelerator.device)
    locked = base_lock(base)
    parents = {"dataset": source_data, "annotations": source_annotations}
    draft = store.draft(
        "checkpoint",
        spec.name,
        lock=erasure_lock(spec, concepts, locked, placement.dtype_name),
        parents={role: artifact for role, artifact in parents.items() if artifact is not None},
    )

    def work(folder: Path) -> Result:
        # Weights are loaded whole: what is trained or saved must not have been rounded. Autocast makes the forwards
        # fast.
        stored = () if getattr(method, "FORWARDS", True) else ("unet", "vae")
        whole = Placement(placement.device, torch.float32, placement.channels_last)
        pipe = load_source(resolve_base(base), whole, stored=stored)
        phrases = [phrase for concept in concepts for phrase in concept.phrases]
        refuse_cut(pipe.tokenizer, phrases, what="concept")
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
            data=source_data,
            annotations=source_annotations,
            progress=progress,
            neighbours=neighbours,
        )
        result: Result = method.run(job)
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
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list([done is not None, str(path)])


def _follow(accelerator: Any, store: Store, work: Any) -> Artifact:
    """What a process that is not the main one does: train along, then open what the main one committed."""
    from accelerate.utils import broadcast_object_list

    done, path = broadcast_object_list([None, None])
    if not done:
        work(Path(path))
        done, path = broadcast_object_list([None, None])
    return store.get(str(path))


def _data(store: Store, ref: str | Artifact | None) -> Artifact | None:
    if ref is None:
        return None
    found = ref if isinstance(ref, Artifact) else _either(store, ref)
    if found.kind not in {"dataset", "images"}:
        raise ConceptlibError(
            f"{found.ref} is of kind {found.kind}", where="data", hint="give a dataset or generated images"
        )
    ImageTable(found)  # a dataset of prompts is refused here, before a model is loaded
    return found


def _either(store: Store, ref: str) -> Artifact:
    try:
        return store.get(ref, kind="dataset")
    except NotFound as error:
        try:
            return store.get(ref, kind="images")
        except NotFound:
            raise error from None


def _annotations(store: Store, ref: str | Artifact | None, data: Artifact | None) -> Artifact | None:
    """The annotation set: as given, or a detector's newest of this dataset."""
    if ref is None or isinstance(ref, Artifact):
        return ref
    if data is not None:
        own = store.list(kind="annotations", name=ref, parent=data.id) if _is_name(ref) else []
        if own:
            return own[-1]
        if _is_name(ref) and store.list(kind="annotations", name=ref):
            raise ConceptlibError(
                f"{ref} has not annotated {data.ref}",
                where="annotations",
                hint=f"conceptlib annotate {data.ref} --detector {ref}",
            )
    return store.get(ref, kind="annotations")


def _uses(method: Any, params: Any) -> frozenset[str]:
    found: frozenset[str] = method.uses(params) if hasattr(method, "uses") else frozenset()
    return found


def _is_name(ref: str) -> bool:
    return "@" not in ref and not ref.startswith((".", "/", "~"))


def _check_needs(needs: frozenset[str], given: dict[str, Artifact | None], recipe: str) -> None:
    missing = sorted(name for name in needs if given[name] is None)
    if missing:
        options = {"data": "--data DATASET", "annotations": "--annotations DETECTOR (or truth)"}
        raise ConceptlibError(
            f"the recipe {recipe} needs {' and '.join(missing)}",
            hint=f"add {' '.join(options[name] for name in missing)}",
        )
