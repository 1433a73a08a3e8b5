"""docs/plugins.md, as it stands there: every file is saved and allowed, and every command run."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import save_file

from conceptlib.cli.main import main
from conceptlib.erasers.checkpoint import code_lock, load
from conceptlib.models.family import of
from conceptlib.scores import read
from conceptlib.specs import SpecError, load_spec
from conceptlib.specs.registry import registries
from conceptlib.store import Store

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
EXAMPLES = PAGE[PAGE.index("## An overlay") :]
FILES = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^    conceptlib (.+)$", EXAMPLES, re.MULTILINE)
PLUGINS = [name.removeprefix("plugins/").removesuffix(".py") for name, _ in FILES if name.startswith("plugins/")]


def failure(command: str) -> str:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        return said.getvalue() if main(shlex.split(command)) else ""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, str]]]:
    """All examples, saved and run in one home; what each command said where it failed."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCEPTLIB_HOME", str(folder / "home"))
        patch.setenv("CONCEPTLIB_CONFIG", str(folder / "config"))
        patch.delenv("CONCEPTLIB_PLUGINS", raising=False)
        patch.chdir(folder)
        for name, content in FILES:
            path = folder / "home" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        name, weight = next(iter(of(load("tiny", device="cpu")).parameters().items()))
        save_file({"mine/" + name.replace(".", "/"): weight.detach().contiguous() * 1.1}, folder / "mine.safetensors")
        assert main(["plugins", "allow", "--all"]) == 0
        results = {command: failure(command) for command in COMMANDS}
        yield Store(folder / "home"), results


@pytest.fixture
def store(made: tuple[Store, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("CONCEPTLIB_HOME", str(made[0].root))
    monkeypatch.setenv("CONCEPTLIB_CONFIG", str(made[0].root.parent / "config"))
    return made[0]


def sha256(store: Store, name: str) -> str:
    return "sha256:" + hashlib.sha256((store.root / "plugins" / f"{name}.py").read_bytes()).hexdigest()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_works(made: tuple[Store, dict[str, str]], command: str) -> None:
    assert made[1][command] == ""


def test_there_is_one_of_each_kind() -> None:
    shown = {name.partition("/")[0] for name in PLUGINS}
    listed = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert listed == set(registries()) - {"worlds"}
    assert shown >= listed - {"engines", "families", "pages"}  # families.md has its own


def test_all_are_listed_as_allowed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "ls", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["plugin"]: row["state"] for row in rows} == {
        name.replace("_boxes", "-boxes"): "allowed" for name in PLUGINS
    }


def test_the_overlay_is_drawn_where_the_truth_says(store: Store) -> None:
    dataset = store.get("icd-qr", kind="dataset")
    assert dataset.info["polluted"]["stripes"] > 0 and dataset.info["polluted"]["qr-code"] > 0
    overlay = dataset.lock["builder"]["overlays"]["stripes"]
    assert overlay["plugin"] == sha256(store, "overlays/stripes") and overlay["normal"]["opacity"] == [0.8, 1]
    assert "plugin" not in dataset.lock["builder"]["overlays"]["qr-code"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("{stripes: {opacty: [0, 1]}}", "stripes.opacty unknown key (did you mean 'opacity'?)"),
        ("{stripes: {opacity: [1, 0]}}", "stripes.opacity"),
        ("{stripes: {size: large}}", "stripes.size"),
        ("{strips: {}}", "there is no overlay 'strips'; did you mean 'stripes'?"),
        ("{qr: {rotation: [0, 0]}}", "the parameters of qr stand in a field of their own"),
        ("[stripes]", "params.overlays"),
    ],
)
def test_the_overlays_parameters_are_checked(store: Store, override: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec("dataset", "icd-qr", [f"overlays={override}"])
    assert said in str(caught.value)


def test_the_detector_is_in_the_lock_of_its_annotations(store: Store) -> None:
    annotations = store.get("darkness", kind="annotations")
    assert annotations.lock["detector"]["plugin"] == sha256(store, "detectors/darkness")
    assert annotations.info["boxes"]["qr-code"] > 0


def test_the_builder_built(store: Store) -> None:
    dataset = store.get("fields")
    assert dataset.lock["plugin"] == sha256(store, "builders/fields") and sum(dataset.info["rows"].values()) == 6


def test_the_checkpoint_opens_in_its_own_form(store: Store) -> None:
    checkpoint = store.get("avoiding/hearts", kind="checkpoint")
    assert checkpoint.lock["plugin"] == sha256(store, "methods/avoiding")
    assert load(checkpoint, device="cpu").negative_prompt_default == "heart, love"
    assert code_lock(checkpoint.path)["adapter"] == {"plugin": sha256(store, "weight_formats/words")}


def test_the_importer_found_the_place(store: Store) -> None:
    imported = store.get("esd/heart", kind="checkpoint")
    assert imported.info["changed"] == 1 and imported.lock["source"]["format"] == "mine"
    assert imported.lock["source"]["plugin"] == sha256(store, "importers/mine")


def test_the_format_wrote_the_boxes(store: Store) -> None:
    lines = (store.root.parent / "boxes" / "train.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "image,label,left,top,right,bottom" and len(lines) > 5
    assert any(",stripes," in line for line in lines)


def test_the_suite_measured_with_all_three(store: Store) -> None:
    first, second = store.list(kind="evaluation", name="tiny/moods")
    places = {"metrics": "contrast", "judges": "warm", "prompts": "moods"}
    for kind, name in places.items():
        assert first.lock["versions"][kind][name] == {"plugin": sha256(store, f"{kind}/{name}")}
    told = {row["metric"]: row for row in read(first.path)}
    assert told["contrast"]["value"] > 0 and told["target_accuracy"]["n"] == 4
    assert first.info["metrics"]["contrast"] == {"unit": "score", "higher_is_better": True, "interval": "normal95"}
    assert [row["metric"] for row in read(second.path)] == ["target_accuracy"]
    assert second.lock["measured_with"]["margin"] == 8 and second.info["n"] == 5
