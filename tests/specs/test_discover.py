from __future__ import annotations

from pathlib import Path

import pytest

from conceptlib import paths
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.specs import KINDS, discover

CONCEPT = "kind: concept\nname: {name}\ntype: explicit\nphrases: [x]\n"


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_builtin_specs_are_found_from_anywhere() -> None:
    found = {(spec.kind, spec.name): spec for spec in discover.find_all(KINDS)}
    assert found["concept", "qr-code"].origin == "builtin"
    assert found["concept", "qr-code"].path == paths.builtin() / "datasets/concepts/qr-code.yaml"


@pytest.mark.parametrize(
    ("kind", "name", "place"),
    [
        ("dataset", "a", "datasets/a.yaml"),
        ("concept", "a", "datasets/concepts/a.yaml"),
        ("detector", "a", "detectors/a.yaml"),
        ("recipe", "m/a", "recipes/m/a.yaml"),
        ("suite", "a", "recipes/suites/a.yaml"),
        ("model", "a", "recipes/a.yaml"),
        ("sweep", "a", "recipes/sweeps/a.yaml"),
    ],
)
def test_place_and_name_belong_together(home: Path, kind: str, name: str, place: str) -> None:
    path = put(home / "specs" / place, f"kind: {kind}\n")
    assert discover.default_path(kind, name, home / "specs") == path
    assert discover.name_of(kind, path) == name
    assert discover.find(kind, name).path == path
    assert [spec.kind for spec in discover.find_all(KINDS) if spec.path == path] == [kind]


def test_the_working_folder_wins_over_home_wins_over_builtin(home: Path) -> None:
    assert discover.find("concept", "text").origin == "builtin"
    put(home / "specs/datasets/concepts/text.yaml", CONCEPT.format(name="text"))
    assert discover.find("concept", "text").origin == "home"
    put(Path.cwd() / "datasets/concepts/text.yaml", CONCEPT.format(name="text"))
    assert discover.find("concept", "text").origin == "folder"
    assert [spec.origin for spec in discover.find_all("concept") if spec.name == "text"] == ["folder"]


def test_in_the_working_folder_only_specs_count() -> None:
    put(Path.cwd() / "datasets/coco128.yaml", "path: ../coco\nnames: {0: person}\n")
    put(Path.cwd() / "datasets/mine.yaml", "# comment\nkind: dataset\nname: mine\n")
    put(Path.cwd() / "datasets/latin.yaml", "").write_bytes(b"\xff\xfe\x00")
    assert [spec.name for spec in discover.find_all("dataset") if spec.origin == "folder"] == ["mine"]


def test_the_repository_as_working_folder_is_the_builtin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(paths.builtin())
    assert discover.find("concept", "text").origin == "builtin"


def test_unknown_names_and_paths() -> None:
    with pytest.raises(NotFound) as caught:
        discover.find("concept", "qrcode")
    assert caught.value.hint == "did you mean 'qr-code'?"
    with pytest.raises(NotFound, match="no such file"):
        discover.find("concept", "./nowhere.yaml")


def test_a_path_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "x.yaml", CONCEPT.format(name="x"))
    assert discover.find("concept", path).name == "x"
    assert discover.find(("dataset", "concept"), path).kind == "concept"
    with pytest.raises(ConceptlibError) as caught:
        discover.find("dataset", path)
    assert caught.value.what == "this is a spec of kind 'concept'"
    assert "'dataset' is needed" in caught.value.hint
