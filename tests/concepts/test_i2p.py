"""`conceptlib build i2p`: nothing dropped, reordered or changed; what breaks a rule is told and nothing is built."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from conceptlib.cli.main import main
from conceptlib.concepts.build import build, truth_of
from conceptlib.concepts.prompts import table as prompt_table
from conceptlib.concepts.prompts.columns import CATEGORIES, COLUMNS, HUB_ID, PUBLISHED
from conceptlib.concepts.prompts.rules import labels_of
from conceptlib.concepts.prompts.table import PromptTable, count, differences
from conceptlib.concepts.tables import ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.specs import load_spec
from conceptlib.store import Artifact, Store
from tests.support.prompts import SECRET, row, rows, write_csv, write_parquet


def make(path: Path, *overrides: str) -> Artifact:
    return build("i2p", overrides=[f"source={path}", *overrides])


def test_rows_are_stored_as_they_are(tmp_path: Path) -> None:
    artifact = make(write_csv(tmp_path / "i2p.csv", rows(250), copy=True))
    table = PromptTable(artifact)
    assert list(table.rows()) == rows(250)
    assert list(table.case_numbers()) == list(range(250))
    assert artifact.info["rows"] == {"train": 250} and artifact.info["source"]["numbering_left_out"] == [
        "",
        "case_number",
    ]
    assert {entry.path for entry in artifact.files} == {"data/train-00000-of-00001.parquet"}
    assert Store().verify(artifact) == []


def test_columns_and_types_are_the_hubs(tmp_path: Path) -> None:
    import datasets

    artifact = make(write_csv(tmp_path / "i2p.csv", rows()))
    (shard,) = PromptTable(artifact).shards()
    assert [(field.name, str(field.type)) for field in pq.read_schema(shard)] == [
        (name, {"float64": "double"}.get(kind, kind)) for name, kind in COLUMNS.items()
    ]
    loaded = datasets.load_dataset(str(artifact.path), split="train", cache_dir=str(tmp_path / "cache"))
    assert {name: feature.dtype for name, feature in loaded.features.items()} == COLUMNS
    assert list(loaded) == rows()


def test_the_id_is_the_contents(tmp_path: Path) -> None:
    """Whichever file, spelling, place or format: the same rows are the same dataset."""
    one = make(write_csv(tmp_path / "i2p.csv", rows(9)))
    assert make(write_csv(tmp_path / "copy.csv", rows(9), copy=True, bom=True, end="\r\n")).id == one.id
    assert make(write_parquet(tmp_path / "i2p.parquet", rows(9), copy=True)).id == one.id
    assert make(write_csv(tmp_path / "less.csv", rows(8))).id != one.id
    assert make(write_csv(tmp_path / "turned.csv", rows(9)[::-1])).id != one.id
    assert str(tmp_path) not in json.dumps(one.lock)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_violation_is_named_and_nothing_is_built(tmp_path: Path, suffix: str) -> None:
    table = rows(40)
    table[3]["sd_seed"] = 2**32
    table[3]["hard"] = 1 - table[3]["hard"]
    table[17]["categories"] = "sexual, unknown"
    table[39]["nudity_percentage"] = 100.1
    path = tmp_path / f"bad.{suffix}"
    (write_csv if suffix == "csv" else write_parquet)(path, table)
    before = path.read_bytes()
    with pytest.raises(ConceptlibError) as caught:
        make(path)
    error = caught.value
    assert error.exit_code == 1 and "broken 4 times in 3 rows" in error.what and error.where == str(path)
    for part in ("row 3 ", "sd_seed", "hard", "row 17 ", "categories", "row 39 ", "nudity_percentage"):
        assert part in error.what
    whole = Path(error.hint.rpartition(" ")[2])
    assert [json.loads(line)["row"] for line in whole.read_text().splitlines()] == [3, 3, 17, 39]
    assert Store().list() == [] and path.read_bytes() == before
    assert [p.name for p in whole.parent.rglob("*")] == ["violations.jsonl"]


def test_a_corrected_file_builds_after_a_failure(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "i2p.csv", [row(0, sd_seed=-1)])
    for _ in range(2):
        with pytest.raises(ConceptlibError, match="once in 1 rows"):
            make(path)
    write_csv(path, [row(0)])
    assert len(PromptTable(make(path))) == 1


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "i2p.csv", rows(1))
    path.write_bytes(path.read_bytes().partition(b"\n")[0] + b"\n")
    with pytest.raises(ConceptlibError, match="there are no rows"):
        make(path)


def test_counts_against_counting_by_hand(tmp_path: Path) -> None:
    rng = random.Random(0)
    table = []
    for number in range(300):
        labels = rng.sample(CATEGORIES, rng.choice([1, 1, 2, 3]))
        table.append(row(number, categories=rng.choice([", ", ","]).join(labels)))
    found = count(PromptTable(make(write_csv(tmp_path / "i2p.csv", table))).shards())
    labelled = [labels_of(one["categories"]) for one in table]
    assert found == {
        "prompts": 300,
        "categories": {name: sum(name in labels for labels in labelled) for name in CATEGORIES},
        "hard_by_category": {
            name: sum(name in labels and one["hard"] for labels, one in zip(labelled, table, strict=True))
            for name in CATEGORIES
        },
        "several_categories": sum(len(labels) > 1 for labels in labelled),
        "distinct_prompts": len({one["prompt"] for one in table}),
        "hard": sum(one["hard"] for one in table),
        "nudity_over_50": sum(one["nudity_percentage"] > 50 for one in table),
    }


def test_an_awkward_home(tmp_path: Path) -> None:
    """DuckDB reads patterns and quotes in paths."""
    store = Store(tmp_path / "it's [a] home*?")
    artifact = build("i2p", overrides=[f"source={write_csv(tmp_path / 'i2p.csv', rows())}"], store=store)
    assert artifact.info["prompts"] == 6
    assert build("i2p@sexual", store=store).info["rows"] == {"train": 3}


def test_published_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own file may hold any rows, and it is told that they are others; the published dataset must be whole."""
    path = write_csv(tmp_path / "i2p.csv", rows())
    own = make(path)
    assert own.info["published"] is False and "license" not in own.info
    assert "prompts: 6, published 4703" in own.info["differs"]
    with pytest.raises(ConceptlibError, match="prompts: 6, published 4703"):
        make(path, "complete=true")
    assert not list(Store().root.glob("staging/*/files/data/*.parquet"))

    mine: dict[str, Any] = {key: own.info[key] for key in PUBLISHED}
    monkeypatch.setattr(prompt_table, "PUBLISHED", mine)
    whole = make(path, "complete=true", "seed=1")
    assert differences(mine) == [] and PUBLISHED["prompts"] == 4703
    assert whole.id == own.id  # the rows are the same ones, whatever is known of them


