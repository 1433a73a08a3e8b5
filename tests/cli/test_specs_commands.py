from __future__ import annotations

import json
from pathlib import Path

import pytest

from conceptlib.cli.main import main, verbs
from conceptlib.specs import load_spec


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main(list(argv))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("group", ["datasets", "detectors", "recipes", "concepts", "suites", "sweeps", "models"])
def test_every_listed_spec_can_be_shown_copied_and_checked(capsys, tmp_path: Path, group: str) -> None:
    status, shown, _ = run(capsys, group, "ls", "--quiet")
    names = shown.split()
    assert status == 0 and names
    for name in names:
        status, text, _ = run(capsys, group, "cat", name)
        assert status == 0 and f"name: {name}\n" in text
        target = tmp_path / group / f"{name.replace('/', '-')}.yaml"
        status, path, _ = run(capsys, group, "cp", name, str(target), "--quiet")
        assert (status, path) == (0, f"{target}\n")
        status, report, error = run(capsys, group, "validate", str(target))
        assert status == 0, report + error


@pytest.mark.parametrize(("name", "kind", "group"), [("icd", "suite", "suites"), ("methods", "sweep", "sweeps")])
def test_what_recipes_held_before_is_found_with_a_note(capsys, name: str, kind: str, group: str) -> None:
    status, text, note = run(capsys, "recipes", "cat", name)
    assert status == 0 and f"name: {name}\n" in text and f"`conceptlib {group} cat {name}`" in note
    assert run(capsys, "recipes", "validate", name)[0] == 0
    status, names, note = run(capsys, "recipes", "ls", "--kind", kind, "--json")
    assert name in [row["name"] for row in json.loads(names)] and f"conceptlib {group} ls" in note
    assert name not in run(capsys, "recipes", "ls", "-q")[1].split()
    assert run(capsys, "recipes", "cat", "uce/object")[2] == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["detector", "export", "--help"], "conceptlib detectors export"),
        (["model", "check", "--help"], "conceptlib models check"),
    ],
)
def test_groups_that_had_another_name_still_work(capsys, old: list[str], new: str) -> None:
    status, text, note = run(capsys, *old)
    assert status == 0 and f"Usage: {new}" in text
    assert note == f"`conceptlib {old[0]}` is `conceptlib {new.split()[1]}` now\n"
    assert run(capsys, *old, "--quiet")[2] == "" and old[0] not in verbs()


def test_ls_json(capsys) -> None:
    status, shown, _ = run(capsys, "concepts", "ls", "--json")
    rows = {row["name"]: row for row in json.loads(shown)}
    assert status == 0
    assert rows["qr-code"]["uses"] == "implicit"
    assert Path(rows["qr-code"]["path"]).is_file()


def test_cat_resolved_is_yaml_and_json(capsys) -> None:
    _, text, _ = run(capsys, "concepts", "cat", "text", "--resolved", "seed=5")
    assert "seed: 5\n" in text and "#" not in text
    status, text, _ = run(capsys, "concepts", "cat", "text", "seed=5", "--json")
    assert status == 0 and json.loads(text) == load_spec("concept", "text", ["seed=5"]).resolved()


def test_cp_then_edit_then_use(capsys, home: Path) -> None:
    status, shown, _ = run(capsys, "concepts", "cp", "text", "letters")
    target = home / "specs/datasets/concepts/letters.yaml"
    assert status == 0 and str(target) in shown and "validate" in shown
    assert "letters" in run(capsys, "concepts", "ls", "-q")[1].split()
    status, _, error = run(capsys, "concepts", "cp", "text", "letters")
    assert status == 1 and "exists already" in error and "--yes" in error
    assert run(capsys, "concepts", "cp", "qr-code", "letters", "--yes")[0] == 0
    assert load_spec("concept", "letters").phrase == "QR code"


def test_validate_tells_everything_and_fails(capsys) -> None:
    path = Path("bad.yaml")
    path.write_text("kind: concept\nname: bad\ntype: implict\nphrases: text\nseed: -1\n")
    status, shown, _ = run(capsys, "concepts", "validate", "bad.yaml")
    assert status == 1
    assert shown.splitlines() == [
        "bad: 3 wrong",
        "  bad.yaml:3: type: must be 'implicit', 'explicit' or 'unsafe', not 'implict'; did you mean 'implicit'?",
        "  bad.yaml:4: phrases: must be a list, not 'text'",
        "  bad.yaml:5: seed: must be greater than or equal to 0, not -1",
    ]
    status, shown, _ = run(capsys, "concepts", "validate", "bad.yaml", "text", "--json")
    bad, text = json.loads(shown)
    assert status == 1 and not bad["valid"] and text["valid"]
    assert [problem["where"] for problem in bad["problems"]] == ["bad.yaml:3", "bad.yaml:4", "bad.yaml:5"]


def test_validate_with_overrides(capsys) -> None:
    assert run(capsys, "concepts", "validate", "text", "seed=3")[0] == 0
    status, shown, _ = run(capsys, "concepts", "validate", "text", "seed=x")
    assert status == 1 and "override 'seed=x': seed: must be a whole number, not 'x'" in shown


def test_unknown_names(capsys) -> None:
    status, shown, error = run(capsys, "concepts", "show", "qrcode")
    assert (status, shown) == (1, "")
    assert "there is no concept 'qrcode'" in error and "did you mean 'qr-code'?" in error


def test_show_a_concept(capsys) -> None:
    status, shown, _ = run(capsys, "concepts", "show", "qr-code", "--json")
    data = json.loads(shown)
    assert status == 0
    assert (data["name"], data["type"], data["phrases"][0]) == ("qr-code", "implicit", "QR code")
    assert "zxing" in data["detectors"]
    assert "icd-qr" in data["datasets"]
    assert "geom-erasing/qr" in data["recipes"]


def test_home_option(capsys, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert run(capsys, "concepts", "cp", "text", "mine", "--home", str(other))[0] == 0
    assert (other / "specs/datasets/concepts/mine.yaml").is_file()
