"""`tiny`: the embedded text-to-image model of the Stable Diffusion shape, which draws the world of
`conceptlib.worlds.tiny.world`.

    from diffusers import StableDiffusionPipeline
    pipe = StableDiffusionPipeline.from_pretrained(path())
    pipe("a striped red heart on the sand", height=64, width=64, num_inference_steps=20, guidance_scale=1.2)

Its training pictures carry QR codes, watermarks and stray text that no caption mentions, so it draws them unasked.
"""

from __future__ import annotations

from pathlib import Path

from conceptlib.worlds.tiny.recipe import Params as Params

GUIDANCE_SCALE = 1.2
"""Recommended scale of classifier-free guidance."""
NUM_STEPS = 20
"""Recommended number of DDIM steps."""
RESOLUTION = 64
"""Side of its pictures, in pixels."""


def path() -> Path:
    """The folder of the shipped model, for `StableDiffusionPipeline.from_pretrained`."""
    return Path(__file__).parent / "weights"
