from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conceptlib.catalog import ls, schema
from conceptlib.cli.main import main
from conceptlib.store import KINDS, Artifact, Store

Family = dict[str, Artifact]


def run(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> str:
    assert main(["catalog", *argv]) == status
    return capsys.readouterr().out


def test_ls(capsys: pytest.CaptureFixture[str], family: Family) -> None:
    rows = json.loads(run(capsys, "ls", "--json"))
    assert [(row["kind"], row["id"]) for row in rows][-1] == ("evaluation", family["evaluation"].id)
    assert run(capsys, "ls", "geom-erasing/*", "--kind", "checkpoint", "--quiet").split() == [
        family["checkpoint"].id,
        family["plain"].id,
    ]
    assert "geom-erasing/qr" in run(capsys, "ls", "--limit", "1")
    assert json.loads(run(capsys, "ls", "nothing", "--json")) == []


def test_ls_warns_of_what_is_damaged(capsys: pytest.CaptureFixture[str], family: Family) -> None:
    (family["plain"].path / "manifest.json").write_text("{")
    assert main(["catalog", "ls"]) == 0
    captured = capsys.readouterr()
    assert family["plain"].id in captured.err and "damaged" in captured.err and family["plain"].id not in captured.out


def test_ls_offers_every_kind(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    for kind in KINDS:
        run(capsys, "ls", "--kind", kind)
    run(capsys, "ls", "--kind", "model", status=2)


def test_show(capsys: pytest.CaptureFixture[str], family: Family) -> None:
    shown = json.loads(run(capsys, "show", "geom-erasing/qr", "--json"))
    assert shown["id"] == family["checkpoint"].id and shown["lock"]["base"] == {"ref": "tiny"}
    assert shown["ancestors"][0]["role"] == "annotations" and len(shown["scores"]) == 4
    text = run(capsys, "show", "geom-erasing/qr")
    for part in (
        str(family["checkpoint"].path),
        "    dataset icd-qr@",
        "evaluation geom-erasing/qr/icd@",
        "concept_rate",
    ):
        assert part in text
    assert run(capsys, "show", "yolo-icd", "--kind", "detector", "--quiet").strip() == family["detector"].id


def test_show_what_is_not_there(capsys: pytest.CaptureFixture[str], family: Family) -> None:
    assert main(["catalog", "show", "icd-rq"]) == 1
    assert "icd-qr" in capsys.readouterr().err


def test_query(capsys: pytest.CaptureFixture[str], family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "SELECT kind, count(*) AS n FROM artifacts GROUP BY kind ORDER BY n DESC, kind LIMIT 1"
    assert json.loads(run(capsys, "query", sql, "--json")) == [{"kind": "checkpoint", "n": 2}]
    monkeypatch.setattr("sys.stdin", io.StringIO(sql))
    assert run(capsys, "query", "-", "--quiet").strip() == "checkpoint"
    run(capsys, "query", "DROP TABLE artifacts", status=1)
    run(capsys, "query", "", status=2)


def test_the_examples_and_tables_of_the_help_are_real(capsys: pytest.CaptureFixture[str], family: Family) -> None:
    from conceptlib.cli.catalog import query

    text = query.help or ""
    for name in schema.public():
        assert name in text
    examples = [part.split('"')[1] for part in text.split("conceptlib catalog query ")[1:]]
    assert len(examples) == 3
    for example in examples:
        assert json.loads(run(capsys, "query", example, "--json"))


def test_leaderboard(capsys: pytest.CaptureFixture[str], family: Family) -> None:
    (row,) = json.loads(run(capsys, "leaderboard", "--json"))
    assert row["checkpoint"] == "geom-erasing/qr" and row["value"] == 0.04 and row["base"] == 0.35
    assert run(capsys, "leaderboard", "caption_accuracy", "--descending", "--quiet").strip() == family["checkpoint"].id
    run(capsys, "leaderboard", "fid", status=1)


def test_reindex(capsys: pytest.CaptureFixture[str], family: Family, store: Store) -> None:
    before: Any = json.loads(run(capsys, "ls", "--json"))
    store.layout.catalog.unlink()
    assert json.loads(run(capsys, "reindex", "--json"))["artifacts"] == len(family)
    assert json.loads(run(capsys, "ls", "--json")) == before
    assert str(len(family)) in run(capsys, "reindex")


def test_home_says_where(capsys: pytest.CaptureFixture[str], family: Family, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CONCEPTLIB_HOME", str(tmp_path / "home"))  # restored afterwards: --home sets it
    assert json.loads(run(capsys, "ls", "--json", "--home", str(tmp_path / "other"))) == []


def test_a_question_loads_no_schemas_and_no_metrics(family: Family, home: Path) -> None:
    """What `ls` and `query` cost, also in a large store, is mostly what they import."""
    ls()  # the catalog is up to date
    code = """
import sys
from conceptlib.cli.main import main
status = main(["catalog", "ls", "--quiet"]) or main(["catalog", "query", "FROM artifacts", "--quiet"])
print(status, sorted({"pydantic", "yaml", "numpy", "conceptlib.evaluators", "conceptlib.specs"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.splitlines()[-1] == "0 []"
