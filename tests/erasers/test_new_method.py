"""The example of docs/methods.md, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from conceptlib.erasers.checkpoint import load
from conceptlib.erasers.erase import erase
from conceptlib.models.sampling import sample
from tests.support.methods import install_method

DOCUMENT = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(found)


@pytest.mark.parametrize("adapter", ["tensors", "lora", "full"])
def test_one_file_and_a_recipe_make_a_method(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: str
) -> None:
    install_method(monkeypatch, tmp_path / "site", "emptying", block("python"))
    recipe = Path.cwd() / "recipes" / "emptying" / "object.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(block("yaml"), encoding="utf-8")
    settings = ["steps=20", "batch_size=6", "trajectories=2", "num_steps=3", "lr=0.002", f"adapter={adapter}"]
    artifact = erase("emptying/object", overrides=settings, base=base, device="cpu")
    assert artifact.info["loss"] < 0.7 * artifact.info["first_loss"]
    pipe = load(artifact, device="cpu")
    assert pipe.checkpoint is not None and pipe.checkpoint.concepts == ("heart",)
    drawn, before = (sample(one, ["heart"], [0], num_steps=2) for one in (pipe, load(base, device="cpu")))
    assert not np.array_equal(drawn, before) and torch.isfinite(torch.from_numpy(drawn).float()).all()


def test_the_example_is_as_short_as_it_says() -> None:
    lines = [line for line in block("python").splitlines() if line.strip()]
    assert len(lines) <= 40
