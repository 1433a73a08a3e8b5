from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from conceptlib import paths
from conceptlib.errors import NotFound
from conceptlib.specs import KINDS, SpecError, check_spec, discover, find_all, load_concepts, load_spec, to_yaml
from conceptlib.specs.load import load_targets

GOOD = """
    kind: dataset
    name: mine
    description: A try
    seed: 7
    builder: gadget
    concepts: [text]
    params:
      rows: 10
      rate: 1e-1
      overlay: {size: [0.2, 0.3], modes: [kanji, byte]}
"""


def problems(kind: str, ref: object, overrides: tuple[str, ...] = ()) -> list[tuple[str, str, str, str]]:
    with pytest.raises(SpecError) as caught:
        load_spec(kind, ref, overrides)  # type: ignore[arg-type]
    return [(Path(p.where).name, p.field, p.message, p.hint) for p in caught.value.problems]


@pytest.fixture
def good(write, gadgets) -> Path:
    return write("datasets/mine.yaml", GOOD)


def test_a_spec_is_filled_in(good: Path) -> None:
    spec = load_spec("dataset", "mine")
    assert (spec.kind, spec.name, spec.seed, spec.entry, spec.source) == ("dataset", "mine", 7, "gadget", good)
    assert spec.params.overlay.modes == ("kanji", "byte")
    assert spec.resolved() == {
        "kind": "dataset",
        "name": "mine",
        "seed": 7,
        "builder": "gadget",
        "concepts": ["text"],
        "params": {
            "rows": 10,
            "rate": 0.1,
            "source": None,
            "shuffle": True,
            "overlay": {"size": [0.2, 0.3], "modes": ["kanji", "byte"]},
        },
    }
    with pytest.raises(ValidationError, match="frozen"):
        spec.seed = 1


def test_the_resolved_spec_loads_to_the_same(good: Path, tmp_path: Path) -> None:
    resolved = load_spec("dataset", "mine").resolved()
    copy = tmp_path / "copy.yaml"
    copy.write_text(to_yaml(resolved))
    assert load_spec("dataset", copy).resolved() == resolved
    assert json.loads(json.dumps(resolved)) == resolved


def test_overrides(good: Path) -> None:
    changes = ["rows=5", "params.rate=0.25", "seed=3", "overlay.size=[0, 1]", "source=a=b", "shuffle=false"]
    changes += ["name=other"]
    spec = load_spec("dataset", "mine", changes)
    assert (spec.name, spec.seed) == ("other", 3)
    assert (spec.params.rows, spec.params.rate, spec.params.source, spec.params.shuffle) == (5, 0.25, "a=b", False)
    assert spec.params.overlay.size == (0.0, 1.0)
    assert spec.params.overlay.modes == ("kanji", "byte")


def test_the_last_override_of_a_key_wins(good: Path) -> None:
    assert load_spec("dataset", "mine", ["rows=5", "rows=6"]).params.rows == 6


def test_overrides_reach_params_that_the_file_leaves_out(write, gadgets) -> None:
    write("datasets/bare.yaml", "kind: dataset\nname: bare\nbuilder: gadget\nparams:\n")
    assert load_spec("dataset", "bare", ["overlay.size=[0.5, 0.5]"]).params.overlay.size == (0.5, 0.5)


def test_everything_that_is_wrong_is_reported_at_once(write, gadgets) -> None:
    write(
        "datasets/bad.yaml",
        """
        kind: dataset
        name: bad
        seed: -1
        bilder: gadget
        builder: gadget
        concepts: [txt, 5]
        params:
          rows: "10"
          raet: 0.5
          rate: 2
          shuffle: 1
          overlay:
            size: [0.9, 0.1]
            modes:
              - bite
            siez: [0, 1]
        """,
    )
    assert problems("dataset", "bad") == [
        ("bad.yaml:3", "seed", "must be greater than or equal to 0, not -1", ""),
        ("bad.yaml:4", "bilder", "unknown key", "did you mean 'builder'?"),
        ("bad.yaml:6", "concepts.1", "must be a string, not 5", ""),
        ("bad.yaml:6", "concepts.0", "there is no concept 'txt'", "did you mean 'text'?"),
        ("bad.yaml:8", "params.rows", "must be a whole number, not '10'", ""),
        ("bad.yaml:9", "params.raet", "unknown key", "did you mean 'rate'?"),
        ("bad.yaml:10", "params.rate", "must be less than or equal to 1, not 2", ""),
        ("bad.yaml:11", "params.shuffle", "must be true or false, not 1", ""),
        ("bad.yaml:13", "params.overlay.size", "a range is [low, high], and 0.9 is more than 0.1", ""),
        (
            "bad.yaml:15",
            "params.overlay.modes.0",
            "must be 'numeric', 'byte' or 'kanji', not 'bite'",
            "did you mean 'byte'?",
        ),
        ("bad.yaml:16", "params.overlay.siez", "unknown key", "did you mean 'size'?"),
    ]


