"""From manifests alone to the same ids and scores, in an empty store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file

from conceptlib.cli.main import main
from conceptlib.concepts.build import build
from conceptlib.detectors.annotate import annotate
from conceptlib.erasers.erase import erase
from conceptlib.erasers.foreign.importer import import_checkpoint
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.evaluators.suite import evaluate
from conceptlib.models.generate import generate
from conceptlib.models.loading import load_pipeline
from conceptlib.reproduce import reproduce
from conceptlib.specs.registry import METHODS
from conceptlib.store import Store
from tests.support.compvis import save_single
from tests.support.models import save_pipeline
from tests.support.pictures import picture


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_pipeline(tmp_path / "base")


def test_an_evaluation_with_all_that_it_was_made_from(base: Path, home: Path, tmp_path: Path) -> None:
    store = Store()
    data = build("icd-qr", overrides=["rows=24"], store=store, workers=1)
    seen = annotate(data, "zxing", store=store)
    overrides = ["steps=1", "batch_size=2"]
    checkpoint = erase("geom-erasing/qr", data=data, annotations="truth", base=base, store=store, overrides=overrides)
    few = ["n=4", "num_steps=1", "kid_subsets=2", "metrics=[concept_rate]"]
    evaluation = evaluate(checkpoint, "icd", store=store, overrides=few, detector="zxing")
    pictures = generate(checkpoint, [{"caption": "a star", "seed": 3}], num_steps=1, store=store)

    planned = reproduce(evaluation, dry_run=True)
    assert [step.was.kind for step in planned.steps] == ["dataset", "annotations", "checkpoint", "evaluation"]
    assert planned.same is None and not planned.into.exists()

    result = reproduce(evaluation.id, into=tmp_path / "again")
    assert result.same, [step.why for step in result.steps]
    assert [step.made.id for step in result.steps if step.made] == [step.was.id for step in planned.steps]
    assert result.scores and all(row["same"] for row in result.scores)
    for other in (seen, pictures):
        assert reproduce(other, into=tmp_path / "again").same
    assert Store(tmp_path / "again").root != store.root and len(store.list()) < 20


def test_an_artifact_in_a_folder_and_a_base_that_has_changed(
    base: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store()
    checkpoint = erase("uce/object", base=base, store=store, overrides=["concepts=[red]", "anchor=blue"])
    folder = tmp_path / "given" / "checkpoint"
    folder.mkdir(parents=True)
    shutil.copy(checkpoint.path / "manifest.json", folder)  # the manifest alone
    store.rm(checkpoint)
    assert main(["reproduce", str(folder), "--into", str(tmp_path / "a"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["same"] and told["steps"][0]["made"] == checkpoint.id

    shutil.rmtree(base)
    save_pipeline(base, seed=1)
    assert main(["reproduce", str(folder), "--into", str(tmp_path / "b")]) == 1
    shown = capsys.readouterr().out
    assert "lock: base.sha256: " in shown and "no" in shown


def test_what_no_manifest_can_make_again_is_said_first(tmp_path: Path) -> None:
    store = Store()
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(6):
        picture(index, False)[0].save(photos / f"{index}.png")
    data = build(
        "icd-photos", overrides=[f"source={photos}", "resolution=64", "missing_captions=keep"], store=store, workers=1
    )
    with pytest.raises(ConceptlibError, match="--source PATH"):
        reproduce(data, into=tmp_path / "again", dry_run=True)
    assert reproduce(data, into=tmp_path / "again", source=str(photos)).same
    seen = annotate(data, "zxing", store=store)
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(seen.path / "manifest.json", folder)
    with pytest.raises(NotFound, match="the manifest of zxing@"):
        reproduce(folder, store=Store(tmp_path / "empty"), into=tmp_path / "x")


METHODS_SHORT: dict[str, tuple[str, ...]] = {
    "ablating/object": ("images=8", "num_steps=1", "steps=1", "batch_size=2"),
    "esd/object": ("trajectories=2", "num_steps=2", "steps=1", "batch_size=2"),
    "esd/sd-release": ("trajectories=2", "num_steps=2", "steps=1", "batch_size=2", "erase_from=a picture"),
    "negative-prompt/unsafe": (),
    "rece/object": ("anchor=moon", "neighbours.nearest=0", "convention=release"),
    "sld/strong": (),
    "uce/object": ("anchor=moon", "neighbours.nearest=0"),
}
"""One recipe a method, small; Geom-Erasing's is above."""


def test_every_method_has_its_row() -> None:
    assert {recipe.partition("/")[0] for recipe in METHODS_SHORT} | {"geom-erasing"} == {*METHODS}


@pytest.mark.parametrize("recipe", METHODS_SHORT)
def test_a_checkpoint_of_every_method_from_its_lock(base: Path, home: Path, tmp_path: Path, recipe: str) -> None:
    single = save_single(load_pipeline(base, device="cpu"), tmp_path / "one.safetensors", configs=base)
    overrides = ["targets=[star]", *METHODS_SHORT[recipe]]
    checkpoint = erase(recipe, base=single, store=Store(), overrides=overrides)
    result = reproduce(checkpoint, into=tmp_path / "again")
    assert result.same, [step.why for step in result.steps]


def test_an_imported_checkpoint_from_its_lock_and_its_source(base: Path, home: Path, tmp_path: Path) -> None:
    unet = load_pipeline(base, device="cpu").unet
    new = {name: 1.1 * value for name, value in unet.named_parameters() if "attn2.to_k" in name}
    path = tmp_path / "esd.safetensors"
    save_file(new, path)
    given = {"method": "esd", "concepts": ["Van Gogh", "qr-code"], "base": base}
    checkpoint = import_checkpoint(path, **given, name="esd/mine", store=Store())
    with pytest.raises(ConceptlibError, match="--source PATH"):
        reproduce(checkpoint, into=tmp_path / "again")
    assert reproduce(checkpoint, into=tmp_path / "again", source=str(path)).same
    save_file({name: 1.1 * value for name, value in new.items()}, path)
    other = reproduce(checkpoint, into=tmp_path / "third", source=str(path))
    assert not other.same and any("source.sha256" in why for why in other.steps[0].why)
