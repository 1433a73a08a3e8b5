"""A method of erasure that costs nothing: the target becomes the negative prompt. It fails where it is told to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.methods import install_method

SOURCE = '''
"""A stand-in."""

from conceptlib.errors import ConceptlibError
from conceptlib.specs.params import Params as BaseParams


class Params(BaseParams):
    strength: float = 1.0
    fail: str = ""


def needs(params):
    return frozenset()


def run(job):
    from conceptlib.erasers.base import Result

    target = job.concepts[0].phrase
    if job.params.fail == target:
        raise ConceptlibError(f"{target} cannot be erased")
    if job.params.fail == "bug":
        raise RuntimeError("a bug")
    config = {"strength": job.params.strength, "seed": job.seed}
    return Result(adapter="config", negative_prompt=target, config=config)


def apply(pipe, config):
    pass
'''


def install(monkeypatch: pytest.MonkeyPatch, root: Path, **params: object) -> Path:
    """The method `stand-in` and a recipe `stand-in/a` in the working folder; returns the recipe's path."""
    install_method(monkeypatch, root, "stand-in", SOURCE)
    path = Path.cwd() / "recipes" / "stand-in" / "a.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    spec = {"kind": "recipe", "name": "stand-in/a", "method": "stand-in", "targets": ["star"], "params": params}
    path.write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in spec.items()) + "\n")
    return path
