"""Results beside recipes: found by name, shown only while the recipe is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conceptlib.cli.main import main
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.specs import copy_spec, list_specs
from conceptlib.specs.results import record, results, with_ranges

NAME = "geom-erasing/qr"


def measured(name: str = NAME) -> str:
    return next(row["measured"] for row in list_specs("recipe") if row["name"] == name)


def test_recorded_results_are_listed(home: Path) -> None:
    path = record({NAME: {"base": "tiny", "target": 0.034, "retain": 0.967}})
    assert path == home / "specs/recipes/results.json"
    assert measured() == "tiny: target 3 %, retain 97 %"
    record({"geom-erasing/qr-name": {"base": "tiny", "target": 0.5, "retain": None}})
    assert measured("geom-erasing/qr-name") == "tiny: target 50 %" and measured() != ""
    assert main(["recipes", "ls"]) == 0


def test_a_range_over_trainings_is_listed_beside_the_mean(home: Path) -> None:
    entry = with_ranges(target=[0.0, 0.02, 0.01], retain=[0.97])
    assert entry == {"target": 0.01, "target_range": [0.0, 0.02], "retain": 0.97}
    record({NAME: {"base": "tiny", **entry}})
    assert measured() == "tiny: target 1 % (0 to 2), retain 97 %"


def test_the_working_folder_comes_first(home: Path) -> None:
    record({NAME: {"base": "tiny", "target": 0.5, "retain": 0.5}})
    (Path.cwd() / "recipes").mkdir()
    path = record({NAME: {"base": "tiny", "target": 0.1, "retain": 0.9}})
    assert path == Path.cwd() / "recipes/results.json"
    assert measured() == "tiny: target 10 %, retain 90 %"


def test_what_was_measured_of_other_parameters_is_not_shown(home: Path) -> None:
    record({NAME: {"base": "tiny", "target": 0.1, "retain": 0.9}})
    copy = copy_spec("recipe", NAME)
    assert measured() != ""  # the same recipe, and its comments do not matter
    copy.write_text("# mine\n" + copy.read_text())
    assert measured() != ""
    copy.write_text(copy.read_text().replace("\n  steps: ", "\n  steps: 1"))
    assert measured() == ""
    copy.write_text("kind: [")
    assert measured() == ""


def test_what_cannot_be_read_is_told(home: Path) -> None:
    with pytest.raises(NotFound):
        record({"no/such": {"base": "tiny"}})
    path = home / "specs/recipes/results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{")
    with pytest.raises(ConceptlibError, match="cannot be read"):
        results()
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(ConceptlibError, match="no mapping"):
        results()
