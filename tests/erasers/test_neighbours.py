from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from conceptlib.erasers.neighbours import Neighbour, cosine_distance, find_neighbours, gaussian_samples, related
from conceptlib.models.loading import load_pipeline
from conceptlib.models.words import phrase_states, vocabulary
from conceptlib.specs import SpecError, load_spec
from conceptlib.specs.neighbours import NeighbourSpec


@pytest.fixture(scope="module")
def pipe() -> Any:
    return load_pipeline("tiny", device="cpu")


def distance_by_hand(pipe: Any, phrase: str, concept: str) -> float:
    a, b = (phrase_states(pipe, [one])[0].double().numpy() for one in (phrase, concept))
    return float(1 - a @ b / np.sqrt((a @ a) * (b @ b)))


def test_by_hand_they_keep_their_order_and_get_a_distance(pipe: Any) -> None:
    found = find_neighbours(pipe, ["star"], NeighbourSpec(given=("blue moon", "circle")))
    assert [one.phrase for one in found] == ["blue moon", "circle"]
    for one in found:
        assert one.source == "given" and one.gap is None
        assert one.distance == pytest.approx(distance_by_hand(pipe, one.phrase, "star"), abs=1e-5)


def test_the_nearest_words_are_the_nearest(pipe: Any) -> None:
    found = find_neighbours(pipe, ["star"], NeighbourSpec(nearest=6))
    others = {
        word: distance_by_hand(pipe, word, "star") for word in vocabulary(pipe.tokenizer) if not related(word, "star")
    }
    assert [one.phrase for one in found] == sorted(others, key=lambda word: others[word])[:6]
    assert all(one.source == "nearest" for one in found)
    assert [one.distance for one in found] == sorted(one.distance for one in found)


def test_with_several_concepts_the_nearer_one_counts_and_none_is_its_own_neighbour(pipe: Any) -> None:
    found = find_neighbours(pipe, ["star", "red heart"], NeighbourSpec(given=("moon",), nearest=200))
    (moon,) = [one for one in found if one.phrase == "moon"]
    assert moon.source == "given"
    wanted = min(distance_by_hand(pipe, "moon", concept) for concept in ("star", "red heart"))
    assert moon.distance == pytest.approx(wanted, abs=1e-5)
    assert not {"star", "red", "heart"} & {one.phrase for one in found}


def test_gaussian_samples_are_decoded_to_real_words_with_their_gap(pipe: Any) -> None:
    wanted = NeighbourSpec(gaussian=40, spread=1.0)
    found = find_neighbours(pipe, ["star"], wanted, seed=3)
    assert 1 <= len(found) <= 40 and found == find_neighbours(pipe, ["star"], wanted, seed=3)
    assert {one.phrase for one in found} <= set(vocabulary(pipe.tokenizer)) - {"star"}
    samples = gaussian_samples(phrase_states(pipe, ["star"]), 40, 1.0, seed=3)
    for one in found:
        gaps = cosine_distance(samples, phrase_states(pipe, [one.phrase]))
        assert one.source == "gaussian" and one.gap is not None
        assert one.distance == pytest.approx(distance_by_hand(pipe, one.phrase, "star"), abs=1e-5)
        assert float(gaps.min()) <= one.gap + 1e-5
    assert find_neighbours(pipe, ["star"], wanted, seed=4) != found


def test_samples_lie_as_far_away_as_asked() -> None:
    centres = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    samples = gaussian_samples(centres, 6, 0.3, seed=0)
    for index, sample in enumerate(samples):
        centre = centres[index % 2].double()
        assert float((sample - centre).norm() / centre.norm()) == pytest.approx(0.3, rel=0.05)


def test_a_word_found_twice_is_listed_once(pipe: Any) -> None:
    found = find_neighbours(pipe, ["star"], NeighbourSpec(nearest=200, gaussian=20))
    phrases = [one.phrase for one in found]
    assert len(phrases) == len(set(phrases))
    assert all(one.source == "nearest" for one in found)


def test_nothing_asked_nothing_found() -> None:
    assert find_neighbours(None, ["star"], NeighbourSpec()) == []
    assert not NeighbourSpec() and NeighbourSpec(nearest=1)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('["moon"]', NeighbourSpec(given=("moon",))),
        ("{given: [moon, a sun], nearest: 3}", NeighbourSpec(given=("moon", "a sun"), nearest=3)),
        ("{gaussian: 4, spread: 2}", NeighbourSpec(gaussian=4, spread=2.0)),
    ],
)
def test_a_recipe_says_them_as_a_list_or_a_mapping(text: str, wanted: NeighbourSpec) -> None:
    assert load_spec("recipe", "uce/object", [f"neighbours={text}"]).neighbours == wanted


@pytest.mark.parametrize("text", ["moon", "[1]", '[""]', "{nearest: -1}", "{near: 3}", "{spread: 0}"])
def test_what_a_recipe_may_not_say(text: str) -> None:
    with pytest.raises(SpecError, match="neighbours"):
        load_spec("recipe", "uce/object", [f"neighbours={text}"])


@pytest.mark.parametrize(
    ("word", "phrase", "is_related"),
    [
        ("star", "star", True),
        ("stars", "a red star", True),
        ("Star", "star", True),
        ("moon", "star", False),
        ("a", "arrow", False),
        ("arrowhead", "arrow", True),
    ],
)
def test_what_shares_a_stem(word: str, phrase: str, is_related: bool) -> None:
    assert related(word, phrase) is is_related


def test_distance_is_between_0_and_2() -> None:
    a = torch.tensor([[1.0, 0.0], [-3.0, 0.0], [0.0, 2.0]])
    torch.testing.assert_close(cosine_distance(a, a[:1])[:, 0], torch.tensor([0.0, 2.0, 1.0], dtype=torch.float64))


def test_a_neighbour_is_plain_data() -> None:
    assert Neighbour("moon", 0.25, "given") == Neighbour(phrase="moon", distance=0.25, source="given", gap=None)
