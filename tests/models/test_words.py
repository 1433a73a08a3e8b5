from __future__ import annotations

import pytest
import torch

from conceptlib.errors import ConceptlibError
from conceptlib.models.encoding import encode_ids, token_ids
from conceptlib.models.families import stable_diffusion
from conceptlib.models.loading import load_pipeline
from conceptlib.models.words import phrase_states, subjects, vocabulary, vocabulary_states
from tests.support.models import build_pipeline


def test_a_subject_ends_where_its_last_letter_is() -> None:
    """The tests' tokenizer has a token a letter, so positions can be counted by eye."""
    pipe = build_pipeline()
    (found,) = subjects(pipe, ["ring"], "a {} on it")
    assert (found.last, found.end) == (1 + 4, 1 + 9)
    ids = token_ids(pipe.tokenizer, ["a ring on it"])
    assert pipe.tokenizer.convert_ids_to_tokens(int(ids[0, found.last])) == "g</w>"
    assert int(ids[0, found.end]) == pipe.tokenizer.eos_token_id
    with torch.no_grad():
        torch.testing.assert_close(found.states, encode_ids(pipe.text_encoder, pipe.tokenizer, ids)[0])


def test_an_empty_phrase_is_read_at_the_end_mark() -> None:
    pipe = build_pipeline()
    empty, full = subjects(pipe, ["", "ring"])
    assert empty.last == empty.end == 1
    assert full.last == 4 and full.end == 5


def test_many_phrases_keep_their_order() -> None:
    pipe = build_pipeline()
    phrases = [chr(ord("a") + index % 26) * (1 + index // 26) for index in range(70)]
    states = phrase_states(pipe, phrases)
    assert states.shape == (70, 32)
    torch.testing.assert_close(states[65], phrase_states(pipe, [phrases[65]])[0])
    assert phrase_states(pipe, []).shape == (0, 32)


def test_equal_prompts_are_encoded_once_and_no_further_than_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, shapes = build_pipeline(), []
    encode = stable_diffusion.encode_ids
    monkeypatch.setattr(
        stable_diffusion, "encode_ids", lambda *given: shapes.append(tuple(given[2].shape)) or encode(*given)
    )
    phrases = ["ring", "a", "ring", "x" * 20, "ring"]
    whole, part = (subjects(pipe, phrases, whole=one) for one in (True, False))
    assert shapes == [(3, 77), (2, 16), (1, 32)]
    for one, other in zip(whole, part, strict=True):
        assert (one.last, one.end) == (other.last, other.end) and other.end < len(other.states)
        torch.testing.assert_close(other.states, one.states[: len(other.states)])


@pytest.mark.parametrize(("phrase", "template"), [("ring", "no place"), ("ring", "{} {}"), ("x" * 80, "{}")])
def test_what_cannot_be_placed_is_refused(phrase: str, template: str) -> None:
    with pytest.raises(ConceptlibError):
        subjects(build_pipeline(), [phrase], template)


def test_the_vocabulary_is_of_whole_words_and_its_states_need_no_padding() -> None:
    pipe = load_pipeline("tiny", device="cpu")
    known = vocabulary(pipe.tokenizer)
    assert {"star", "circle", "red", "striped"} <= set(known) and known == sorted(known)
    assert not [word for word in known if len(word) < 3 or not word.isalpha()]
    torch.testing.assert_close(
        vocabulary_states(pipe, ["star", "red", "moon"]),
        phrase_states(pipe, ["star", "red", "moon"]),
        rtol=1e-4,
        atol=1e-4,
    )
    assert vocabulary_states(pipe, []).shape == (0, 96)
