"""A registry of the tests' own, so that they depend on no builder: datasets here are built by `gadget`."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest

import conceptlib
from conceptlib.specs import DatasetSpec, Registry

GADGET = """
from typing import Annotated, Literal
from pydantic import BaseModel, Field
from conceptlib.specs.params import FloatRange, Params as Base, within

class Overlay(Base):
    size: Annotated[FloatRange, within(0, 1)] = (0.1, 0.4)
    modes: tuple[Literal["numeric", "byte", "kanji"], ...] = ("byte",)

class Params(Base):
    rows: Annotated[int, Field(ge=1, le=1000)] = 64
    rate: Annotated[float, Field(ge=0, le=1)] = 0.4
    source: str | None = None
    shuffle: bool = True
    overlay: Overlay = Overlay()
"""


@pytest.fixture
def gadgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A package with the entries `gadget`, `other-gadget` (no Params) and a helper that is no entry."""
    package = tmp_path / "extra" / "gadgets"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "gadget.py").write_text(GADGET)
    (package / "other_gadget.py").write_text("X = 1\n")
    (package / "explosive.py").write_text("raise RuntimeError('imported')\n")
    (package / "wrong.py").write_text("class Params: pass\n")
    (package / "_helper.py").write_text("")
    monkeypatch.setattr(conceptlib, "__path__", [*conceptlib.__path__, str(package.parent)])
    for name in [name for name in sys.modules if name.startswith("conceptlib.gadgets")]:
        monkeypatch.delitem(sys.modules, name)
    registry = Registry("conceptlib.gadgets")
    monkeypatch.setattr(DatasetSpec, "registry", ("builder", registry))
    return registry


@pytest.fixture
def write(home: Path):
    """Write a spec into the user's folder: `write("datasets/mine.yaml", text)` returns its path."""

    def write(place: str, text: str) -> Path:
        path = home / "specs" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
        return path

    return write
