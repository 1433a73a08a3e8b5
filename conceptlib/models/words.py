"""Words in text-embedding space: where a phrase stands in a prompt, what the text encoder makes of it, and which whole
words a tokenizer knows.

A phrase is represented by the hidden state of its last token, the one that has seen all of it (the text encoders of
Stable Diffusion attend backwards only). An empty phrase is represented by the end mark that stands in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from conceptlib.errors import ConceptlibError
from conceptlib.models.encoding import token_count
from conceptlib.models.family import Encoder, Model, of

SHORTEST = 3
"""Letters of a vocabulary entry below which it is not taken for a word."""
_BATCH = 512
_BUCKET = 16  # tokens


@dataclass(frozen=True)
class Subject:
    """A phrase in a prompt.

    states: the conditioning of the prompt, (77, D), or its first positions. last: index of the phrase's last token.
    end: index of the first end mark.
    """

    states: torch.Tensor
    last: int
    end: int


def subjects(pipe: Any, phrases: Sequence[str], template: str = "{}", *, whole: bool = True) -> list[Subject]:
    """The phrases, each put into `template` at its `{}`. Equal prompts are encoded once.

    Args:
        whole: all positions are wanted. Else a prompt is encoded up to its end mark and a little further: attention is
            causal, so what follows changes nothing before it, and 16 tokens take a fifth of the time of 77.

    Raises:
        ConceptlibError: a template without exactly one `{}`, or a prompt that is longer than the encoder takes.
    """
    if template.count("{}") != 1:
        raise ConceptlibError(f"the template {template!r} must hold {{}} once", hint='such as "a picture of {}"')
    model, before = of(pipe), template.partition("{}")[0]
    tokenizer = model.tokenizer
    prompts = [template.replace("{}", phrase) for phrase in phrases]
    room = model.length
    ends = {prompt: token_count(tokenizer, prompt) + 1 for prompt in dict.fromkeys(prompts)}
    for prompt, end in ends.items():
        if end >= room:
            raise ConceptlibError(
                f"{prompt!r} has {end - 1} tokens, the text encoder takes {room - 2}",
                hint="shorten the phrase or the template",
            )
    lengths = {prompt: room if whole else min(room, _BUCKET * (1 + end // _BUCKET)) for prompt, end in ends.items()}
    states = _states(model, lengths)
    found: list[Subject] = []
    for phrase, prompt in zip(phrases, prompts, strict=True):
        # The begin mark is token 0, so this counts to the last token of `before + phrase`.
        last = token_count(tokenizer, before + phrase) if phrase.strip() else ends[prompt]
        found.append(Subject(states[prompt], last, ends[prompt]))
    return found


@torch.no_grad()
def _states(model: Model, lengths: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """The first so many hidden states of each prompt; prompts of one length go through the encoder together."""
    found: dict[str, torch.Tensor] = {}
    for length in sorted(set(lengths.values())):
        alike = [prompt for prompt, own in lengths.items() if own == length]
        for start in range(0, len(alike), 64):
            part = alike[start : start + 64]
            ids = [one[:, :length] for one in model.token_ids(part)]
            found.update(zip(part, model.encode_ids(ids).prompt_embeds, strict=True))
    return found


def phrase_states(pipe: Any, phrases: Sequence[str]) -> torch.Tensor:
    """The state at each phrase's last token when the phrase is the whole prompt: float32 (n, D) on the CPU."""
    found = [subject.states[subject.last] for subject in subjects(pipe, phrases, whole=False)]
    return torch.stack(found).float().cpu() if found else torch.empty(0, of(pipe).width)


def vocabulary(tokenizer: Any) -> list[str]:
    """The tokenizer's whole words: entries that end a word, of `SHORTEST` letters or more, sorted.

    Pieces that only ever end longer words cannot be told from words; they are in it.
    """
    entries = (token.removesuffix("</w>") for token in tokenizer.get_vocab() if token.endswith("</w>"))
    return sorted(word for word in entries if len(word) >= SHORTEST and word.isascii() and word.isalpha())


@torch.no_grad()
def vocabulary_states(pipe: Any, words: Sequence[str]) -> torch.Tensor:
    """`phrase_states` of single-token words, without the padding: attention is causal, so what follows a word does not
    change its state, and three tokens do instead of 77. float32 (n, D) on the CPU.
    """
    model = of(pipe)
    found = [torch.empty(0, model.width)]
    for start in range(0, len(words), _BATCH):
        part = [f"{word}</w>" for word in words[start : start + _BATCH]]
        ids = [_alone(encoder, part) for encoder in model.encoders]
        found.append(model.encode_ids(ids).prompt_embeds[:, 1].float().cpu())
    return torch.cat(found)


def _alone(encoder: Encoder, entries: Sequence[str]) -> torch.Tensor:
    """Token ids (n, 3) of single entries of the vocabulary, between the begin and the end mark."""
    tokenizer = encoder.tokenizer
    ids = torch.tensor(tokenizer.convert_tokens_to_ids(list(entries)), dtype=torch.long)
    begin, end = (torch.full_like(ids, mark) for mark in (tokenizer.bos_token_id, tokenizer.eos_token_id))
    return torch.stack([begin, ids, end], 1).to(encoder.module.device)
