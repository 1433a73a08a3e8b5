"""The words of a world are known to its own package alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import conceptlib
from conceptlib.worlds.tiny import words

ROOT = Path(conceptlib.__file__).parent
OWN = ROOT / "worlds" / "tiny"
MODULES = [path for path in sorted(ROOT.rglob("*.py")) if OWN not in path.parents]
ALSO_OTHERS = {"object", "style", "plain", "red", "white", "yellow", "circle", "square", "triangle"}
"""Words of the world that are words of the trade too: boxes have an object, papers erase a style, an overlay has a kind
`plain`, terminals and Pillow know colours, other tools and plots have shapes."""
VOCABULARY = {*words.ATTRIBUTES, *(word for some in words.ATTRIBUTES.values() for word in some)} - ALSO_OTHERS
OLD_NAME = ROOT / "models" / "tiny.py"


def said(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What code says as a string or as a keyword's name, docstrings left out, with the line."""
    prose = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def words_in(tree: ast.AST) -> list[tuple[int, str]]:
    """Strings that are a word of the world, or the name of a score of one."""
    return [(line, text) for line, text in said(tree) if text.removeprefix("accuracy_") in VOCABULARY]


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_nobody_else_says_the_words_of_the_world() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in MODULES
        for line, text in words_in(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)


def test_nobody_else_imports_the_world() -> None:
    """It is found by its name, in the registry; but for the module that keeps the name that it had before."""
    found = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if any(name.startswith("conceptlib.worlds.tiny") for name in imports(ast.parse(path.read_text("utf-8"))))
    ]
    assert found == [str(OLD_NAME.relative_to(ROOT))]


@pytest.mark.parametrize("code", ['x = ("heart", "moon")', 'f({"colour": 1})', 'table["accuracy_background"]'])
def test_the_test_sees_a_word(code: str) -> None:
    assert words_in(ast.parse(code))


def test_the_test_lets_prose_be() -> None:
    assert not words_in(ast.parse('"""heart"""\ndef f(colour: object) -> None:\n    """moon"""\n    g("a heart")'))
