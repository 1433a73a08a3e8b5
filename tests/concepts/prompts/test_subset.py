"""Subsets: the right rows, lineage, names and references; and conditions that see nothing else than the rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conceptlib.concepts.build import build
from conceptlib.concepts.prompts.rules import labels_of
from conceptlib.concepts.prompts.subset import build_subset, select, subset_ref
from conceptlib.concepts.prompts.table import PromptTable
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.store import Artifact, Store
from tests.support.prompts import rows, write_csv

COUNT = 60


@pytest.fixture
def whole(tmp_path: Path) -> Artifact:
    return build("i2p", overrides=[f"source={write_csv(tmp_path / 'i2p.csv', rows(COUNT))}"])


def has(label: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: label in labels_of(row["categories"])


@pytest.mark.parametrize(
    ("condition", "name", "wanted"),
    [
        ("sexual", "i2p/sexual", has("sexual")),
        ("self-harm", "i2p/self-harm", has("self-harm")),
        ("illegal activity", "i2p/illegal-activity", has("illegal activity")),
        ("nudity>50", "i2p/nudity-gt-50", lambda row: row["nudity_percentage"] > 50),
        ("inappropriate <= 20", "i2p/inappropriate-le-20", lambda row: row["inappropriate_percentage"] <= 20),
        ("toxicity<0.5", "i2p/toxicity-lt-0.5", lambda row: True),
        ("hard = 1", "i2p/hard-eq-1", lambda row: row["hard"]),
        ("sexual AND NOT self_harm", None, lambda row: has("sexual")(row) and not has("self-harm")(row)),
        ("sd_seed % 2 = 0 and q16 > 10", None, lambda row: row["sd_seed"] % 2 == 0),
        ("prompt LIKE 'a Teapot%'", None, None),
        ("prompt like 'a teapot%'", None, lambda row: row["prompt"].startswith("a teapot")),
        ("prompt = ''", None, lambda row: row["prompt"] == ""),
        ("case_number < 5 or case_number = 59", None, lambda row: row in [*rows(COUNT)[:5], rows(COUNT)[59]]),
        ("nudity > (select avg(nudity) from prompts)", None, lambda row: row["nudity_percentage"] > 48),
    ],
)
def test_the_rows_are_those_for_which_it_is_true(
    whole: Artifact, condition: str, name: str | None, wanted: Callable[[dict[str, Any]], bool] | None
) -> None:
    if wanted is None:
        with pytest.raises(ConceptlibError, match="no row"):
            build(f"i2p@{condition}")
        return
    subset = build(f"i2p@{condition}")
    table = PromptTable(subset)
    expected = [(number, row) for number, row in enumerate(rows(COUNT)) if wanted(row)]
    assert list(table.rows()) == [row for _, row in expected]
    assert list(table.case_numbers()) == [number for number, _ in expected]
    assert subset.parents == {"dataset": whole.id} and subset.info["of"] == whole.ref
    assert subset.name == name or (name is None and subset.name.startswith("i2p/where-"))
    assert subset.info["rows"] == {"train": len(expected)} and subset.info["unsafe"] is True
    store = Store()
    assert store.get(f"i2p@{condition}") == subset == store.get(subset.name) == build(f"i2p@{condition}")
    assert store.get("i2p") == whole  # a subset does not stand in front of the whole
    assert store.verify(subset) == []


def test_spelling_makes_no_other_subset(whole: Artifact) -> None:
    one = build("i2p@nudity>50")
    for other in ("i2p@nudity > 50", "i2p@NUDITY  >\t50", f"i2p@{whole.id[:6]}@nudity>50"):
        assert build(other) == one == Store().get(other)
    category = build("i2p@illegal activity")
    assert Store().get("i2p@illegal-activity") == category == Store().get("i2p@illegal_activity")
    assert len(Store().list("dataset")) == 3


def test_the_lock_has_the_condition(whole: Artifact) -> None:
    subset = build("i2p@Nudity > 50")
    assert subset.lock["condition"] == subset.info["condition"] == "nudity>50"
    assert subset.lock["spec"]["builder"] == "i2p" and subset.lock["spec"]["name"] == subset.name
    assert subset.info["concepts"] and set(subset.info["concepts"]) <= set(whole.info["concepts"])


def test_the_whole_is_built_first_if_need_be(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "i2p.csv", rows(COUNT))
    subset = build("i2p@sexual", overrides=[f"source={path}"])
    assert Store().get("i2p").id == subset.parents["dataset"]
    newer = write_csv(tmp_path / "newer.csv", rows(COUNT - 6))
    build("i2p", overrides=[f"source={newer}"])
    with pytest.raises(NotFound, match="i2p@nudity>50") as caught:
        Store().get("i2p@nudity>50")
    assert "conceptlib build 'i2p@nudity>50'" in caught.value.hint
    with pytest.raises(NotFound):
        Store().get("i2p@sexual")  # of the newest version there is none yet
    assert Store().get(f"i2p@{subset.parents['dataset'][:8]}@sexual") == subset
    assert len(PromptTable(build("i2p@sexual"))) == len(PromptTable(subset)) - 3


@pytest.mark.parametrize(
    "condition",
    [
        "random() < 0.5",
        "now() > '2020-01-01'",
        "current_date > '2020-01-01'",
        "localtime > '00:00'",
        "ago(interval 1 day) > '2020-01-01'",
        "age(timestamp '2020-01-01') > interval 1 day",
        "nudity in (select nudity from prompts using sample 1)",
        "(select count(*) from duckdb_settings()) > 0",
        "current_setting('memory_limit') = 'x'",
        "error(prompt)",
        "write_log(prompt) is null",
        "nudity > 50 -- or not",
        "nudity /* */ > 50",
        "prompt = $$a$$",
        "prompt = E'a\\'b'",
    ],
)
def test_what_is_no_property_of_a_row_is_refused(whole: Artifact, condition: str) -> None:
    with pytest.raises(ConceptlibError, match="not allowed"):
        build(f"i2p@{condition}")
    assert len(Store().list()) == 1


@pytest.mark.parametrize(
    "condition",
    [
        "(select count(*) from read_text('{file}')) > 0",
        "(select count(*) from '{file}') > 0",
        "(select count(*) from read_csv('{file}')) > 0",
        "nudity > 50; drop view prompts",
        "nudity > 50) union select (1",
        "nudity > 50, hard",
        "true order by nudity",
        "nudity > 50 limit 3",
        "nope > 1",
        "count(*) > 1",
        "nudity >",
        "prompt = 'never closed",
        "self-harm and sexual",
        "install httpfs",
        "* is null or",
        "nudity > $1",
    ],
)
def test_what_is_not_one_condition_on_the_rows_fails(whole: Artifact, tmp_path: Path, condition: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    with pytest.raises(ConceptlibError) as caught:
        build(f"i2p@{condition.format(file=secret)}")
    assert caught.value.hint and len(Store().list()) == 1


@pytest.mark.parametrize("condition", ["cast(prompt as int) > 3", "prompt > 3", "(prompt || 'x')::bool", "-prompt > 1"])
def test_errors_quote_no_prompt(whole: Artifact, condition: str) -> None:
    with pytest.raises(ConceptlibError) as caught:
        build(f"i2p@{condition}")
    error: BaseException | None = caught.value
    while error is not None and not error.__suppress_context__:
        assert "teapot" not in str(error)
        error = error.__cause__ or error.__context__
    assert error is None or "teapot" not in str(error)


def test_subsets_are_of_whole_prompt_datasets(whole: Artifact) -> None:
    subset = build("i2p@sexual")
    with pytest.raises(ConceptlibError, match="subset itself"):
        build_subset(subset, "nudity>50")
    pictures = build("icd-qr", overrides=["rows=4"], workers=1)
    with pytest.raises(ConceptlibError, match="not a dataset of prompts"):
        build(f"{pictures.name}@nudity>50")
    with pytest.raises(ConceptlibError, match="not one of prompts"):
        PromptTable(pictures)
    with pytest.raises(NotFound):
        build("i2p@0000@nudity>50")
    with pytest.raises(ConceptlibError, match="1 to 2000"):
        select(PromptTable(whole), " ")


def test_what_names_a_subset_to_build() -> None:
    assert subset_ref("i2p@nudity>50") and subset_ref("i2p@sexual") and subset_ref("i2p@Self-Harm")
    for other in ("i2p", "i2p@3f2a", "i2p@v1", "i2p@latest", "./my folder@home/x.yaml", "a@b/c d.yml"):
        assert subset_ref(other) is None
