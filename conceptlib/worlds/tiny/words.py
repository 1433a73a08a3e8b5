"""The world's words, and what its captions do with them. Nothing heavy is imported."""

from __future__ import annotations

import re

OBJECTS = ("circle", "square", "triangle", "star", "heart", "cross", "moon", "arrow")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
BACKGROUNDS = ("white", "night", "grass", "sand", "sky", "brick")
STYLES = ("plain", "outlined", "striped", "dotted", "shaded")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "object": OBJECTS,
    "colour": COLOURS,
    "background": BACKGROUNDS,
    "style": STYLES,
}
STATED = ("object", "colour", "background")
"""What every caption says in words; a style only where there is one."""
UNSAID = ("plain",)
"""The style that no caption names."""
MEANINGS = {
    "object": "the object drawn, null if unknown",
    "colour": "its colour, null if unknown",
    "background": "the background, null if unknown",
    "style": "the style, null if unknown",
}
SPLITS = ("train", "held-out")
SIZE = 64

PLACES: dict[str, tuple[str, ...]] = {
    "white": ("on a white background", "on white paper", "in front of a white wall", "on white"),
    "night": ("at night", "in the night", "on a dark night", "in the dark of the night"),
    "grass": ("on the grass", "in the grass", "on a lawn of grass", "on grass"),
    "sand": ("on the sand", "in the sand", "on a beach of sand", "on sand"),
    "sky": ("in the sky", "against the sky", "up in the sky", "with the sky behind it"),
    "brick": ("on a brick wall", "in front of a brick wall", "against a wall of brick", "on brick"),
}
TEMPLATES = (
    "{a} {np} {place}",
    "{a} {np} {place}",
    "a picture of {a} {np} {place}",
    "a drawing of {a} {np} {place}",
    "an image of {a} {np} {place}",
    "there is {a} {np} {place}",
    "one {np} {place}",
    "the {np} is {place}",
    "{place}, {a} {np}",
    "{place} there is {a} {np}",
)


def parse(text: str) -> dict[str, str]:
    """Read the world's words out of a caption; an attribute that the caption does not state is left out (style: plain).

    >>> parse("a striped red heart on the sand")
    {'object': 'heart', 'colour': 'red', 'background': 'sand', 'style': 'striped'}
    """
    words = re.findall(r"[a-z]+", text.lower())
    found = {name: next((w for w in words if w in options), None) for name, options in ATTRIBUTES.items()}
    found["style"] = found["style"] or "plain"
    return {name: word for name, word in found.items() if word is not None}
