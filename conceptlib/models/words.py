"""Words in text-embedding space: where a phrase stands in a prompt, what the text encoder makes of it, and which whole
words a tokenizer knows.

A phrase is represented by the hidden state of its last token, the one that has seen all of it (the text encoders of
Stable Diffusion attend backwards only). An empty phrase is represented by the end mark that stands in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from conceptlib.errors import ConceptlibError
from conceptlib.models.encoding import encode_ids, token_count, token_ids

SHORTEST = 3
"""Letters of a vocabulary entry below which it is not taken for a word."""
_BATCH = 512


@dataclass(frozen=True)
class Subject:
    """A phrase in a prompt.

    states: the conditioning of the whole prompt, (77, D). last: index of the phrase's last token. end: index of the
    first end mark.
    """

    states: torch.Tensor
    last: int
    end: int


@torch.no_grad()
def subjects(pipe: Any, phrases: Sequence[str], template: str = "{}") -> list[Subject]:
    """The phrases, each put into `template` at its `{}`.

    Raises:
        ConceptlibError: a template without exactly one `{}`, or a prompt that is longer than the encoder takes.
    """
    if template.count("{}") != 1:
        raise ConceptlibError(f"the template {template!r} must hold {{}} once", hint='such as "a picture of {}"')
    before = template.partition("{}")[0]
    prompts = [template.replace("{}", phrase) for phrase in phrases]
    found: list[Subject] = []
    for start in range(0, len(prompts), 64):
        part = slice(start, start + 64)
        ids = token_ids(pipe.tokenizer, prompts[part]).to(pipe.text_encoder.device)
        states = encode_ids(pipe.text_encoder, pipe.tokenizer, ids)
        for phrase, prompt, state in zip(phrases[part], prompts[part], states, strict=True):
            end = token_count(pipe.tokenizer, prompt) + 1
            if end >= len(state):
                raise ConceptlibError(
                    f"{prompt!r} has {end - 1} tokens, the text encoder takes {len(state) - 2}",
                    hint="shorten the phrase or the template",
                )
            # The begin mark is token 0, so this counts to the last token of `before + phrase`.
            last = token_count(pipe.tokenizer, before + phrase) if phrase.strip() else end
            found.append(Subject(state, last, end))
    return found


def phrase_states(pipe: Any, phrases: Sequence[str]) -> torch.Tensor:
    """The state at each phrase's last token when the phrase is the whole prompt: float32 (n, D) on the CPU."""
    found = [subject.states[subject.last] for subject in subjects(pipe, phrases)]
    width = int(pipe.text_encoder.config.hidden_size)
    return torch.stack(found).float().cpu() if found else torch.empty(0, width)


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
    tokenizer, encoder = pipe.tokenizer, pipe.text_encoder
    ids = torch.tensor(tokenizer.convert_tokens_to_ids([f"{word}</w>" for word in words]), dtype=torch.long)
    found = [torch.empty(0, int(encoder.config.hidden_size))]
    for part in ids.split(_BATCH) if len(ids) else ():
        begin, end = (torch.full_like(part, mark) for mark in (tokenizer.bos_token_id, tokenizer.eos_token_id))
        states = encode_ids(encoder, tokenizer, torch.stack([begin, part, end], 1).to(encoder.device))
        found.append(states[:, 1].float().cpu())
    return torch.cat(found)
