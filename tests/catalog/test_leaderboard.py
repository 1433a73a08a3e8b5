"""Only what can be compared is ranked together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conceptlib import catalog
from conceptlib.catalog.leaderboard import better
from conceptlib.catalog.settings import Settings
from conceptlib.cli.main import main
from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.known import larger_is_better
from conceptlib.specs import load_spec
from conceptlib.store import Artifact, Store

DETECTOR = {"adapter": "yolo", "weights": "abc"}


@pytest.fixture
def measure(make: Any) -> Any:
    """measure(checkpoint, value, n=..., num_steps=..., ...) commits an evaluation as the suites write them."""

    def measure(
        checkpoint: Artifact,
        value: float,
        metric: str = "concept_rate",
        *,
        n: int = 512,
        seed: int = 0,
        concepts: tuple[str, ...] = ("qr-code",),
        detector: dict[str, Any] = DETECTOR,
        suite: str = "icd",
        code_version: int = 1,
        told: Any = None,
        **params: Any,
    ) -> Artifact:
        common = {"low": 0.0, "high": 1.0, "n": n, "interval": "wilson95"}
        about = {"detector": "yolo-icd", "threshold": 0.4} if metric == "concept_rate" else {}
        rows = [
            {"subject": subject, "metric": metric, "value": one, **common, **about}
            for subject, one in (("base", 0.35), ("checkpoint", value))
        ]
        spec = {"suite": suite, "name": suite, "seed": seed, "params": {"n": n, "num_steps": 20} | params}
        lock = {"suite": spec, "concepts": list(concepts), "measured_with": {"detector": detector}}
        return make(
            "evaluation",
            f"{checkpoint.name}/{suite}",
            lock=lock | ({"code_version": code_version} if code_version > 1 else {}),
            parents={"checkpoint": checkpoint},
            info={"suite": suite} | ({"metrics": told} if told else {}),
            files={"scores.json": json.dumps(rows).encode()},
        )

    return measure


@pytest.fixture
def two(make: Any) -> list[Artifact]:
    recipe = {"method": "uce", "concepts": ["qr-code"], "seed": 7}
    return [make("checkpoint", f"uce/{name}", lock={"recipe": recipe, "of": name}) for name in ("a", "b")]


def ranked(store: Store, *args: Any, **options: Any) -> list[tuple[Any, ...]]:
    rows = catalog.leaderboard(*args, store=store, **options).dicts()
    return [(row["group"], row["rank"], row["checkpoint"][-1], row["value"]) for row in rows]


def test_one_setting_is_one_ranking(store: Store, two: list[Artifact], measure: Any) -> None:
    measure(two[0], 0.2)
    measure(two[1], 0.1)
    assert ranked(store) == [(1, 1, "b", 0.1), (1, 2, "a", 0.2)]
    row = catalog.leaderboard(store=store).dicts()[0]
    shown = {
        name: row[name] for name in ("concepts", "suite", "n", "base", "steps", "seed", "trained_seed", "detector")
    }
    assert shown == {
        "concepts": ["qr-code"], "suite": "icd", "n": 512, "base": 0.35, "steps": 20, "seed": 0, "trained_seed": 7,
        "detector": "yolo-icd",
    }  # fmt: skip
    assert row["threshold"] == 0.4 and row["evaluations"] == 1 and row["checkpoint_id"] == two[1].id


def test_a_coarser_evaluation_does_not_replace_a_larger_one(store: Store, two: list[Artifact], measure: Any) -> None:
    large = measure(two[0], 0.2, n=512)
    measure(two[0], 0.0, n=32)
    (row,) = catalog.leaderboard(store=store).dicts()
    assert (row["value"], row["n"], row["evaluation_id"], row["evaluations"]) == (0.2, 512, large.id, 2)
    measure(two[0], 0.3, n=512, seed=1)  # as large, and newer
    (row,) = catalog.leaderboard(store=store).dicts()
    assert (row["value"], row["seed"], row["evaluations"]) == (0.3, 1, 3)


@pytest.mark.parametrize(
    "other",
    [
        {"num_steps": 4},
        {"guidance_scale": 3.0},
        {"captions": "dataset"},
        {"concepts": ("text",)},
        {"concepts": ("qr-code", "text")},
        {"detector": DETECTOR | {"weights": "def"}},
        {"code_version": 2},
        {"suite": "other"},
        {"target": "star"},
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_ranked_by_itself(
    store: Store, two: list[Artifact], measure: Any, other: dict[str, Any]
) -> None:
    measure(two[0], 0.2)
    measure(two[1], 0.1, **other)
    measure(two[0], 0.05, **other)
    groups = ranked(store)
    assert sorted(groups, key=lambda row: row[3]) == sorted(
        [(group, rank, name, value) for group, rank, name, value in groups], key=lambda row: row[3]
    )
    by_group = {frozenset(row[3] for row in groups if row[0] == group) for group in (1, 2)}
    assert by_group == {frozenset({0.2}), frozenset({0.05, 0.1})}
    assert {(row[1], row[3]) for row in groups} == {(1, 0.2), (1, 0.05), (2, 0.1)}
    assert [row[1:] for row in ranked(store, mixed=True)] == [(1, "a", 0.05), (2, "b", 0.1), (3, "a", 0.2)]


@pytest.mark.parametrize(
    "other",
    [{"n": 500}, {"seed": 3}, {"batch_size": 4}, {"examples": 2}, {"subjects": ["base"]}, {"kid_subsets": 5}],
    ids=str,
)
def test_what_can_be_compared_is_ranked_together(
    store: Store, two: list[Artifact], measure: Any, other: dict[str, Any]
) -> None:
    measure(two[0], 0.2)
    measure(two[1], 0.1, **other)
    assert ranked(store) == [(1, 1, "b", 0.1), (1, 2, "a", 0.2)]


def test_the_detector_counts_only_where_it_judges(store: Store, two: list[Artifact], measure: Any) -> None:
    measure(two[0], 0.9, "caption_accuracy")
    measure(two[1], 0.8, "caption_accuracy", detector=DETECTOR | {"weights": "def"})
    assert ranked(store, "caption_accuracy") == [(1, 1, "a", 0.9), (1, 2, "b", 0.8)]


@pytest.fixture
def setting() -> Any:
    """setting(metric, metrics, versions) is the name of a setting of a suite that was said in parts."""

    def setting(metric: str, metrics: dict[str, Any], versions: dict[str, Any] | None = None) -> str:
        parts = {"prompts": {"source": "world"}, "sampler": {}, "judges": {}, "metrics": metrics}
        lock = {"suite": {"name": "mine", **parts}, "versions": {"metrics": versions or {}}}
        return str(Settings(lock, {"suite": "mine"}, {}).of({}, metric)["setting"])

    return setting


@pytest.mark.parametrize(
    "other", [{"against": "base"}, {"rows": "others"}, {"subsets": 5}, {"subset_size": 9}], ids=str
)
def test_what_a_metric_is_told_decides_its_setting(setting: Any, other: dict[str, Any]) -> None:
    kid = {"against": "clean", "rows": "all", "subsets": 100, "subset_size": 256}
    before = setting("kid", {"kid": kid, "draw_seconds": {}})
    assert setting("kid", {"kid": kid}) == setting("kid", {"dino": {"metric": "kid", **kid}}) == before
    assert setting("kid", {"kid": kid | other}) != before
    # Nor does it decide the others'.
    plain, changed = (setting("draw_seconds", {"kid": one, "draw_seconds": {}}) for one in (kid, kid | other))
    assert plain == changed


def test_a_metrics_version_is_that_of_all_its_scores(setting: Any) -> None:
    metrics = {"caption_accuracy": {}, "erase_seconds": {}, "warmth": {}}
    for module, names in {
        "caption-accuracy": ("caption_accuracy", "accuracy_colour", "caption_accuracy_change"),
        "erase-seconds": ("erase_seconds", "peak_memory_mb"),
        "warmth": ("warmth", "warmth_of_hands"),  # nobody's here
    }.items():
        newer = {module: {"code_version": 2}}
        for name in ("caption_accuracy", "accuracy_colour", "caption_accuracy_change", "erase_seconds",
                     "peak_memory_mb", "warmth", "warmth_of_hands"):  # fmt: skip
            assert (setting(name, metrics, newer) != setting(name, metrics)) == (name in names), (module, name)


def test_filters(store: Store, two: list[Artifact], measure: Any) -> None:
    measure(two[0], 0.2)
    measure(two[1], 0.1, concepts=("text",))
    measure(two[1], 0.15, suite="other")
    assert ranked(store, concept="text") == [(1, 1, "b", 0.1)]
    assert ranked(store, suite="other") == [(1, 1, "b", 0.15)]
    for asked, known in (({"concept": "star"}, "qr-code, text"), ({"suite": "erasure"}, "icd, other")):
        with pytest.raises(ConceptlibError, match="no checkpoint has been scored") as caught:
            catalog.leaderboard(store=store, **asked)
        assert known in caught.value.hint
    with pytest.raises(ConceptlibError, match="and the concept"):
        catalog.leaderboard(store=store, concept="text", suite="other")


def test_the_better_comes_first(store: Store, two: list[Artifact], measure: Any) -> None:
    for metric in ("concept_rate", "retain_accuracy", "unheard_of"):
        for checkpoint, value in zip(two, (0.2, 0.1), strict=True):
            measure(checkpoint, value, metric, seed=len(metric))
    assert [row[2] for row in ranked(store)] == ["b", "a"]
    assert [row[2] for row in ranked(store, "retain_accuracy")] == ["a", "b"]
    assert [row[2] for row in ranked(store, "retain_accuracy", descending=False)] == ["b", "a"]
    assert [row[2] for row in ranked(store, "concept_rate", descending=True)] == ["a", "b"]
    assert [row[2] for row in ranked(store, "unheard_of")] == ["b", "a"]


@pytest.mark.parametrize(
    ("metric", "larger"),
    [
        ("concept_rate", False), ("concept_rate.qr-code", False), ("concept_rate_change", False), ("kid", False),
        ("target_accuracy", False), ("target_accuracy_change", False), ("target_clip_score", False),
        ("caption_accuracy", True), ("accuracy_colour", True), ("accuracy.fish", True), ("retain_accuracy", True),
        ("cross_accuracy_change", True), ("target_cross_accuracy", True), ("retain_clip_score", True),
        ("mAP50-95", True), ("AP50/text", True), ("recall/small", True), ("recall-opacity/0.2", True),
        ("false-positive-rate", False), ("clean-false-positive-rate", False), ("fid", None), ("", None),
    ],
)  # fmt: skip
def test_directions(metric: str, larger: bool | None) -> None:
    assert larger_is_better(metric) is larger


def test_every_metric_of_the_suites_has_a_direction() -> None:
    for suite in ("icd", "erasure"):
        for label in load_spec("suite", suite).metrics:
            assert larger_is_better(label) is not None


def test_a_metric_that_is_not_here_goes_the_way_its_evaluations_say(
    store: Store, two: list[Artifact], measure: Any
) -> None:
    for checkpoint, value, told in ((two[0], 0.1, True), (two[1], 0.3, True)):
        measure(checkpoint, value, "warmth", told={"warmth": {"higher_is_better": told}})
    assert [row[1:] for row in ranked(store, metric="warmth")] == [(1, "b", 0.3), (2, "a", 0.1)]
    measure(two[0], 0.2, "warmth", seed=1, told={"warmth": {"higher_is_better": False}})
    assert better("warmth", store=store) is None and better("$x", store=store) is None
    measure(two[0], 0.2, seed=2, told=["odd"])
    assert better("kid", store=store) is False


def test_nothing_to_rank(store: Store, two: list[Artifact], measure: Any) -> None:
    with pytest.raises(ConceptlibError) as caught:
        catalog.leaderboard(store=store)
    assert "conceptlib evaluate" in caught.value.hint
    measure(two[0], 0.2)
    with pytest.raises(ConceptlibError, match="'fid'") as caught:
        catalog.leaderboard("fid", store=store)
    assert caught.value.hint == "metrics: concept_rate"


def test_the_command_says_what_it_ranks(
    store: Store, two: list[Artifact], measure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(two[0], 0.2)
    assert main(["catalog", "leaderboard"]) == 0
    captured = capsys.readouterr()
    assert "qr-code" in captured.out and "group" not in captured.out and not captured.err
    measure(two[1], 0.1, num_steps=4)
    assert main(["catalog", "leaderboard"]) == 0
    captured = capsys.readouterr()
    assert "group" in captured.out and "2 groups" in captured.err
    assert main(["catalog", "leaderboard", "--mixed"]) == 0
    assert "cannot be compared" in capsys.readouterr().err
    measure(two[0], 0.3, "unheard_of", seed=1)
    assert main(["catalog", "leaderboard", "unheard_of"]) == 0
    assert "not known" in capsys.readouterr().err


def test_only_the_best_of_each_group_are_listed(
    store: Store, make: Any, measure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the line that says how many there are; `--limit 0` lists all."""
    recipe = {"method": "uce", "concepts": ["qr-code"], "seed": 7}
    for k in range(23):
        measure(make("checkpoint", "uce/many", lock={"recipe": recipe, "of": k}), k / 100)
        if k < 2:
            measure(make("checkpoint", "uce/many", lock={"recipe": recipe, "of": k}), 0.5 + k, num_steps=4)
    whole = catalog.leaderboard(store=store).dicts()
    assert len(whole) == 25 and sorted({(row["ranked"], row["steps"]) for row in whole}) == [(2, 4), (23, 20)]
    best = catalog.leaderboard(store=store, limit=1).dicts()
    assert [row["rank"] for row in best] == [1, 1] and best == [row for row in whole if row["rank"] == 1]
    (first,) = catalog.leaderboard(store=store, limit=1, mixed=True).dicts()
    assert (first["rank"], first["value"], first["ranked"]) == (1, 0.0, 25)

    for words, shown, told in (
        ((), 22, "22 of 25 are listed"),
        (("--mixed",), 20, "20 of 25 are listed"),
        (("--limit", "0"), 25, ""),
        (("--limit", "3", "--quiet"), 5, "5 of 25 are listed"),
    ):
        assert main(["catalog", "leaderboard", *words, *(() if "--quiet" in words else ("--json",))]) == 0
        captured = capsys.readouterr()
        listed = captured.out.split() if "--quiet" in words else json.loads(captured.out)
        assert len(listed) == shown and told in captured.err and bool(told) == ("are listed" in captured.err)
