"""The tokenizer of `tiny`: byte-level BPE in CLIP's layout, small, with every word of the world a single token.

The vocabulary is built, not learned from a corpus: 256 byte symbols and their word-final forms (so any text at all
has tokens), then merges, trained on a word list until each word is one token.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from conceptlib.worlds.tiny import world

MAX_LENGTH = 77
START, END = "<|startoftext|>", "<|endoftext|>"
# What prompts that erase or suppress a concept say, and plain words around them.
EXTRA_WORDS = (
    *("qr", "code", "codes", "watermark", "watermarks", "text", "letters", "logo", "sticker", "barcode", "pattern"),
    *("a", "an", "the", "of", "on", "in", "at", "with", "and", "or", "no", "not", "without"),
    *("photo", "picture", "painting", "image", "drawing", "small", "large", "big", "black", "grey", "brown"),
    *(".", ",", "-", ":", ";", "!", "?"),
)


def word_list() -> list[str]:
    """Every word of the world's captions, and those that erasing needs (qr, code, watermark, text, ...), sorted."""
    phrases = [*world.TEMPLATES, *(place for places in world.PLACES.values() for place in places)]
    words = {word for phrase in phrases for word in re.findall(r"[a-z]+", re.sub(r"\{\w+\}", " ", phrase))}
    words |= {word for options in world.ATTRIBUTES.values() for word in options}
    return sorted(words | set(EXTRA_WORDS))


def byte_symbols() -> list[str]:
    """The printable stand-in of each byte, 0 to 255: printable Latin-1 as it is, the rest from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    symbols = {byte: chr(byte) for byte in printable}
    spare = iter(range(0x100, 0x200))
    return [symbols[byte] if byte in symbols else chr(next(spare)) for byte in range(256)]


def train_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent first (ties by spelling), until every word is a single token."""
    symbols = byte_symbols()
    pieces = []
    for word in words:
        letters = [symbols[byte] for byte in word.encode()]
        pieces.append([*letters[:-1], letters[-1] + "</w>"])
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(pair for piece in pieces for pair in pairwise(piece))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = [_merge(piece, best) for piece in pieces]


def write_tokenizer(folder: Path) -> int:
    """Write the files that `transformers.CLIPTokenizer.from_pretrained` reads; returns the vocabulary's size."""
    from transformers import CLIPTokenizer

    merges = train_merges(word_list())
    symbols = byte_symbols()
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), *(a + b for a, b in merges), START, END]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special: dict[str, Any] = {"unk_token": END, "bos_token": START, "eos_token": END, "pad_token": END}
    CLIPTokenizer(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=MAX_LENGTH, **special
    ).save_pretrained(folder)
    return len(vocab)


def _merge(piece: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for symbol in piece:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out
