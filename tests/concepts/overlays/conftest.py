"""What the tests of the kinds share: pictures, and geometry measured on the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def ramp() -> Image.Image:
    """320 x 240, from dark to light, with a little texture."""
    x, y = np.meshgrid(np.linspace(40, 210, 320), np.arange(240))
    grey = (x + 6 * np.sin(y / 5)).astype(np.uint8)
    return Image.fromarray(np.stack([grey, grey, np.flipud(grey)], -1))
