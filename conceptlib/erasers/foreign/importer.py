"""`import_checkpoint`: from somebody's file to a checkpoint of our own, which every command treats like any other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from conceptlib.erasers import checkpoint
from conceptlib.erasers.base import Result
from conceptlib.erasers.foreign.base import Found
from conceptlib.erasers.foreign.fetch import fetch
from conceptlib.erasers.foreign.reading import Opened, open_weights, unusable
from conceptlib.errors import ConceptlibError
from conceptlib.models.devices import choose
from conceptlib.models.family import of
from conceptlib.models.reference import ModelRef
from conceptlib.progress import Progress
from conceptlib.specs.discover import names as spec_names
from conceptlib.specs.load import load_concepts
from conceptlib.specs.registry import FOREIGN
from conceptlib.specs.schema import ConceptSpec, phrase_name
from conceptlib.store import Artifact, Store
from conceptlib.store.hashing import digest

ALIEN = 1.0
"""Median relative change above which weights are taken for another model's: unrelated ones are about √2 apart."""
_READERS = {"diffusers": "component"}
"""The module of `foreign.formats` that reads a format, where it is called otherwise."""
_METHOD = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}")


@dataclass(frozen=True)
class _Recipe:
    name: str
    method: str


def import_checkpoint(
    source: str | Path,
    *,
    method: str,
    concepts: Sequence[str],
    base: str | Path | ModelRef,
    name: str | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Take over a checkpoint that was made elsewhere.

    Args:
        source: a weight file, a component's folder, a diffusers folder, or on the Hub `org/name[@revision]` (a
            diffusers model) or `org/name/path/to/file[@revision]`.
        method: how it was erased, such as `esd`; ours or not.
        concepts: what was erased: names of concepts or, for what has no such name, phrases.
        base: what it was erased from; every tensor of the source must have its place there, by name and shape.
        name: of the artifact, by default `method/concept`.
        progress: called with ("import", tensors done, tensors in all).

    Returns:
        A `checkpoint` artifact: `lora` if the source is a LoRA, else `tensors`, those that differ from the base. `info`
        has the source's name, sha256 and format, and how far the weights are from the base's.

    Raises:
        ConceptlibError: a file that is missing, or needs more than tensors to be read; a tensor that the base has no
            place for, or of another shape, or not finite; weights that change nothing, or are another model's.
    """
    store = store or Store()
    if not _METHOD.fullmatch(method):
        raise ConceptlibError(f"{method!r} cannot be a method's name", where="method", hint="such as esd or my-method")
    targets = _targets(concepts)
    reference = ModelRef.of(base)
    locked = reference.lock
    pipe = reference.load(replace(choose("cpu", "float32"), channels_last=False))
    opened, form, found = _located(fetch(source), pipe)
    where = str(source)
    _check_places(found, pipe, where)
    recipe = _Recipe(name or f"{method}/{targets[0].name[:48].strip('-._')}", method)
    lock = {
        "recipe": {"name": recipe.name, "method": method, "concepts": [concept.name for concept in targets]},
        "phrases": {concept.name: concept.phrases for concept in targets},
        "base": locked,
        "source": {"sha256": opened.sha256, "format": form}
        | ({"settings": opened.settings} if opened.settings else {})
        | FOREIGN.version_lock(_READERS.get(form, form)),
    }
    with store.draft("checkpoint", recipe.name, lock=lock) as draft:
        if draft.done is not None:
            return draft.done
        draft.path.mkdir(parents=True, exist_ok=True)
        result = _lora(found) if found.factors else _changed(found, pipe, where, progress)
        result = replace(result, convention=f"imported, as its authors made it ({form})")
        checkpoint.save(draft.path, pipe, result, recipe=recipe, base=locked, concepts=targets)
        info = {
            **result.info,
            "adapter": result.adapter,
            "imported": opened.name,
            "source_sha256": opened.sha256,
            "format": form,
            "tensors": len(opened.tensors),
            "ignored": len(found.ignored) + len(opened.other),
        }
        return draft.commit(info=info)


def _targets(concepts: Sequence[str]) -> list[ConceptSpec]:
    """Concept specs by name, and phrases as concepts of their own."""
    if not concepts or not all(concept.strip() for concept in concepts):
        raise ConceptlibError("say what was erased", where="concepts", hint='--concept "Van Gogh"')
    known = spec_names("concept")
    return [
        load_concepts([concept])[0]
        if concept in known
        else ConceptSpec(kind="concept", name=phrase_name(concept), type="explicit", phrases=(concept,))
        for concept in dict.fromkeys(concepts)
    ]


def _located(path: Path, pipe: Any) -> tuple[Opened, str, Found]:
    """What was read, under which format, and where it belongs."""
    if (path / "model_index.json").is_file():
        reference = ModelRef.of(path)
        other = reference.load(replace(choose("cpu", "float32"), channels_last=False))
        tensors: dict[str, torch.Tensor] = dict(of(other).parameters())
        lock = reference.lock
        opened = Opened(path.name, lock["sha256"] or digest(lock), tensors)
        form = "diffusers"
        found = FOREIGN.get(_READERS[form]).locate(tensors, pipe, {})
    else:
        opened = open_weights(path)
        names = frozenset(opened.tensors)
        if reason := unusable(names):
            raise ConceptlibError(f"this file cannot be imported: {reason}", where=opened.name)
        asked = sorted(FOREIGN.modules(), key=lambda entry: FOREIGN.plugin(entry[0]) is None)  # ours know no stranger
        form, module = next(entry for entry in asked if entry[1].matches(names))
        found = module.locate(opened.tensors, pipe, opened.settings)
    return opened, form, found


def _check_places(found: Found, pipe: Any, where: str) -> None:
    """Every tensor has a place, of its shape, and is finite."""
    own = of(pipe).parameters()
    problems = [f"{name}: the base has no such tensor" for name in found.unknown]
    for name, tensor in found.tensors.items():
        wanted = own[name].shape
        if tensor.shape != wanted:
            problems.append(f"{name}: {tuple(tensor.shape)}, the base's is {tuple(wanted)}")
        elif not tensor.is_floating_point():
            problems.append(
                f"{name}: {str(tensor.dtype).removeprefix('torch.')}, the base's are floating-point numbers"
            )
        elif not bool(torch.isfinite(tensor.float()).all()):  # float8 has no `isfinite` of its own
            problems.append(f"{name}: not finite")
    for layer, (up, down) in found.factors.items():
        wanted = own[f"{layer}.weight"].shape
        fits = up.shape[1:2] == down.shape[:1] and (up.shape[0], *down.shape[1:]) == tuple(wanted)
        if not fits:
            problems.append(f"{layer}: {tuple(up.shape)} x {tuple(down.shape)}, the base's is {tuple(wanted)}")
        elif not bool(torch.isfinite(up).all() and torch.isfinite(down).all()):
            problems.append(f"{layer}: not finite")
    if problems:
        listed = "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")
        raise ConceptlibError(
            f"{len(problems)} tensors do not fit the base: {listed}",
            where=where,
            hint="say the base that it was made from (--base)",
        )
    if not (found.tensors or found.factors):
        raise ConceptlibError("the file says nothing about the model's weights", where=where)


def _rounded(own: torch.Tensor, new: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether two tensors are the same but for a passage of either through half precision.

    Args:
        own, new: float32. dtype: what `new` was stored in.
    """
    for narrow in dict.fromkeys((dtype, torch.float16, torch.bfloat16)):
        ours, theirs = (tensor.to(narrow).to(tensor.dtype) for tensor in (own, new))
        if torch.equal(ours, theirs) and (torch.equal(theirs, new) or torch.equal(ours, own)):
            return True
    return False


