from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from conceptlib.cli.main import main
from tests.support.models import build_pipeline, save_pipeline


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("base") / "model")


def test_a_file_becomes_a_checkpoint(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = dict(build_pipeline().unet.named_parameters())
    new = {name: value.detach() + 1e-3 for name, value in own.items() if "attn2.to_k" in name}
    save_file(new, tmp_path / "esd.safetensors")
    options = ["--method", "esd", "--concept", "Van Gogh", "--base", str(base)]
    given = ["import", str(tmp_path / "esd.safetensors"), *options]
    assert main([*given, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == "esd/van-gogh" and shown["changed"] == len(new) and shown["format"] == "component"
    assert main(given) == 0
    told = capsys.readouterr()
    said = f"checkpoint esd/van-gogh@{shown['id']}: {len(new)} changed tensors, from esd.safetensors"
    assert told.out.startswith(said)
    assert "conceptlib generate esd/van-gogh" in told.err


@pytest.mark.parametrize("missing", ["--method", "--concept", "--base"])
def test_what_must_be_said(missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"--method": "esd", "--concept": "x", "--base": "tiny"}
    words = [word for key, value in options.items() if key != missing for word in (key, value)]
    assert main(["import", str(tmp_path / "file"), *words]) == 2
    assert "say how it was erased" in capsys.readouterr().err
