"""The repository as a whole: what the wheel holds, what importing costs, whether the docs are those of the code."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Container, Iterator
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


GROUND = (
    *("errors", "progress", "redaction", "timing", "cores", "stats", "sealed"),
    *("paths", "plugins", "processes", "huberrors"),
)
"""Single files and small packages that everything may use; they use those before them."""
ROOMS = (
    *GROUND,
    *("geometry", "store", "hubfiles", "specs", "scores", "engines", "reports", "tables", "images"),
    *("concepts", "worlds", "prompts", "synthesis", "models", "training", "generation"),
    *("detectors", "erasers", "formats", "evaluators", "sweeps", "catalog"),
    *("hub", "remotes", "serve", "reproduce", "demo", "cli", "__main__"),
)
"""Every room of the house, from the ground up: a room imports from those before it, inside functions too."""

UPWARDS = {
    ("concepts.excluding", "detectors"): "`exclude` names a detector, which is loaded when a build asks for it",
    ("concepts.captioner", "models"): "`missing_captions` names a model, which is loaded when a build asks for it",
    ("concepts.builders.icd", "worlds"): "a world is a source, found by its name; its package uses overlays",
    ("concepts.duplicates", "worlds"): "the same",
    ("concepts.sources", "worlds"): "the same",
    ("models", "hub"): "names on the Hub (`hub.reading`) are moving down to the specs",
    ("erasers", "hub"): "the same",
    ("models.generate", "erasers"): "drawing by a checkpoint is moving above the erasers",
}
"""Imports against the order, with the reason. The list may only shrink: one that is no longer needed has to go."""


def _names() -> dict[str, Path]:
    """Every module by its name below `conceptlib`: `store.draft`."""
    found = {}
    for path in MODULES:
        parts = path.relative_to(ROOT / "conceptlib").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _imports(tree: ast.AST, names: Container[str]) -> Iterator[tuple[str, int]]:
    """What a module imports of ours, inside functions too, with the line; not what only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield from _imports(node, names)
        if isinstance(node, ast.Import):
            told = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            told = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in told:
            inside = name.removeprefix("conceptlib.") if name.startswith("conceptlib.") else ""
            while inside and inside not in names:
                inside = inside.rpartition(".")[0]
            if inside:
                yield inside, node.lineno


@pytest.fixture(scope="module")
def graph() -> dict[str, dict[str, int]]:
    """For every module those of ours that it imports, each with a line that does so."""
    names = _names()
    return {name: dict(_imports(_tree(path), names)) for name, path in names.items() if name}


def _within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def test_every_room_has_its_place(graph: dict[str, dict[str, int]]) -> None:
    assert not sorted({name.partition(".")[0] for name in graph} - set(ROOMS)), "name the room in ROOMS"


def test_rooms_import_from_below_alone(graph: dict[str, dict[str, int]]) -> None:
    wrong, needed = [], set()
    for name, imports in graph.items():
        for other, line in imports.items():
            here, there = name.partition(".")[0], other.partition(".")[0]
            if here == there or ROOMS.index(there) < ROOMS.index(here):
                continue
            known = [pair for pair in UPWARDS if _within(name, pair[0]) and _within(other, pair[1])]
            needed.update(known)
            if not known:
                wrong.append(f"conceptlib/{name.replace('.', '/')}, line {line}: {there} is above {here}: {other}")
    assert not wrong, "\n".join(wrong)
    assert needed == set(UPWARDS), f"no longer needed, remove it from UPWARDS: {sorted(set(UPWARDS) - needed)}"


def test_no_module_imports_itself_in_a_circle(graph: dict[str, dict[str, int]]) -> None:
    """In any number of steps, inside functions too."""
    finished: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' -> '.join((*way[way.index(name) :], name))}"
        if name not in finished:
            for other in graph[name]:
                if not _within(name, other):  # a package is imported with what lies in it
                    visit(other, (*way, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("room", [*GROUND, "specs", "store", "geometry"])
def test_the_lower_rooms_are_light(room: str) -> None:
    for name, path in _names().items():
        for node in ast.walk(_tree(path)) if _within(name, room) else ():
            told = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            told = [node.module or ""] if isinstance(node, ast.ImportFrom) else told
            heavy = {"torch", "diffusers", "transformers", "datasets", "duckdb", "ultralytics"}
            assert not heavy.intersection(one.partition(".")[0] for one in told), path


LONG_MODULES = {
    "erasers.loop": 425,
    "store.journal": 450,
}
"""Modules of more than 400 lines, and how long each may be. The list may only shrink."""
LONG_FUNCTIONS = {
    "erasers.erase.erase": 80,
    "erasers.loop.train": 65,
    "models.generate.generate": 80,
}
"""Functions of more than 60 lines without their docstring, and how long each may be. The list may only shrink."""


def test_no_new_module_is_long() -> None:
    long = {name: len(path.read_text().splitlines()) for name, path in _names().items()}
    assert not [f"{name}: {lines}" for name, lines in long.items() if lines > LONG_MODULES.get(name, 400)]


def test_no_new_function_is_long() -> None:
    long = []
    for name, path in _names().items():
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                said = ast.get_docstring(node) is not None and (first.end_lineno or 0) - first.lineno + 1
                lines = (node.end_lineno or 0) - node.lineno + 1 - said
                if lines > LONG_FUNCTIONS.get(f"{name}.{node.name}", 60):
                    long.append(f"{name}.{node.name}: {lines}")
    assert not long


def test_registries_are_made_in_one_place() -> None:
    """So that plug-ins find all of them (`registries()`)."""
    makers = {name for name, path in _names().items() if re.search(r"^\w+ = Registry\(", path.read_text(), re.M)}
    assert makers == {"specs.registry"}


def test_only_the_models_room_knows_a_models_components() -> None:
    """Methods, loops and exporters see a `Model`: a new family needs no change in them."""
    names = re.compile(r"\bpipe\.(unet|transformer|vae|tokenizer)\b|\.text_encoder\b|\.unet\b")
    for path in MODULES:
        if (ROOT / "conceptlib" / "models") not in path.parents:
            found = [line for line in path.read_text().splitlines() if names.search(line)]
            assert not found, f"{path}: {found[0].strip()}"


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