def test_the_specs_of_the_seven_concepts() -> None:
    spec = load_spec("dataset", "i2p")
    concepts = [load_spec("concept", name) for name in spec.concepts]  # type: ignore[attr-defined]
    assert [concept.name.replace("-", "") for concept in concepts] == [
        c.replace("-", "").replace(" ", "") for c in CATEGORIES
    ]
    assert {concept.type for concept in concepts} == {"unsafe"}  # type: ignore[attr-defined]
    assert spec.params.source == HUB_ID  # type: ignore[attr-defined]


def test_what_needs_pictures_says_so(tmp_path: Path) -> None:
    from conceptlib.detectors.annotate import annotate
    from conceptlib.detectors.train import train_detector
    from conceptlib.erasers.erase import erase

    artifact = make(write_csv(tmp_path / "i2p.csv", rows()))
    for call in (
        lambda: ImageTable(artifact),
        lambda: truth_of(artifact),
        lambda: annotate(artifact, "zxing"),
        lambda: train_detector("yolo-icd", artifact),
        lambda: erase("geom-erasing/qr", data=artifact),
    ):
        with pytest.raises(ConceptlibError, match="holds no pictures"):
            call()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "i2p.csv", rows())
    assert main(["build", "i2p", f"source={path}"]) == 0
    shown = capsys.readouterr()
    assert "rows             train 6" in shown.out and "illegal activity 1" in shown.out
    assert "not all of the published dataset: prompts: 6" in shown.err
    assert main(["build", "i2p@sexual", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["name"] == "i2p/sexual" and told["condition"] == "sexual" and "truth" not in told
    write_csv(path, [row(0, sd_seed=2**32)])
    assert main(["build", "i2p", f"source={path}"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and "row 0 (line 2): sd_seed: 4294967296" in shown.err and SECRET[:12] not in shown.err
