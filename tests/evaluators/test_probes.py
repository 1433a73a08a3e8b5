"""Probes: captions that name the target and its neighbours, and how far apart the two are."""

from __future__ import annotations

import numpy as np
import pytest

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.metrics.retain_accuracy import distances
from conceptlib.evaluators.prompts.template import phrase_probe
from conceptlib.evaluators.prompts.words import world_probe
from conceptlib.worlds.tiny import world
from tests.support.models import build_pipeline


@pytest.mark.parametrize("target", ["star", "red", "dotted", "sand", "plain"])
def test_every_caption_names_its_value_and_nothing_else_of_its_domain(target: str) -> None:
    probe = world_probe(target, n=10, each=3, seed=0)
    words = world.ATTRIBUTES[probe.domain]
    assert probe.values == (target, *(word for word in words if word != target))
    assert [row["value"] for row in probe.rows] == [v for v in probe.values for _ in range(10 if v == target else 3)]
    for row in probe.rows:
        assert world.parse(row["caption"]) == {name: row[name] for name in world.ATTRIBUTES}
        assert row[probe.domain] == row["value"]
    assert len({row["seed"] for row in probe.rows}) == len(probe.rows)
    assert probe.of(target).sum() == 10 and probe.of(*probe.neighbours).sum() == 3 * (len(words) - 1)


def test_rows_of_a_value_do_not_depend_on_what_was_erased_or_on_how_many() -> None:
    first, second = world_probe("star", n=6, each=2, seed=1), world_probe("moon", n=9, each=4, seed=1)
    heart = [[row for row in probe.rows if row["value"] == "heart"] for probe in (first, second)]
    assert heart[0] == heart[1][:2]
    moon = [[row for row in probe.rows if row["value"] == "moon"] for probe in (first, second)]
    assert moon[0] == moon[1][:2]
    assert world_probe("star", n=6, each=2, seed=2).rows != first.rows
    scenes = {(row["colour"], row["background"], row["style"]) for row in first.rows}
    assert len(scenes) > 12  # neighbours do not all show the same few scenes


def test_what_else_was_erased_is_no_neighbour() -> None:
    assert world_probe("star", n=4, each=2, seed=0, without=["star", "moon"]).values == (
        "star",
        *("circle", "square", "triangle", "heart", "cross", "arrow"),
    )


def test_a_phrase_that_is_no_word_of_the_world_is_told() -> None:
    with pytest.raises(ConceptlibError, match="no word") as caught:
        world_probe("stars", n=4, each=2, seed=0)
    assert "did you mean 'star'" in caught.value.hint and "clip=" in caught.value.hint


def test_phrases_fill_templates_in_turn() -> None:
    probe = phrase_probe("grumpy cat", ["dog", "cat", "dog"], ["a photo of {}", "{}"], n=3, each=1, seed=0)
    assert [row["caption"] for row in probe.rows] == [
        *("a photo of grumpy cat", "grumpy cat", "a photo of grumpy cat"),
        *("a photo of dog", "a photo of cat"),
    ]
    assert probe.neighbours == ("dog", "cat") and probe.domain == ""
    with pytest.raises(ConceptlibError, match="own neighbour"):
        phrase_probe("dog", ["dog"], ["{}"], n=1, each=1, seed=0)
    with pytest.raises(ConceptlibError, match="no place"):
        phrase_probe("dog", ["cat"], ["a photo"], n=1, each=1, seed=0)


def test_distances_are_the_cosines_of_the_words_states() -> None:
    pipe = build_pipeline()
    found = distances(world_probe("striped", n=4, each=2, seed=0), pipe)
    assert set(found) == {"outlined", "dotted", "shaded"}  # `plain` is in no caption

    def state(word: str) -> np.ndarray:
        ids = pipe.tokenizer(word, return_tensors="pt").input_ids
        return pipe.text_encoder(ids).last_hidden_state[0, -2].detach().numpy().astype(float)

    a, b = state("striped"), state("dotted")
    assert found["dotted"] == pytest.approx(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)
    assert distances(world_probe("plain", n=4, each=2, seed=0), pipe) == {}
