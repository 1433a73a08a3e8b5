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
