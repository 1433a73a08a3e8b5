from __future__ import annotations

import sys

import pytest

from conceptlib.errors import NotFound
from conceptlib.specs import ADAPTERS, BUILDERS, FAMILIES, JUDGES, METHODS, METRICS, PROMPTS, Params, Registry
from conceptlib.specs.registry import code_versions


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


def test_the_first_version_says_nothing_in_a_lock(gadgets: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gadgets.version_lock("gadget") == {}
    module = gadgets.get("gadget")
    for version, lock in ((1, {}), (2, {"code_version": 2}), (30, {"code_version": 30})):
        monkeypatch.setattr(module, "VERSION", version, raising=False)
        assert gadgets.version_lock("gadget") == lock and gadgets.version_lock("other-gadget") == {}
    with pytest.raises(NotFound, match="gadjet"):
        gadgets.version_lock("gadjet")


@pytest.mark.parametrize("version", [0, -1, "2", 2.0, True, None])
def test_a_version_is_a_number_from_one_on(gadgets: Registry, monkeypatch: pytest.MonkeyPatch, version: object) -> None:
    monkeypatch.setattr(gadgets.get("gadget"), "VERSION", version, raising=False)
    with pytest.raises(TypeError, match=r"conceptlib\.gadgets\.gadget: VERSION must be an integer"):
        gadgets.version_lock("gadget")


def test_every_version_in_a_lock_is_found() -> None:
    two, three = {"code_version": 2}, {"code_version": 3}
    lock = two | {"detector": {"adapter": "ensemble", "members": [{"adapter": "zxing"}, three]}, "split": None}
    assert code_versions(lock) == {"code_version": 2, "detector.members.1.code_version": 3}
    assert code_versions({"spec": {"version": 2}, "versions": [1, 2]}) == {}


def test_an_empty_package_is_an_empty_registry() -> None:
    assert Registry("conceptlib.nothing_here").names() == []


@pytest.mark.parametrize(
    "registry", [BUILDERS, ADAPTERS, METHODS, METRICS, JUDGES, PROMPTS, FAMILIES], ids=lambda r: r.package
)
def test_every_registered_module_has_params_that_default(registry: Registry) -> None:
    assert registry.names()
    for name in registry:
        assert issubclass(registry.params(name), Params)
