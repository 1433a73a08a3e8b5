"""Methods of erasure that a test writes: a file in a folder of its own, found like those of the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import conceptlib
from conceptlib.erasers import methods


def install_method(monkeypatch: pytest.MonkeyPatch, root: Path, name: str, source: str) -> None:
    """Make `source` the module of the method `name` while the test runs."""
    folder = root / "erasers" / "methods"
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(conceptlib, "__path__", [*conceptlib.__path__, str(root)])
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, f"conceptlib.erasers.methods.{module}", raising=False)
