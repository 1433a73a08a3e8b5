from __future__ import annotations

import io
import json

import pytest

from conceptlib.cli.main import main
from conceptlib.store import Artifact, Store


@pytest.fixture
def artifact() -> Artifact:
    with Store().draft("dataset", "things", lock={"seed": 1}, parents={}) as draft:
        (draft.path / "a.txt").write_text("hello")
        return draft.commit()


def test_verify_names_the_damaged_file(capsys: pytest.CaptureFixture[str], artifact: Artifact) -> None:
    assert main(["verify"]) == 0
    assert "1 artifact checked" in capsys.readouterr().out
    target = artifact.path / "a.txt"
    target.chmod(0o644)
    target.write_text("hullo")
    assert main(["verify", "things", "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)
    assert (problem["what"], problem["path"]) == ("damaged", str(target))
    assert main(["verify", "--quiet"]) == 1
    assert capsys.readouterr().out == f"{target}\n"


def test_rm_asks_and_shows_first(capsys, artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["rm", "things", "--dry-run"]) == 0
    assert f"would remove dataset things@{artifact.id}" in capsys.readouterr().out
    assert main(["rm", "things"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert artifact.path.is_dir()
    assert main(["rm", "things", "--yes", "-q"]) == 0
    assert capsys.readouterr().out == f"{artifact.id}\n"
    assert Store().list() == []


def test_gc_removes_interrupted_work(capsys) -> None:
    with pytest.raises(RuntimeError), Store().draft("dataset", "half", lock={}, parents={}) as draft:
        (draft.path / "half.txt").write_text("x")
        raise RuntimeError
    assert draft.path.is_dir()
    assert main(["gc"]) == 0  # too young
    assert main(["gc", "--days", "0", "--dry-run", "-q"]) == 0
    assert draft.path.is_dir()
    assert str(draft.path.parent) in capsys.readouterr().out
    assert main(["gc", "--days", "0"]) == 0
    assert not draft.path.exists()


def test_env_tells_versions_and_folders(capsys, home) -> None:
    assert main(["env", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["home"] == str(home)
    assert shown["torch"] and shown["conceptlib"] and shown["device"]


@pytest.fixture
def namesakes(artifact: Artifact) -> dict[str, Artifact]:
    """A checkpoint, the pictures that it drew, which have its name and are newer."""
    made = {"dataset": artifact}
    for kind, parent in (("checkpoint", "dataset"), ("images", "checkpoint")):
        with Store().draft(kind, "uce/object", lock={}, parents={parent: made[parent]}) as draft:
            (draft.path / "a.txt").write_text(kind)
            made[kind] = draft.commit()
    return made


def test_a_name_that_other_kinds_have_too_is_said(capsys, namesakes: dict[str, Artifact]) -> None:
    checkpoint, images = namesakes["checkpoint"], namesakes["images"]
    said = f"uce/object is taken for the checkpoint {checkpoint.id}; it is also images {images.id}"
    for command in (["tag", "uce/object", "best"], ["verify", "uce/object"], ["verify", "uce/object@latest"]):
        assert main(command) == 0
        assert said in capsys.readouterr().err
    assert Store().get("uce/object@best") == checkpoint
    for command in (["verify", checkpoint.id], ["verify", "uce/object", "--kind", "images"], ["verify", "things"]):
        assert main(command) == 0
        assert "is taken for" not in capsys.readouterr().err
    assert main(["rm", "uce/object", "--dry-run"]) == 1  # the checkpoint has a child
    assert main(["rm", "uce/object", "--kind", "images", "--yes", "-q"]) == 0
    assert capsys.readouterr().out == f"{images.id}\n" and not images.path.exists()
    assert (
        main(["rm", "uce/object", "--kind", "pictures"]) == 2
        and "is not one of dataset, images" in capsys.readouterr().err
    )


def test_export_and_publish_take_a_kind(capsys, namesakes: dict[str, Artifact], tmp_path) -> None:
    for command in (["export", "uce/object", "--format", "coco"], ["publish", "things"]):
        assert main([*command, "--to", str(tmp_path / "out"), "--kind", "detector"]) == 1
        assert "no detector" in capsys.readouterr().err


@pytest.mark.parametrize("days", ["nan", "inf", "1e300", "-1"])
def test_days_that_are_no_number_of_days(capsys, days: str) -> None:
    assert main(["gc", "--days", days]) == 2
    assert "days" in capsys.readouterr().err
