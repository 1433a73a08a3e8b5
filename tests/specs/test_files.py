from __future__ import annotations

from pathlib import Path

import pytest

from conceptlib.errors import ConceptlibError
from conceptlib.specs import copy_spec, list_specs, load_spec, read_spec_text, specs_about, validate_specs


def test_listing_shows_broken_specs_too(write) -> None:
    write("datasets/concepts/broken.yaml", "kind: concept\nname: [\n")
    write(
        "datasets/concepts/fine.yaml",
        "kind: concept\nname: fine\ntype: unsafe\nphrases: [x]\ndescription: |\n  two\n  lines\n",
    )
    rows = {row["name"]: row for row in list_specs("concept")}
    assert rows["fine"]["description"] == "two lines"
    assert (rows["fine"]["uses"], rows["fine"]["origin"]) == ("unsafe", "home")
    assert "validate broken" in rows["broken"]["description"]
    assert rows["text"]["origin"] == "builtin"


def test_copy_keeps_comments_and_takes_the_name_of_its_place(home: Path, tmp_path: Path) -> None:
    original = read_spec_text("concept", "text")
    copied = copy_spec("concept", "text", "mine")
    assert copied == home / "specs/datasets/concepts/mine.yaml"
    assert copied.read_text() == original.replace("name: text", "name: mine")
    assert load_spec("concept", "mine").name == "mine"

    assert copy_spec("concept", "text") == home / "specs/datasets/concepts/text.yaml"
    assert load_spec("concept", "text").source == home / "specs/datasets/concepts/text.yaml"

    path = copy_spec("concept", "mine", tmp_path / "sub" / "free.yaml")
    assert load_spec("concept", path).name == "free"

    (tmp_path / "folder").mkdir()
    assert copy_spec("concept", "mine", tmp_path / "folder") == tmp_path / "folder" / "mine.yaml"


def test_copying_over_a_file_needs_a_word(tmp_path: Path) -> None:
    target = tmp_path / "a.yaml"
    copy_spec("concept", "text", target)
    target.write_text("edited")
    with pytest.raises(ConceptlibError, match="exists already"):
        copy_spec("concept", "text", target)
    assert target.read_text() == "edited"
    copy_spec("concept", "text", target, overwrite=True)
    assert load_spec("concept", target).name == "a"


def test_a_copied_recipe_keeps_its_method(home: Path, write, tmp_path: Path) -> None:
    text = "kind: recipe\nname: some-method/first\nmethod: none\nconcepts: [text]\n"
    write("recipes/some-method/first.yaml", text)
    assert copy_spec("recipe", "some-method/first", "second") == home / "specs/recipes/some-method/second.yaml"
    assert "name: some-method/second" in read_spec_text("recipe", "some-method/second")
    assert "name: some-method/x\n" in copy_spec("recipe", "some-method/first", tmp_path / "x.yaml").read_text()


def test_what_is_about_a_concept(write) -> None:
    write("datasets/with-text.yaml", "kind: dataset\nname: with-text\nbuilder: x\nconcepts: [text]\n")
    write("datasets/without.yaml", "kind: dataset\nname: without\nbuilder: x\n")
    write("datasets/broken.yaml", "kind: [")
    about = specs_about("text")
    assert "with-text" in about["datasets"]
    assert "without" not in about["datasets"]


def test_validate_reports_each_spec(write) -> None:
    path = write("datasets/concepts/bad.yaml", "kind: concept\nname: bad\ntype: unsafe\n")
    bad, text = validate_specs("concept", ["bad", "text"])
    assert not text.problems and str(text) == "text: valid"
    assert bad.as_dict() == {
        "name": "bad",
        "path": str(path),
        "valid": False,
        "problems": [{"where": f"{path}:1", "field": "phrases", "message": "is required", "hint": ""}],
    }
    assert {report.name for report in validate_specs("concept")} > {"bad", "text"}


@pytest.mark.parametrize(
    ("kind", "ref", "dest"),
    [
        ("dataset", "icd-qr", "bad name"),
        ("dataset", "icd-qr", "./mine"),
        ("dataset", "icd-qr", "../mine"),
        ("dataset", "icd-qr", "/tmp/mine"),
        ("dataset", "icd-qr", "a/b"),
        ("dataset", "icd-qr", "Mine"),
        ("dataset", "icd-qr", "nul"),
        ("dataset", "icd-qr", "con.old"),
        ("dataset", "icd-qr", "./bad name.yaml"),
        ("dataset", "icd-qr", ""),
        ("recipe", "uce/object", "uce/a/b"),
        ("recipe", "uce/object", "uce/Big"),
        ("recipe", "uce/object", "aux"),
        ("detector", "zxing", "x" * 200),
    ],
)
def test_a_copy_is_never_invalid(kind: str, ref: str, dest: str, home: Path) -> None:
    before = sorted(Path.cwd().parent.rglob("*"))
    with pytest.raises(ConceptlibError):
        copy_spec(kind, ref, dest)
    assert sorted(Path.cwd().parent.rglob("*")) == before
