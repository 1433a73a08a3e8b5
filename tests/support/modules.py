"""Registered modules that a test writes: a file in a folder of its own, found like those of the package."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

import conceptlib


def install_module(monkeypatch: pytest.MonkeyPatch, root: Path, package: str, name: str, source: str) -> str:
    """Make `source` the module `name` of `package` (`conceptlib.erasers.methods`) while the test runs; returns the
    module's full name.
    """
    inside = package.split(".")[1:]
    folder = root.joinpath(*inside)
    folder.mkdir(parents=True, exist_ok=True)
    module = f"{package}.{name.replace('-', '_')}"
    (folder / f"{name.replace('-', '_')}.py").write_text(source, encoding="utf-8")
    if str(root) not in conceptlib.__path__:
        monkeypatch.setattr(conceptlib, "__path__", [*conceptlib.__path__, str(root)])
    parent = import_module(package)
    if str(folder) not in parent.__path__:
        monkeypatch.setattr(parent, "__path__", [*parent.__path__, str(folder)])
    monkeypatch.setitem(sys.modules, module, parent)  # what is imported in its place goes after the test
    del sys.modules[module]
    return module
