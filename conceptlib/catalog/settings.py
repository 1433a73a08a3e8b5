"""What a score was measured with, read from the evaluation's lock: the columns beside its value.

Two scores of a metric can be compared when the same suite, in the same version, looked for the same concepts in
pictures drawn in the same way, and the same detector judged them. `setting` is a name for exactly that: equal for
scores that can be compared, whatever they are called, however many pictures they rest on, whatever seeds those had.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from conceptlib.errors import ConceptlibError

# Of a suite's parameters: how much was measured and in what portions, and what the lock says more exactly elsewhere.
_SIZES = ("n", "neighbour_n", "subjects", "metrics", "batch_size", "examples", "detector", "measure")
_OF_KID = ("kid_subsets", "kid_subset_size", "features", "features_sha256")


class Settings:
    """The settings of one evaluation's scores.

    Args:
        lock, info, parents: its manifest's.
    """

    def __init__(self, lock: Mapping[str, Any], info: Mapping[str, Any], parents: Mapping[str, str]) -> None:
        self._lock = lock
        self._suite = _mapping(lock.get("suite"))
        self._params = _mapping(self._suite.get("params")) or _parts(self._suite)
        self._with = _mapping(lock.get("measured_with"))
        self._named: dict[tuple[bool, bool, str], str] = {}
        self.suite = text(info.get("suite")) or text(self._suite.get("name"))
        self.seed = integer(self._suite.get("seed"))
        sampler = _mapping(self._params.get("sampler"))
        self.steps = integer(self._params.get("num_steps", sampler.get("num_steps")))
        self.guidance_scale = number(self._params.get("guidance_scale", sampler.get("guidance_scale")))
        self.detector = text(info.get("detector"))
        self.detector_id = text(parents.get("detector"))
        self.threshold = number(info.get("threshold"))
        self.checkpoint_id = text(parents.get("checkpoint"))
        target = text(self._params.get("target")) or text(info.get("target"))
        self.concepts = [target] if target else _texts(lock.get("concepts"))

    def of(self, score: Mapping[str, Any], metric: str) -> dict[str, Any]:
        """The columns of one score: what it says itself goes before what its evaluation says."""
        target = text(score.get("target"))
        concepts = [target] if target else self.concepts
        return {
            "concepts": concepts,
            "detector": text(score.get("detector")) or self.detector,
            "detector_id": text(score.get("detector_artifact")) or self.detector_id,
            "threshold": _first(number(score.get("threshold")), self.threshold),
            "setting": self._setting(metric, "detector" in score, concepts),
        }

    def _setting(self, metric: str, says_detector: bool, concepts: list[str]) -> str:
        by_detector = says_detector or not self._suite or metric.startswith("concept_rate")
        versions = dict(_mapping(self._lock.get("versions")))
        own = _mapping(versions.pop("metrics", None))
        versions |= {name: code for name, code in own.items() if _writes(str(name), metric)}
        part = self._part(metric)
        key = (by_detector, metric.startswith("kid"), json.dumps([concepts, versions, part], default=str))
        if key not in self._named:
            document = json.dumps(self._decides(*key[:2], concepts, versions, part), sort_keys=True, default=str)
            self._named[key] = hashlib.sha256(document.encode("utf-8", "replace")).hexdigest()[:8]
        return self._named[key]

    def _part(self, metric: str) -> dict[str, Any]:
        """What a suite of parts says of the metric that wrote a score: a KID against the base is another number than
        one against clean pictures. Empty for the suites whose `params` say it.
        """
        if _mapping(self._suite.get("params")):
            return {}
        for label, part in _mapping(self._suite.get("metrics")).items():
            said = dict(_mapping(part))
            module = text(said.pop("metric", None)) or str(label)
            said.pop("optional", None)
            if _writes(module, metric):
                return {"metric": module.replace("-", "_"), **said}
        return {}

    def _decides(
        self,
        by_detector: bool,
        kid: bool,
        concepts: list[str],
        versions: Mapping[str, Any],
        part: Mapping[str, Any],
    ) -> dict[str, Any]:
        left_out = {*_SIZES, *(() if kid else _OF_KID)}
        params = {name: value for name, value in self._params.items() if name not in left_out | {"target"}}
        measured_with = {name: value for name, value in self._with.items() if name not in left_out}
        detector = self._with.get("detector") or self._lock.get("detector")
        return {
            **({"versions": versions} if versions else {}),
            **({"metric": part} if part else {}),
            "suite": self._suite.get("suite") or self.suite,
            "code_version": self._lock.get("code_version"),
            "concepts": sorted(concepts),
            "params": params,
            "measured_with": measured_with,
            "detector": detector if by_detector else None,
        }


def _parts(suite: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the images and verdicts of a suite of a user's own: its parts, without how much was measured. Which
    other metrics were measured beside one changes nothing of it.
    """
    prompts = _mapping(suite.get("prompts"))
    said: dict[str, Any] = {"target": prompts.get("target")} if prompts.get("target") else {}
    for key in ("prompts", "sampler", "judges"):
        said[key] = {name: value for name, value in _mapping(suite.get(key)).items() if name not in _SIZES}
    return said if prompts else {}


def _writes(module: str, name: str) -> bool:
    """Whether a metric of a suite writes scores of that name, or the differences of such scores."""
    return any(fnmatchcase(one, key) for key in _names(module) for one in (name, name.removesuffix("_change")))


@lru_cache(maxsize=256)
def _names(module: str) -> tuple[str, ...]:
    """The names that a metric's scores have, as it declares them. Of one that is not here, such as a plug-in of another
    machine, those that begin with its own.
    """
    from conceptlib.evaluators.known import of_module  # numpy, which most artifacts need not

    try:
        return tuple(metric.name for metric in of_module(module.replace("_", "-")))
    except ConceptlibError:
        return (f"{module.replace('-', '_')}*",)


def text(value: Any) -> str | None:
    """``value`` if it is a text that says something."""
    return value if isinstance(value, str) and value else None


def number(value: Any) -> float | None:
    """``value`` if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) < float("inf") else None


def integer(value: Any) -> int | None:
    """``value`` if it is a whole number that a 64-bit column takes."""
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
