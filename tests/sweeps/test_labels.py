"""Sweeps whose targets are words of a dataset's own labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conceptlib.concepts.build import build
from conceptlib.errors import ConceptlibError
from conceptlib.specs import load_spec
from conceptlib.specs.errors import SpecError
from conceptlib.store import Store
from conceptlib.sweeps.cells import cells, found, label_values, suite_overrides, with_targets

CLIP = ["clip=org/some-clip", "anchor=painting"]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A dataset of paintings, and a way to write sweeps over it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = [
        {"image": rng.integers(0, 256, (32, 32, 3), np.uint8), "text": f"{season}", "artist": artist, "season": season}
        for artist, season in [("Monet", "winter"), ("Degas", "summer"), ("Corot", "winter"), ("Monet", None)]
    ]
    build("icd-qr", overrides=["rate=0", "labels=[artist, season]", "duplicates=off"], source=rows, workers=1)

    def written(**fields: Any) -> None:
        spec = {"kind": "sweep", "name": "mine", "recipes": ["negative-prompt/unsafe"], "seeds": 1, "labels": "icd-qr"}
        spec |= {"evaluate": CLIP, **fields}
        path = Path("recipes/sweeps/mine.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in spec.items()) + "\n")

    return written


def test_targets_domains_and_neighbours_come_from_the_dataset(write: Any) -> None:
    write(column="artist")
    store = Store()
    spec = with_targets(load_spec("sweep", "mine"), store)
    made = cells(spec, label_values(spec, store))
    assert [(cell.target, cell.domain) for cell in made] == [(name, "artist") for name in ("Corot", "Degas", "Monet")]
    assert suite_overrides(spec, made[1]) == [
        *CLIP,
        'prompts.target="Degas"',
        'prompts.neighbours=["Corot", "Monet"]',
        "seed=0",
    ]
    planned = found(load_spec("sweep", "mine"), store)  # recipe and suite are validated on the way
    assert [one.cell.target for one in planned] == ["Corot", "Degas", "Monet"]


def test_named_targets_find_their_column_and_are_filled_in(write: Any) -> None:
    write(targets=["winter", "Degas"], recipes=["m/{domain} anchor='{target}'"])
    store, spec = Store(), load_spec("sweep", "mine")
    made = cells(spec, label_values(spec, store))
    assert [(cell.recipe, cell.neighbours) for cell in made] == [
        ("m/season", ("summer",)),
        ("m/artist", ("Corot", "Monet")),
    ]


def test_neighbours_that_somebody_names_are_taken(write: Any) -> None:
    write(targets=["Degas"], evaluate=[*CLIP, "neighbours=[dog]"])
    spec = load_spec("sweep", "mine")
    (cell,) = cells(spec, label_values(spec, Store()))
    assert suite_overrides(spec, cell) == [*CLIP, "neighbours=[dog]", 'prompts.target="Degas"', "seed=0"]


def test_the_words_of_a_world_are_no_words_of_the_dataset(write: Any) -> None:
    write(targets=["heart"], recipes=["m/{domain}"])
    spec = load_spec("sweep", "mine")
    with pytest.raises(ConceptlibError, match="'heart' has no domain: it is no label of the sweep's dataset"):
        cells(spec, label_values(spec, Store()))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"column": "painter"}, "no classes in a label column 'painter'"),
        ({"column": "artist", "labels": "gone"}, "gone"),
    ],
)
def test_columns_that_are_not_there(write: Any, fields: dict[str, Any], message: str) -> None:
    write(**fields)
    with pytest.raises(ConceptlibError, match=message) as caught:
        found(load_spec("sweep", "mine"), Store())
    assert caught.value.hint


@pytest.mark.parametrize("fields", [{}, {"column": "artist", "labels": None}, {"targets": []}])
def test_a_sweep_without_targets_is_a_mistake(write: Any, fields: dict[str, Any]) -> None:
    write(**fields)
    with pytest.raises(SpecError, match=r"nothing to erase|which dataset"):
        load_spec("sweep", "mine")


def test_an_override_of_targets_takes_the_place_of_the_column(write: Any) -> None:
    write(column="artist")
    spec = with_targets(load_spec("sweep", "mine", ["targets=[Degas]"]), Store())
    assert spec.targets == ("Degas",) and spec.column is None
