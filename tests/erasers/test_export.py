from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from conceptlib.cli.main import main
from conceptlib.erasers.checkpoint import Checkpoint, load
from conceptlib.erasers.erase import erase
from conceptlib.erasers.export import export_checkpoint
from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact, Store
from tests.erasers.test_adapters import make as make
from tests.erasers.test_adapters import pictures
from tests.support.erasure import store_annotations, store_dataset, write_recipe


@pytest.mark.parametrize("was", ["tensors", "lora", "full"])
def test_every_form_turns_into_every_other(make: Callable[..., Artifact], tmp_path: Path, was: str) -> None:
    artifact = make(f"adapter={was}")
    wanted = pictures(load(artifact, device="cpu"))
    for form in {"tensors", "lora", "full"} - {was}:
        done = export_checkpoint(artifact, form, tmp_path / form)
        assert (done.was, done.adapter) == (was, form) and done.notes
        assert done.tensors == len(load_file(make().path / "unet.changed.safetensors"))
        assert np.abs(pictures(load(done.path, device="cpu")) - wanted).max() <= 1
        if "lora" not in (was, form):
            assert done.notes == ("exact: the same bits",)
            assert np.array_equal(pictures(load(done.path, device="cpu")), wanted)
        record = Checkpoint.read(done.path)
        assert record.method == "moved-keys" and record.base == artifact.lock["base"]


def test_tokens_go_along(base: Path, tmp_path: Path) -> None:
    store = Store()
    store_annotations(store, store_dataset(store))
    recipe = write_recipe(tmp_path / "recipes", steps=2)
    for form, overrides in (("tensors", []), ("full", ["mode=model-removal", "lr_tokens=0.1"])):
        artifact = erase(
            recipe, data="icd-test", annotations="truth", base=base, overrides=overrides, device="cpu", store=store
        )
        done = export_checkpoint(artifact, form, tmp_path / form)
        ours, theirs = (load(one, device="cpu") for one in (done.path, artifact))
        assert ours.negative_prompt_default == theirs.negative_prompt_default
        assert np.array_equal(pictures(ours), pictures(theirs))


@pytest.mark.parametrize(
    ("overrides", "form", "complaint"),
    [
        ((), "tensors", "is of the form tensors already"),
        ((), "embeddings", "cannot be exported as 'embeddings'"),
        (("rank=12",), "lora", "not of low rank"),
        (("adapter=config",), "full", "works at inference"),
    ],
)
def test_what_is_not_exact_is_refused(
    make: Callable[..., Artifact], tmp_path: Path, overrides: tuple[str, ...], form: str, complaint: str
) -> None:
    with pytest.raises(ConceptlibError, match=complaint):
        export_checkpoint(make(*overrides), form, tmp_path / "out" / "x")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_folder_in_use_and_a_base_are_refused(make: Callable[..., Artifact], base: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "x").touch()
    with pytest.raises(ConceptlibError, match="in use"):
        export_checkpoint(make(), "full", tmp_path / "used")
    with pytest.raises(ConceptlibError, match="is a base"):
        export_checkpoint(base, "full", tmp_path / "new")


def test_the_command_says_how_exact_it_is(
    make: Callable[..., Artifact], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = make("adapter=full")
    assert main(["export", artifact.id, "--format", "lora", "--to", str(tmp_path / "lora"), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["adapter"] == "lora" and "rounding" in told.err
    assert main(["export", artifact.id, "--format", "full", "--to", str(tmp_path / "x")]) == 2
    assert "already" in capsys.readouterr().err and not (tmp_path / "x").exists()
