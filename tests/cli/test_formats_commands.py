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
    assert captured.out.startswith(f"written: {Path('out').absolute()} (6 pictures, 5 boxes of {truth.ref}; 14 files")
    assert captured.err.count("warning") == 2 and "encoded as such" in captured.err
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "unchanged"
    assert main([*command, "--split", "test"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert main([*command, "--split", "train", "--categories", "watermark, qr-code", "--yes", "-q"]) == 0
    assert capsys.readouterr().out == f"{Path('out').absolute()}\n"

    assert main(["import", "out", "--format", "voc", "--data", "mixed", "--name", "back"]) == 0
    made = store.get("back", kind="annotations")
    assert f"annotations {made.ref}: 4 of 6 pictures named" in capsys.readouterr().out
    assert main(["import", "out", "--format", "voc"]) == 2
    assert "--data" in capsys.readouterr().err
    Path("out/Annotations/stray.xml").write_text("<annotation/>")
    assert main(["import", "out", "--format", "voc", "--data", "mixed"]) == 1
    assert "--allow-missing" in capsys.readouterr().err
    assert main(["import", "out", "--format", "voc", "--data", "mixed", "--allow-missing", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["unmatched"] == 1 and "not in the dataset" in captured.err


def test_the_help_names_every_format() -> None:
    from conceptlib.cli.export import cli as export
    from conceptlib.cli.import_ import cli as imports

    shown = CliRunner().invoke(export, ["--help"]).output
    assert all(name in shown for name in FORMATS.names())
    shown = CliRunner().invoke(imports, ["--help"]).output
    assert all(name in shown for name in FORMATS.names() if hasattr(FORMATS.get(name), "read"))
