"""The repository as a whole: what the wheel holds, what importing costs, whether the docs are those of the code."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import conceptlib

ROOT = Path(__file__).parent.parent
SPEC_FOLDERS = ("datasets", "detectors", "recipes")
MODULES = sorted((ROOT / "conceptlib").rglob("*.py"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the checkout as `pip` would, by the hatchling that the test extra installs."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return built


def test_folders_of_specs_never_become_packages() -> None:
    """`datasets/__init__.py` would hide the `datasets` library from everything that runs in the checkout."""
    for folder in SPEC_FOLDERS:
        assert not list((ROOT / folder).rglob("*.py"))


def test_the_checkout_does_not_hide_the_datasets_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import importlib.util as u; print(u.find_spec('datasets').origin)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "site-packages" in done.stdout


def test_the_wheel_holds_the_package_and_every_spec(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder in SPEC_FOLDERS:
        for path in (ROOT / folder).rglob("*.yaml"):
            assert f"conceptlib/_builtin/{path.relative_to(ROOT)}" in inside
    for path in MODULES:
        assert str(path.relative_to(ROOT)) in inside
    assert "conceptlib/py.typed" in inside
    assert not [name for name in inside if name.startswith(("datasets/", "tests/", "recipes/", "detectors/"))]


def test_the_wheel_alone_lists_and_loads_specs(wheel: Path, tmp_path: Path) -> None:
    """Unpacked outside the checkout, with nothing of the checkout on the path."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """
import conceptlib, sys
from conceptlib.specs import KINDS, find_all, load_spec
for found in find_all(KINDS):
    load_spec(found.kind, found.name)
    print(found.kind, found.name, found.path.is_relative_to(sys.argv[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert "concept qr-code True" in lines
    assert all(line.endswith(" True") for line in lines)


def test_importing_conceptlib_is_cheap() -> None:
    """Without site-packages: the standard library and the one file are enough for the names and the version."""
    code = "import sys, conceptlib; dir(conceptlib); print([n for n in sys.modules if n.startswith('conceptlib')])"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == ["conceptlib"]


def test_every_public_name_is_where_it_is_said_to_be() -> None:
    """By reading the modules: importing them all would load every heavy library into this one test."""
    for name, module in conceptlib._PUBLIC.items():
        path = ROOT / Path(*module.split("."))
        source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        defined = {
            alias.asname or alias.name
            for node in ast.parse(source).body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        } | {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert name in defined, f"conceptlib.{name} is not in {module}"


def test_public_names_are_imported_on_first_use() -> None:
    from conceptlib.specs import load_spec

    conceptlib.__dict__.pop("load_spec", None)
    assert conceptlib.load_spec is load_spec
    assert set(conceptlib.__all__) <= set(dir(conceptlib))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        conceptlib.nothing  # noqa: B018


def test_the_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == conceptlib.__version__
    assert conceptlib.__version__ in (ROOT / "CHANGELOG.md").read_text()


PACKAGE_OF_MODULE = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "zxingcpp": "zxing-cpp",
    "httpx2": "huggingface_hub",  # its HTTP layer, whose errors it lets through
    "tokenizers": "transformers",
    "cv2": "ultralytics",
    "charset_normalizer": "charset-normalizer",
    "pillow_heif": "pillow-heif",
    "fsspec": "huggingface_hub",
}


def test_every_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [
        *project["dependencies"],
        *(r for extra in set(extras) - {"all", "test"} for r in extras[extra]),
    ]
    declared = {requirement.partition(">=")[0].partition("[")[0].lower() for requirement in requirements}
    undeclared = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"conceptlib"}:
                if PACKAGE_OF_MODULE.get(name, name).lower() not in declared:
                    undeclared.add((str(path.relative_to(ROOT)), name))
    assert not undeclared


def test_all_means_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    assert set(everything.removeprefix("conceptlib[").rstrip("]").split(",")) == set(extras) - {"all", "test"}


def test_every_dependency_has_a_pinned_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pinned = {
        line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    for requirement in [*project["dependencies"], *(r for extra in set(extras) - {"all"} for r in extras[extra])]:
        name = requirement.partition(">=")[0].partition("[")[0].lower()
        assert name in pinned or name == "conceptlib"


@pytest.mark.parametrize("room", ["specs", "store", "geometry"])
def test_the_lower_rooms_import_no_upper_ones(room: str) -> None:
    """Dependencies point one way: these know no torch, no datasets, and of the project only each other."""
    ground = ("errors", "paths", "plugins", "progress", "redaction")
    allowed = {"conceptlib", *(f"conceptlib.{name}" for name in ground)}
    for path in sorted((ROOT / "conceptlib" / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                assert top not in {"torch", "diffusers", "transformers", "datasets", "duckdb", "ultralytics"}, path
                below = name in allowed or name.startswith(
                    ("conceptlib.specs", "conceptlib.store", "conceptlib.geometry")
                )
                assert top != "conceptlib" or below, f"{path} imports {name}"


def test_nobody_prints_but_the_sink() -> None:
    """ruff's T20 forbids `print`; this also finds writes to the standard streams."""
    for path in MODULES:
        if path.name == "output.py" or path.parent.name == "__main__":
            continue
        source = path.read_text()
        assert "sys.stdout.write" not in source and "sys.stderr.write" not in source, path


def test_the_command_line_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    assert spec and spec.loader
    make_cli = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_cli)
    assert (ROOT / "docs" / "cli.md").read_text() == make_cli.render(), "run `make docs`"