HEAD = "kind: dataset\nname: x\n"
BUILT = f"{HEAD}builder: gadget\n"


@pytest.mark.parametrize(
    ("text", "line", "field", "message", "hint"),
    [
        (HEAD, 1, "builder", "is required", ""),
        (f"{HEAD}builder: gadjet\n", 3, "builder", "there is no builder 'gadjet'", "did you mean 'gadget'?"),
        (f"{HEAD}builder: [gadget]\n", 3, "builder", "must be a string, not ['gadget']", ""),
        (f"{BUILT}params: 3\n", 4, "params", "must be a mapping of parameters", ""),
        (BUILT.replace("x", "y"), 2, "name", "is 'y', but the file's place says 'x'", "rename one of the two"),
        (f"{BUILT}concepts: [text, text]\n", 4, "concepts.1", "'text' is listed twice", ""),
        (f"{BUILT}params: {{overlay: 3}}\n", 4, "params.overlay", "must be a mapping, not 3", ""),
        (f"{BUILT}params: {{rate: .nan}}\n", 4, "params.rate", "must be a finite number, not nan", ""),
        (f"{BUILT}seed: 1.5\n", 4, "seed", "must be a whole number, not 1.5", ""),
        (BUILT.replace("dataset", "datset"), 1, "kind", "must be 'dataset', not 'datset'", "did you mean 'dataset'?"),
    ],
)
def test_one_problem_each(write, gadgets, text: str, line: int, field: str, message: str, hint: str) -> None:
    write("datasets/x.yaml", text)
    assert problems("dataset", "x") == [(f"x.yaml:{line}", field, message, hint)]


@pytest.mark.parametrize("name", ["Upper", "a b", "../x", "a/b", "-x", "x" * 97, ""])
def test_names_are_safe_as_folders(tmp_path: Path, gadgets, name: str) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump({"kind": "dataset", "name": name, "builder": "gadget"}))
    assert [problem[1] for problem in problems("dataset", path)] == ["name"]