def _lora(found: Found) -> Result:
    ranks = [up.shape[1] for up, _ in found.factors.values()]
    if not any(bool(up.any()) and bool(down.any()) for up, down in found.factors.values()):
        raise ConceptlibError("this LoRA changes nothing: every product is zero")
    return Result(adapter="lora", factors=found.factors, info={"rank": max(ranks), "layers": len(ranks)})


def _changed(found: Found, pipe: Any, where: str, progress: Progress | None) -> Result:
    """Lay the tensors over the base; keep those that differ from it in the precision that they came in."""
    before, distances, known = {}, [], of(pipe).parameters()
    for done, (name, tensor) in enumerate(found.tensors.items(), 1):
        own = known[name]
        new = tensor.to(own.dtype)
        if not _rounded(own.detach(), new, tensor.dtype):
            if bool(own.any()):  # a bias of zeros has no size to compare with
                distances.append(float((new - own).norm() / own.norm()))
            before[name] = own.detach().clone()
            own.data.copy_(new)
        if progress is not None:
            progress("import", done, len(found.tensors))
    if not before:
        raise ConceptlibError(
            "these weights are the base's own: nothing was erased", where=where, hint="say another --base"
        )
    median = float(torch.tensor(distances or [0.0]).median())
    if median > ALIEN:
        raise ConceptlibError(
            f"these weights are another model's: half of the tensors differ from the base by {median:.0%} or more",
            where=where,
            hint="say the base that it was made from (--base)",
        )
    info = {"changed": len(before), "relative_change": round(median, 6)}
    return Result(adapter="tensors", changed=before, info=info)
