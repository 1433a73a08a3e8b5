from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from conceptlib.cli.main import main
from conceptlib.store import Store
from tests.support.erasure import store_annotations, store_dataset, write_recipe
from tests.support.models import save_pipeline


def test_erase_then_draw_with_and_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store()
    store_annotations(store, store_dataset(store))
    base, recipe = save_pipeline(tmp_path / "base"), write_recipe(tmp_path / "recipes")
    command = ["erase", str(recipe), "steps=2", "--data", "icd-test", "--annotations", "truth", "--base", str(base)]
    assert main([*command, "--device", "cpu", "--json"]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    checkpoint = store.get("geom-erasing/test", kind="checkpoint")
    assert (summary["id"], summary["steps"], summary["images_with_concept"]) == (checkpoint.id, 2, 12)
    assert "conceptlib generate geom-erasing/test" in captured.err
    assert main([*command, "--device", "cpu", "-q"]) == 0
    assert capsys.readouterr().out == f"{checkpoint.id}\n"

    draw = ["generate", "geom-erasing/test", "a ring", "--n", "2", "--steps", "1", "--device", "cpu"]
    assert main([*draw, "--compare", "--out", "both.png", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["rows"] == [f"{base} (without erasure)", "geom-erasing/test"]
    assert summary["negative_prompt"].startswith("QR code <l0,0>")
    with Image.open(summary["path"]) as image:
        assert image.format == "PNG" and image.width > 2 * 128 and image.height > 2 * 128  # labels beside them
    assert main([*draw, "--without-erasure"]) == 0
    assert "(without erasure)" in capsys.readouterr().out
    with Image.open("generated.png") as image:
        assert image.size == (66, 32)


def test_an_erasure_says_what_it_erased(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["erase", "uce/object", "concepts=[red]", "neighbours={nearest: 9, given: [blue]}", "--device", "cpu"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert re.search(r"^erased +red from tiny$", text, re.M)
    assert re.search(r"^neighbours +blue, \w+, \w+, \w+, \w+, \w+ and \d more$", text, re.M) and "distance" not in text
    assert main([*command, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["erased"], summary["base"]) == (["red"], "tiny")
    assert summary["neighbours"][0]["phrase"] == "blue" and len(summary["neighbours"]) >= 9


def test_what_is_wrong_is_said_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["erase", "geom-erasing/qr", "alpa=3"]) == 1
    error = capsys.readouterr().err
    assert "alpa" in error and "alpha" in error
    assert main(["erase", "geom-erasing/qr", "mode=model-removal", "location_tokens=false"]) == 1
    assert "location_tokens must be on" in capsys.readouterr().err
    assert main(["erase", "geom-erasing/qr"]) == 1
    assert "--data DATASET" in capsys.readouterr().err
    assert main(["generate", "no-such-checkpoint", "a ring"]) == 1
    assert "no-such-checkpoint" in capsys.readouterr().err


def test_every_recipe_of_the_ablation_validates_and_differs_in_its_switches() -> None:
    from conceptlib.specs import load_spec

    names = ("qr-plain", "qr-name", "qr-geometry", "qr-reweighting")
    params = [load_spec("recipe", f"geom-erasing/{name}").params for name in names]
    switches = [(p.concept_name, p.location_tokens, p.region_weighting) for p in params]
    assert switches == [(False, False, False), (True, False, False), (True, True, False), (True, True, True)]
    changed = {"concept_name", "location_tokens", "region_weighting"}
    assert len({p.model_copy(update=dict.fromkeys(changed, True)).model_dump_json() for p in params}) == 1
