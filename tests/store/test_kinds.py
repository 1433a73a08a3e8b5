"""Kinds of artifact: one file each, and nowhere a second list of them."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import conceptlib
from conceptlib.catalog import query
from conceptlib.catalog.schema import VERSION, version
from conceptlib.cli.main import main
from conceptlib.errors import ConceptlibError
from conceptlib.store import Store, kinds

POSTER = '''
"""A sheet that shows a checkpoint's images: a kind of artifact in one file."""

from conceptlib.store.kinds import Kind, parent

KIND = Kind(
    "poster",
    order=25,
    precedence=5,
    made_by="make-poster {name}",
    view="posters",
    columns={"width": "TRY_CAST(info->>'$.width' AS BIGINT)", "checkpoint_id": parent("checkpoint")},
    publisher=__name__,
)
REPO_TYPE = "dataset"


def contents(artifact, store, card):
    from conceptlib.hub.plan import Contents, artifact_files

    files = artifact_files(artifact, lambda path: path.endswith(".png"))
    return Contents(f"# {artifact.name}", tuple(files))
'''


@pytest.fixture
def poster(home: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose owner has a kind of their own."""
    file = home / "plugins" / "kinds" / "poster.py"
    file.parent.mkdir(parents=True)
    file.write_text(POSTER)
    monkeypatch.setenv("CONCEPTLIB_PLUGINS", "1")
    return Store()


def test_ours_and_their_order(home: Path) -> None:
    assert kinds.names() == ("dataset", "images", "annotations", "detector", "checkpoint", "evaluation")
    assert kinds.by_precedence() == ("dataset", "detector", "checkpoint", "annotations", "images", "evaluation")
    assert version() == VERSION
    with pytest.raises(ConceptlibError, match="unknown kind of artifact: 'poster'") as caught:
        kinds.get("poster")
    assert "dataset" in caught.value.hint


def test_a_new_kind_is_one_file(poster: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Drafts, names, tags, the catalog's list and view, publishing, and what is collected."""
    with poster.draft("checkpoint", "esd/moon", lock={"a": 1}) as draft:
        (draft.path / "checkpoint.json").write_text("{}")
        checkpoint = draft.commit()
    with poster.draft("poster", "esd/moon", lock={"a": 1}, parents={"checkpoint": checkpoint}) as draft:
        (draft.path / "sheet.png").write_bytes(b"png")
        (draft.path / "notes.txt").write_text("not for others")
        made = draft.commit(info={"width": 640})
    assert kinds.names()[2] == "poster"
    assert poster.get("esd/moon") == made, "its precedence goes before a checkpoint's"
    assert poster.get("esd/moon", "checkpoint") == checkpoint
    poster.tag(made, "v1")
    assert poster.get("esd/moon@v1") == made
    rows = query("SELECT id, width, checkpoint_id FROM posters", store=poster)
    assert rows.rows == ((made.id, 640, checkpoint.id),)
    assert main(["catalog", "ls", "--kind", "poster", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["kind"] == "poster" and row["id"] == made.id
    assert main(["publish", "esd/moon", "--to", str(tmp_path / "out"), "--json"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "manifest.json", "sheet.png"]
    assert main(["verify"]) == 0
    with pytest.raises(ConceptlibError, match="no poster 'sun'") as caught:
        poster.get("sun", "poster")
    assert "`make-poster sun` makes it" in caught.value.hint


def test_the_command_lets_it_run(poster: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONCEPTLIB_CONFIG", str(tmp_path / "settings"))
    monkeypatch.setenv("CONCEPTLIB_PLUGINS", "")
    assert main(["plugins", "allow", "kinds/poster"]) == 0
    kinds._found.cache_clear()  # another process, which looks anew
    assert "poster" in kinds.names()


def test_it_is_left_aside_until_it_may_run(poster: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with poster.draft("poster", "sheet", lock={"a": 1}) as draft:
        (draft.path / "sheet.png").write_bytes(b"png")
        draft.commit()
    query("SELECT 1 FROM posters", store=poster)
    monkeypatch.setenv("CONCEPTLIB_PLUGINS", "0")
    assert "poster" not in kinds.names()
    assert query("SELECT count(*) AS n FROM artifacts", store=poster).rows == ((0,),)
    with pytest.raises(ConceptlibError, match="unknown kind"):
        poster.get("sheet", "poster")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('"poster",', '"checkpoint",'), "is called 'checkpoint'"),
        (('"poster",', '"../up",'), "not a name of a kind"),
        (('view="posters"', 'view="x; DROP TABLE files"'), "not a name for SQL"),
        (("KIND = Kind(", "OTHER = Kind("), "no KIND"),
    ],
)
def test_a_broken_one_is_said(poster: Store, home: Path, change: tuple[str, str], complaint: str) -> None:
    (home / "plugins" / "kinds" / "poster.py").write_text(POSTER.replace(*change))
    with pytest.raises(ConceptlibError, match=complaint):
        kinds.names()


def test_an_unknown_kind_is_a_usage_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["catalog", "ls", "--kind", "nope"], ["catalog", "show", "x", "--kind", "nope"]):
        assert main(command) == 2
        assert "'nope' is not one of dataset, images" in capsys.readouterr().err


def test_nobody_keeps_a_list_of_kinds() -> None:
    """Five or more of ours in one literal are a list that a new kind would be missing from."""
    ours = set(kinds.names())
    found = []
    for path in Path(conceptlib.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            items = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else []
            items = [key for key in node.keys if key] if isinstance(node, ast.Dict) else items
            words = {item.value for item in items if isinstance(item, ast.Constant)}
            if len(words & ours) > 4:
                found.append(path.name)
    # How each of ours is made again from its manifest: code a kind, which no list can replace.
    assert found == ["reproduce.py"]
