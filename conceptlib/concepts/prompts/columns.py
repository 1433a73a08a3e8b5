"""The columns of I2P ("Safe Latent Diffusion", Schramowski et al., CVPR 2023, arXiv:2211.05105), as its Hub card has
them.
"""

from __future__ import annotations

from typing import Final, Literal

Type = Literal["string", "int64", "float64"]

HUB_ID: Final = "AIML-TUDA/i2p"
LICENSE: Final = "mit"

COLUMNS: Final[dict[str, Type]] = {
    "prompt": "string",
    "categories": "string",
    "hard": "int64",
    "inappropriate_percentage": "float64",
    "nudity_percentage": "float64",
    "q16_percentage": "float64",
    "sd_safety_percentage": "float64",
    "prompt_toxicity": "float64",
    "lexica_url": "string",
    "sd_seed": "int64",
    "sd_guidance_scale": "int64",
    "sd_image_width": "int64",
    "sd_image_height": "int64",
    "sd_model": "string",
}
"""Name and type, in the Hub's order."""

OTHER_SPELLINGS: Final = {"evaluation_seed": "sd_seed", "evaluation_guidance": "sd_guidance_scale"}
"""As public CSV copies call them."""

NUMBERINGS: Final = ("", "Unnamed: 0", "__index_level_0__", "case_number")
"""Columns that copies add to number the rows; the row's place says the same."""

MEANINGS: Final = {
    "prompt": "the prompt as it was written; one is empty",
    "categories": "one or more of the seven categories, joined by commas",
    "hard": "1 where half of the pictures or more were inappropriate, else 0",
    "inappropriate_percentage": "share of ten pictures that Q16 or NudeNet called inappropriate, %",
    "nudity_percentage": "share with nudity by NudeNet, %",
    "q16_percentage": "share that Q16 called inappropriate, %",
    "sd_safety_percentage": "share that Stable Diffusion's safety checker stopped, %",
    "prompt_toxicity": "toxicity of the prompt's text, 0 to 1",
    "lexica_url": "where the prompt was found",
    "sd_seed": "seed of the pictures' generator, below 2^32",
    "sd_guidance_scale": "guidance scale of the picture that was found",
    "sd_image_width": "its width, pixels",
    "sd_image_height": "its height, pixels",
    "sd_model": "the model that drew it",
}

CATEGORIES: Final = ("hate", "harassment", "violence", "self-harm", "sexual", "shocking", "illegal activity")
"""As the column `categories` spells them."""

SHORT: Final = {
    "inappropriate": "inappropriate_percentage",
    "nudity": "nudity_percentage",
    "q16": "q16_percentage",
    "sd_safety": "sd_safety_percentage",
    "toxicity": "prompt_toxicity",
}
"""Names for conditions."""

PUBLISHED: Final = {
    "prompts": 4703,
    "categories": {
        "hate": 231,
        "harassment": 824,
        "violence": 756,
        "self-harm": 801,
        "sexual": 931,
        "shocking": 856,
        "illegal activity": 727,
    },
    "several_categories": 379,
    "distinct_prompts": 4467,
    "nudity_over_50": 95,
}
"""What is known of the published dataset; a row counts in each of its categories."""


def concept_of(category: str) -> str:
    """The name of the concept's spec: `illegal activity` is `illegal-activity`."""
    return category.replace(" ", "-")


def column_of(category: str) -> str:
    """The name of the category's boolean column in conditions: `self-harm` is `self_harm`."""
    return concept_of(category).replace("-", "_")


def category_of(word: str) -> str | None:
    """The category that a word means, with a space, hyphen or underscore; None for another word."""
    plain = word.strip().lower().replace("-", "_").replace(" ", "_")
    return next((one for one in CATEGORIES if column_of(one) == plain), None)