@pytest.mark.parametrize(
    ("override", "field", "message", "hint"),
    [
        ("rows=0", "params.rows", "must be greater than or equal to 1, not 0", ""),
        ("overlay.size=[0, 2]", "params.overlay.size", "the range must lie within [0, 1]", ""),
        ("overlay.size=[0]", "params.overlay.size.1", "is required", ""),
        ("rowz=3", "params.rowz", "unknown key", "did you mean 'rows'?"),
        ("sed=3", "params.sed", "unknown key", "did you mean 'seed'?"),
        ("builder=gadge", "builder", "there is no builder 'gadge'", "did you mean 'gadget'?"),
        ("concepts=[text, nix]", "concepts.1", "there is no concept 'nix'", "did you mean 'text'?"),
        ("rows", "", "must be key=value, such as rows=64", ""),
        ("=3", "", "must be key=value, such as rows=64", ""),
        ("a..b=3", "", "must be key=value, such as rows=64", ""),
        ("rows.x=3", "params.rows", "has no fields inside; it is not a mapping", ""),
        ("rows=[1", "rows", "the value is not valid YAML", ""),
    ],
)
def test_a_wrong_override_is_named(good: Path, override: str, field: str, message: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec("dataset", "mine", ["rate=0.5", override])
    (problem,) = caught.value.problems
    assert (problem.where, problem.field) == (f"override {override!r}", field)
    assert problem.message.startswith(message)
    if hint:
        assert problem.hint == hint or override.startswith("concepts")


def test_problems_of_the_file_and_of_overrides_come_together(write, gadgets) -> None:
    write("datasets/bad.yaml", "kind: dataset\nname: bad\nbuilder: gadget\nseed: x\n")
    found = problems("dataset", "bad", ("rows=0", "rate"))
    assert [problem[1] for problem in found] == ["seed", "", "params.rows"]


def test_the_message_says_it_all(write, gadgets) -> None:
    path = write("datasets/bad.yaml", "kind: dataset\nname: bad\nbuilder: gadget\nseed: x\n")
    with pytest.raises(SpecError) as caught:
        load_spec("dataset", "bad")
    assert str(caught.value) == f"{path} has 1 problem:\n  {path}:4: seed: must be a whole number, not 'x'"


def test_check_spec_returns_what_load_spec_raises(write, good: Path) -> None:
    assert check_spec("dataset", "mine") == []
    assert [problem.field for problem in check_spec("dataset", "mine", ["rows=0"])] == ["params.rows"]
    with pytest.raises(NotFound):
        check_spec("dataset", "nothing")


def test_a_concept(write) -> None:
    write("datasets/concepts/cat.yaml", "kind: concept\nname: cat\ntype: explicit\nphrases: [cat, kitten]\n")
    concept = load_spec("concept", "cat")
    assert (concept.phrase, concept.type, concept.detectors) == ("cat", "explicit", ())
    assert [c.name for c in load_concepts(["text", "cat"])] == ["text", "cat"]
    write("datasets/concepts/dog.yaml", "kind: concept\nname: dog\ntype: hidden\nphrases: []\ndetectors: [zxin]\n")
    assert [problem[1:] for problem in problems("concept", "dog")] == [
        ("type", "must be 'implicit', 'explicit' or 'unsafe', not 'hidden'", ""),
        ("phrases", "must have at least 1 entry, not 0", ""),
        ("detectors.0", "there is no detector 'zxin'", "did you mean 'zxing'?"),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["kind", "name", "seed", "builder", "concepts", "params", "description", "other"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.sampled_from(["gadget", "dataset", "text", "ü"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["rows", "rate", "overlay", "size", "modes", "x"]), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    ).filter(bool)
)
def test_any_document_is_accepted_or_explained(tmp_path: Path, gadgets, data: dict[str, object]) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    try:
        spec = load_spec("dataset", path)
    except SpecError as error:
        assert error.problems
        assert all(problem.message and problem.where for problem in error.problems)
    else:
        assert spec.resolved()["builder"] == "gadget"


@pytest.mark.parametrize("found", find_all(KINDS), ids=lambda found: f"{found.kind}:{found.name}")
def test_every_builtin_spec_is_valid(found) -> None:
    spec = load_spec(found.kind, found.name)
    assert spec.source.is_relative_to(paths.builtin())
    assert spec.description


def test_validation_imports_nothing_heavy() -> None:
    code = """
import sys
from conceptlib.specs import KINDS, validate_specs
reports = validate_specs(KINDS)
assert len(reports) > 3
heavy = {"torch", "diffusers", "transformers", "datasets", "ultralytics", "pyarrow", "duckdb", "cv2"}
print(sorted(set(sys.modules) & heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("", "there is nothing to erase"),
        ("concepts: []", "there is nothing to erase"),
        ("targets: ['  ']", "is empty"),
        ("targets: [Van Gogh, van gogh]", "is listed twice"),
    ],
)
def test_a_recipe_erases_something(write, lines: str, complaint: str) -> None:
    path = write("recipes/x.yaml", f"kind: recipe\nname: x/y\nmethod: geom-erasing\n{lines}\n")
    problems = check_spec("recipe", path)
    assert any(complaint in problem.message for problem in problems)


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("Van Gogh", "van-gogh"),
        ("Édouard  Manet!", "edouard-manet"),
        ("QR code", "qr-code"),
        ("梵高", "phrase-0a45e7eb"),
    ],
)
def test_a_phrase_names_itself(phrase: str, name: str) -> None:
    from conceptlib.specs.schema import phrase_name

    assert phrase_name(phrase) == name


def test_targets_stand_in_place_of_concepts() -> None:
    recipe = load_spec("recipe", "geom-erasing/qr", ["targets=[Van Gogh]"])
    (found,) = load_targets(recipe)
    assert (found.name, found.phrase, found.type) == ("van-gogh", "Van Gogh", "explicit")
    assert [one.name for one in load_targets(load_spec("recipe", "geom-erasing/qr"))] == ["qr-code"]


@pytest.mark.parametrize("name", discover.names("recipe"))
def test_what_the_user_names_is_erased(name: str) -> None:
    def erased(*overrides: str) -> list[tuple[str, str]]:
        return [(one.name, one.phrase) for one in load_targets(load_spec("recipe", name, overrides))]

    assert erased("concepts=[red]") == [("red", "red")]
    assert erased("concepts=[qr-code]") == [("qr-code", "QR code")]
    assert erased("targets=[a moon]") == [("a-moon", "a moon")]
    assert erased("concepts=[red]", "targets=[]") == [("red", "red")]
    with pytest.raises(SpecError, match="concepts name red, targets name moon"):
        erased("concepts=[red]", "targets=[moon]")
    with pytest.raises(SpecError, match="there is no concept 'redd'; did you mean 'red'"):
        erased("concepts=[redd]")


@pytest.mark.parametrize("name", discover.names("recipe"))
def test_the_recipe_of_a_lock_is_a_recipe(name: str, tmp_path: Path) -> None:
    """A lock names what was erased twice: as concepts, and as the phrases that a user gave."""
    spec = load_spec("recipe", name)
    locked = spec.resolved() | {"concepts": [one.name for one in load_targets(spec)]}
    path = tmp_path / "again.yaml"
    path.write_text(json.dumps(json.loads(json.dumps(locked))))
    again = load_spec("recipe", path)
    assert [one.phrases for one in load_targets(again)] == [one.phrases for one in load_targets(spec)]
    assert again.resolved() | {"concepts": locked["concepts"]} == locked


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rate=2", "must be less than or equal to 1, not 2"),
        ("rate=-1", "must be greater than or equal to 0, not -1"),
        ("rate={qr-code: 2}", "must be less than or equal to 1, not 2"),
        ("count=[3, 1]", "a range is [low, high], and 3 is more than 1"),
    ],
)
def test_a_value_of_several_types_has_one_problem(override: str, message: str) -> None:
    (found,) = problems("dataset", "icd-qr", (override,))
    assert found[2] == message and "constrained" not in found[1]
