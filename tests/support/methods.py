"""Methods of erasure that a test writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.modules import install_module


def install_method(monkeypatch: pytest.MonkeyPatch, root: Path, name: str, source: str) -> None:
    """Make `source` the module of the method `name` while the test runs."""
    install_module(monkeypatch, root, "conceptlib.erasers.methods", name, source)
