"""What a suite of measurements may say: parts by name with their parameters, and short names for the command line.

A suite is data over one runner (`conceptlib.evaluators.run`). One that says `suite: NAME` takes everything that it does
not say itself from that built-in suite, and may set the short names of that under `params`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from conceptlib import paths
from conceptlib.errors import ConceptlibError
from conceptlib.specs.params import Params
from conceptlib.specs.yaml_io import Document, Place, read_document

SHORT: Mapping[str, str] = {
    "n": "prompts.n",
    "captions": "prompts.source",
    "metrics": "measure",
    "detector": "judges.detector.detector",
    "num_steps": "sampler.num_steps",
    "guidance_scale": "sampler.guidance_scale",
    "batch_size": "sampler.batch_size",
    "examples": "picture.examples",
}
"""Short names that every suite understands where it has the place; its own `options` come before them."""

# What the two suites said before suites were data: their short names, and the rest of what they fix. A suite that still
# says exactly this has the lock that it had then, so that what was measured then is found.
_BEFORE: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {
    "icd": (
        (
            *("n", "subjects", "metrics", "captions", "detector", "num_steps", "guidance_scale", "batch_size"),
            *("features", "kid_subsets", "kid_subset_size", "examples"),
        ),
        {
            "judges": {"detector": {}, "world": {}},
            "metrics": {"concept_rate": {}, "caption_accuracy": {}, "kid": {"against": "clean", "rows": "all"}},
            "prompts": {},
            "sampler": {},
            "picture": {},
        },
    ),
    "erasure": (
        (
            *("target", "n", "neighbour_n", "num_steps", "guidance_scale", "batch_size", "features", "kid_subsets"),
            *("kid_subset_size", "examples", "clip", "anchor", "neighbours", "templates"),
        ),
        {
            "judges": {"clip": {}, "world": {}},
            "metrics": {
                "target_accuracy": {},
                "retain_accuracy": {},
                "cross_accuracy": {"optional": True},
                "target_clip_score": {"optional": True},
                "retain_clip_score": {"optional": True},
                "kid": {"against": "base", "rows": "others"},
            },
            "prompts": {"source": "probe"},
            "subjects": ["base", "checkpoint"],
            "sampler": {},
            "picture": {},
        },
    ),
}


class Sampler(Params):
    """How images are drawn. guidance_scale, batch_size: null for the model's usual ones."""

    num_steps: Annotated[int, Field(ge=1, le=1000)] = 20
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None


class Picture(Params):
    """The grid. examples: captions in it."""

    examples: Annotated[int, Field(ge=1, le=64)] = 8


class Part(BaseModel):
    """A prompt source, judge or metric of a suite: the registered module, and its `Params`.

    optional: of a metric, whether it is left out without a word where what it needs is not there.
    """

    model_config = ConfigDict(frozen=True)

    module: str
    params: Any
    optional: bool = False

    def said(self, key: str, label: str | None = None) -> dict[str, Any]:
        """As a suite's file says it, every default filled in. key: the field that names the module; it is left out
        where `label` says the same.
        """
        name = self.module if key == "source" else self.module.replace("-", "_")
        named: dict[str, Any] = {} if label == name else {key: name}
        named |= self.params.model_dump(mode="json")
        return named | ({"optional": True} if self.optional else {})


def options_of(data: Mapping[str, Any]) -> dict[str, Place]:
    """The short names of a suite's document, and the places that they stand for."""
    own = data.get("options")
    named = {**SHORT, **(own if isinstance(own, dict) else {})}
    return {
        key: tuple(place.split("."))
        for key, place in named.items()
        if isinstance(place, str) and (key in (own or {}) or _has(data, place.split(".")[:-1]))
    }


def _has(data: Any, place: list[str]) -> bool:
    for key in place:
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def expand(document: Document) -> None:
    """Fill in, in place, what a suite takes from the built-in one that it names, and move `params` to where their short
    names point.

    Raises:
        ConceptlibError: there is no such built-in suite.
    """
    data = document.data
    if isinstance(data.get("suite"), str):  # the schema tells of anything else
        base = data.pop("suite")
        path = paths.builtin() / "recipes" / "suites" / f"{base}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(one.stem for one in path.parent.glob("*.yaml")))
            raise ConceptlibError(f"there is no built-in suite {base!r}", where=document.source, hint=f"known: {known}")
        document.data = data = merged(read_document(path).data, data)
    given = data.get("params")
    if isinstance(given, dict):
        known_options = options_of(data)
        for key in [key for key in given if key in known_options]:
            place = known_options[key]
            put(data, place, given.pop(key))
            if ("params", key) in document.lines:
                document.lines[place] = document.lines[("params", key)]


def _other_module(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return any(name in new and new[name] != old.get(name) for name in ("source", "metric", "judge"))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, mapping by mapping; what names another module replaces the whole of it."""
    found = copy.deepcopy(dict(below))
    for key, value in above.items():
        old = found.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and not _other_module(old, value):
            found[key] = merged(old, value)
        else:
            found[key] = copy.deepcopy(value)
    return found


def put(data: dict[str, Any], place: Place, value: Any) -> None:
    """Write a value into nested mappings, which are made on the way."""
    target: Any = data
    for key in place[:-1]:
        inside = target.get(key)
        if not isinstance(inside, dict):
            inside = target[key] = {}
        target = inside
    target[place[-1]] = value


def as_before(said: Mapping[str, Any], name: str, options: Mapping[str, Place]) -> dict[str, Any] | None:
    """The part of the lock that a suite had before suites were data: `suite` and flat `params`; None for one that says
    anything that could not be said then.

    said: the resolved suite. options: its short names.
    """
    for suite, (short, fixed) in _BEFORE.items():
        if set(short) - set(options):
            continue
        rest = copy.deepcopy({key: said[key] for key in (*fixed, "subjects") if key in said})
        params: dict[str, Any] = {}
        for key in short:
            place = options[key]
            if key == "metrics":
                params[key] = list(said.get("measure") or said["metrics"])
                continue
            params[key] = _taken(rest, place)
        if _MISSING not in params.values() and rest == fixed:
            return {"params": params, "suite": suite}
    return None


_MISSING = object()


def _taken(data: dict[str, Any], place: Place) -> Any:
    """The value at a place, which is removed."""
    target: Any = data
    for key in place[:-1]:
        target = target.get(key) if isinstance(target, dict) else None
    if not isinstance(target, dict) or place[-1] not in target:
        return _MISSING
    return target.pop(place[-1])
