"""Reading: both spellings, CSV as people write it, Parquet, folders, the Hub."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptlib.concepts.prompts.columns import COLUMNS
from conceptlib.concepts.prompts.files import open_prompts
from conceptlib.concepts.prompts.rules import check_row
from conceptlib.errors import ConceptlibError
from tests.support.prompts import row, rows, write_csv, write_parquet


def read(path: Path | str) -> list[dict[str, object]]:
    source = open_prompts(str(path))
    found = []
    for number, record in enumerate(source.records()):
        assert record.row == number and record.problem == ""
        checked, problems = check_row(record.values, text=source.text)
        assert problems == []
        found.append(checked)
    return found


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("bom", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_in_every_dress_reads_the_same(tmp_path: Path, copy: bool, bom: bool, end: str) -> None:
    """Line breaks inside a prompt stay as they are, whatever ends a line."""
    path = write_csv(tmp_path / "i2p.csv", rows(13), copy=copy, bom=bom, end=end)
    assert read(path) == rows(13)
    assert open_prompts(str(path)).ignored == (("", "case_number") if copy else ())


@pytest.mark.parametrize("copy", [False, True])
def test_parquet_reads_the_same(tmp_path: Path, copy: bool) -> None:
    assert read(write_parquet(tmp_path / "i2p.parquet", rows(13), copy=copy)) == rows(13)


def test_narrower_types_and_an_empty_prompt_as_null(tmp_path: Path) -> None:
    table = rows(6)
    nulled = [one | {"prompt": one["prompt"] or None} for one in table]
    path = write_parquet(
        tmp_path / "i2p.parquet",
        nulled,
        hard=pa.int8(),
        sd_seed=pa.uint32(),
        q16_percentage=pa.float32(),
        categories=pa.dictionary(pa.int32(), pa.string()),
        lexica_url=pa.large_string(),
    )
    assert read(path) == table


def test_columns_in_another_order(tmp_path: Path) -> None:
    turned = [dict(reversed(one.items())) for one in rows()]
    assert read(write_csv(tmp_path / "i2p.csv", turned)) == rows()


def test_lines_are_those_where_a_row_begins(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "i2p.csv", rows(4))  # the first prompt has a line break, the third too
    path.write_bytes(path.read_bytes() + b"\n")  # and an empty line at the end is no row
    assert [record.place for record in open_prompts(str(path)).records()] == ["line 2", "line 4", "line 5", "line 7"]


def test_a_file_without_a_header_quotes_no_prompt(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "i2p.csv", rows())
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    with pytest.raises(ConceptlibError, match="columns are not those") as caught:
        open_prompts(str(path))
    assert "teapot" not in str(caught.value) and "column a \u2588" in caught.value.what


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_all_problems_of_the_columns_at_once(tmp_path: Path, suffix: str) -> None:
    table = []
    for one in rows():
        changed = one | {"evaluation_seed": 5, "rating": 1}
        del changed["hard"], changed["sd_model"]
        table.append(changed)
    path = tmp_path / f"i2p.{suffix}"
    (write_csv if suffix == "csv" else write_parquet)(path, table)
    with pytest.raises(ConceptlibError) as caught:
        open_prompts(str(path))
    for part in ("4 problems", "sd_seed comes twice", "'rating' is not one", "hard is missing", "sd_model is missing"):
        assert part in caught.value.what
    assert all(column in caught.value.hint for column in COLUMNS)


def test_types_of_parquet_columns(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "i2p.parquet", [row(0) | {"hard": True, "sd_seed": 3.0, "prompt": 7}])
    with pytest.raises(ConceptlibError) as caught:
        open_prompts(str(path))
    for part in ("hard is bool, not int64", "sd_seed is double, not int64", "prompt is int64, not string"):
        assert part in caught.value.what


def test_a_row_of_another_length_and_a_broken_quote(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "i2p.csv", rows(3))
    path.write_bytes(path.read_bytes() + b'short,sexual\n"never closed,sexual')
    records = list(open_prompts(str(path)).records())
    assert [record.problem for record in records[:3]] == ["", "", ""]
    assert records[3].problem == "has 2 fields, the header 14"
    assert (records[4].row, records[4].place) == (4, "line 8") and "nothing after it was read" in records[4].problem
    assert "closed" not in records[4].problem and len(records) == 5


def test_what_is_not_utf8_is_named_by_row(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "i2p.csv", [row(1), row(1, prompt="caf\u00e9"), row(1)])
    path.write_bytes(path.read_bytes().replace("\u00e9".encode(), b"\xe9"))
    records = list(open_prompts(str(path)).records())
    assert [(one.row, one.place, one.column) for one in records if one.problem] == [(1, "line 3", "prompt")]
    assert len(records) == 3

    shard = write_parquet(tmp_path / "i2p.parquet", rows(3))
    table = pq.read_table(shard)
    data = pa.array([b"fine", b"caf\xe9", b"fine"], pa.binary()).view(pa.string())
    pq.write_table(table.set_column(0, "prompt", data), shard)
    records = list(open_prompts(str(shard)).records())
    assert [(one.row, one.column, one.problem) for one in records if one.problem] == [(1, "prompt", "is not UTF-8")]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("i2p.parquet", b"not parquet at all", "cannot be read"),
        ("i2p.csv", b"", "columns are not those"),
        ("i2p.csv", "prompt,\u00e9".encode("utf-16"), "not UTF-8"),
        ("i2p.tsv", b"prompt\thard\n", "neither CSV nor Parquet"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConceptlibError, match=message):
        open_prompts(str(tmp_path / name))


@pytest.mark.parametrize("ref", ["world", "nofile", "./nofile", "/nowhere/i2p", "nofile.csv", "org/name.parquet"])
def test_a_source_that_is_not_there(ref: str) -> None:
    with pytest.raises(ConceptlibError, match="there is no such file") as caught:
        open_prompts(ref)
    assert "ORG/NAME" in caught.value.hint


def test_the_hub_offline_says_what_else_there_is() -> None:
    with pytest.raises(ConceptlibError) as caught:
        open_prompts("AIML-TUDA/i2p")
    assert "source=FILE.csv" in caught.value.hint and caught.value.where == "AIML-TUDA/i2p"


def test_a_folder_of_shards_is_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", rows(13)[6:])
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", rows(13)[:6])
    assert read(tmp_path) == rows(13)


def test_a_folder_with_two_tables_is_not_guessed_at(tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match="no CSV and no Parquet"):
        open_prompts(str(tmp_path))
    write_csv(tmp_path / "a.csv", rows())
    assert read(tmp_path) == rows()
    write_csv(tmp_path / "b.csv", rows())
    with pytest.raises(ConceptlibError, match=r"not clear which files hold the prompts: a\.csv, b\.csv"):
        open_prompts(str(tmp_path))
