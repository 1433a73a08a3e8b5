"""Names that documents gave before the world had a package of its own."""

from __future__ import annotations

import subprocess
import sys


def test_the_model_is_found_under_its_old_name() -> None:
    code = (
        "from conceptlib.models import tiny; from conceptlib.models.tiny.classifier import HEADS; "
        "import conceptlib.models.tiny as again; print(tiny.path().name, again.RESOLUTION, list(HEADS)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["weights", "64", "object"]
