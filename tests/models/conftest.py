from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.models import save_pipeline


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of the Stable Diffusion shape (epsilon prediction, 32 px) as a diffusers folder."""
    return save_pipeline(tmp_path_factory.mktemp("base") / "model")
