from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from conceptlib.cli.main import main
from conceptlib.formats import FORMATS
from conceptlib.store import Store
from tests.support import mixed


def test_export_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    store = Store()
    pictures = mixed.make_pictures(store)
    truth = mixed.make_annotations(store, pictures, mixed.boxes())
    command = ["export", "mixed", "--format", "voc", "--to", "out"]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"written: {Path('out').absolute()} (6 images, 5 boxes of {truth.ref}; 14 files")
    assert captured.err.count("warning") == 2 and "encoded as such" in captured.err
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "unchanged"
    assert main([*command, "--split", "test"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert main([*command, "--split", "train", "--categories", "watermark, qr-code", "--yes", "-q"]) == 0
    assert capsys.readouterr().out == f"{Path('out').absolute()}\n"

    assert main(["import", "out", "--format", "voc", "--data", "mixed", "--name", "back"]) == 0
    made = store.get("back", kind="annotations")
    assert f"annotations {made.ref}: 4 of 6 images named" in capsys.readouterr().out
    assert main(["import", "out", "--format", "voc"]) == 2
    assert "--data" in capsys.readouterr().err
    Path("out/Annotations/stray.xml").write_text("<annotation/>")
    assert main(["import", "out", "--format", "voc", "--data", "mixed"]) == 1
    assert "--allow-missing" in capsys.readouterr().err
    assert main(["import", "out", "--format", "voc", "--data", "mixed", "--allow-missing", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["unmatched"] == 1 and "not in the dataset" in captured.err


def test_what_is_wrong_is_left_out_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    mixed.make_pictures(Store())
    folder = Path("labels")
    folder.mkdir()
    Path("classes.txt").write_text("text\n")
    (folder / "two.txt").write_text("0 0.5 0.5 0.1 0.1\n7 0.5 0.5 0.1 0.1\n0 0.1 0.1 0.3 0.1 0.1 0.3\n")
    (folder / "six.txt").write_bytes(b"\xff\xfe")
    command = ["import", ".", "--format", "yolo", "--data", "mixed"]
    assert main(command) == 1
    assert "2 problem(s)" in (told := capsys.readouterr().err) and "--skip-bad" in told
    assert main([*command, "--skip-bad"]) == 0
    captured = capsys.readouterr()
    assert "1 of 6 images named" in captured.out
    assert "1 objects with an outline, of which the box around it is kept" in captured.err
    assert "1 files, 1 objects left out because they are wrong" in captured.err
    made = Store().get("yolo", kind="annotations")
    lines = [json.loads(line) for line in (made.path / "rejects.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["where"]) for line in lines] == [
        ("file", "labels/six.txt"),
        ("object", "labels/two.txt:2"),
    ]
    assert main(["import", "x", "--skip-bad", "--method", "esd", "--concept", "a", "--base", "b"]) == 2


def test_a_checkpoint_is_called_one(capsys: pytest.CaptureFixture[str]) -> None:
    with Store().draft("checkpoint", "uce/object", lock={}) as draft:
        (draft.path / "x").write_bytes(b"x")
        draft.commit()
    for command in (
        ["export", "uce/object", "--format", "coco", "--to", "out"],
        ["annotate", "uce/object", "-d", "zxing"],
    ):
        assert main(command) == 1
        assert "is of kind checkpoint; it holds no pictures" in capsys.readouterr().err


@pytest.mark.parametrize("to", ["/", ".", "", "x" * 300, "file/below", "a\0b"])
def test_odd_targets_are_told(to: str, capsys: pytest.CaptureFixture[str]) -> None:
    mixed.make_pictures(Store())
    Path("file").write_text("mine")
    assert main(["export", "mixed", "--format", "parquet", "--to", to, "-y"]) in (1, 2)
    told = capsys.readouterr().err
    assert "error" in told and "bug in conceptlib" not in told
    assert Path("file").read_text() == "mine"


def test_the_help_names_every_format() -> None:
    from conceptlib.cli.export import cli as export
    from conceptlib.cli.import_ import cli as imports

    shown = CliRunner().invoke(export, ["--help"]).output
    assert all(name in shown for name in FORMATS.names() if hasattr(FORMATS.get(name), "write"))
    shown = CliRunner().invoke(imports, ["--help"]).output
    assert all(name in shown for name in FORMATS.names() if hasattr(FORMATS.get(name), "read"))
