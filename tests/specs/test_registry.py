from __future__ import annotations

import sys

import pytest

from conceptlib.errors import NotFound
from conceptlib.specs import ADAPTERS, BUILDERS, FAMILIES, METHODS, SUITES, Params, Registry


def test_names_come_from_the_files_and_nothing_is_imported(gadgets: Registry) -> None:
    assert gadgets.names() == ["explosive", "gadget", "other-gadget", "wrong"]
    assert list(gadgets) == gadgets.names()
    assert "other-gadget" in gadgets and "other_gadget" not in gadgets and "-helper" not in gadgets
    assert not [name for name in sys.modules if name.startswith("conceptlib.gadgets")]


def test_get_imports_one(gadgets: Registry) -> None:
    assert gadgets.get("other-gadget").X == 1
    assert "conceptlib.gadgets.gadget" not in sys.modules


def test_unknown_name_names_the_nearest(gadgets: Registry) -> None:
    with pytest.raises(NotFound) as caught:
        gadgets.get("gadjet")
    assert caught.value.what == "there is no gadget 'gadjet'"
    assert caught.value.hint == "did you mean 'gadget'?"


def test_params(gadgets: Registry) -> None:
    assert gadgets.params("gadget")().rows == 64  # type: ignore[attr-defined]
    assert gadgets.params("other-gadget") is Params
    with pytest.raises(TypeError, match="must inherit"):
        gadgets.params("wrong")


def test_an_empty_package_is_an_empty_registry() -> None:
    assert Registry("conceptlib.nothing_here").names() == []


@pytest.mark.parametrize("registry", [BUILDERS, ADAPTERS, METHODS, SUITES, FAMILIES], ids=lambda r: r.package)
def test_every_registered_module_has_params_that_default(registry: Registry) -> None:
    assert registry.names()
    for name in registry:
        assert issubclass(registry.params(name), Params)
