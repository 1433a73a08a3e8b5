"""What may run, what is found, what is said when it is broken, and how it reaches other processes."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conceptlib import plugins, worlds
from conceptlib.cli.main import main
from conceptlib.concepts.sources import open_source
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.processes import Workers
from conceptlib.specs import load_spec
from conceptlib.specs.errors import SpecError
from conceptlib.specs.registry import ADAPTERS, FORMATS, METHODS, OVERLAYS, Registry, code_versions
from tests.support.pond import CODE

GOOD = "def load(spec, *, weights, device):\n    return spec.name\n"
TRACE = "from pathlib import Path\nPath('ran').touch()\n" + GOOD


@pytest.fixture
def put(home: Path) -> Callable[..., Path]:
    """Write a plug-in, and allow it unless told otherwise."""

    def write(ref: str, content: str = GOOD, *, allow: bool = True) -> Path:
        path = home / "plugins" / (ref if ref.endswith(".py") else f"{ref}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        registry, _, name = ref.partition("/")
        if allow and (found := plugins.find(registry, name.partition("/")[0].replace("_", "-"))):
            plugins.allow(found)
        return path

    return write


def install(monkeypatch: pytest.MonkeyPatch, site: Path, package: str, points: str, content: str = GOOD) -> None:
    """A package with entry points, installed in a folder of the import path."""
    (site / package).mkdir(parents=True)
    (site / package / "__init__.py").touch()
    (site / package / "code.py").write_text(content, encoding="utf-8")
    info = site / f"{package}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))


def spec_file(name: str, adapter: str) -> Path:
    path = Path("detectors") / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"kind: detector\nname: {name}\nadapter: {adapter}\n", encoding="utf-8")
    return path


# what may run


def test_nothing_runs_that_was_not_allowed(put: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    put("detectors/strange", TRACE, allow=False)
    spec_file("mine", "strange")
    for command in (["--help"], ["plugins", "ls"], ["detectors", "ls"], ["detectors", "validate"], ["datasets", "ls"]):
        main(command)
    assert main(["detectors", "validate", "zxing"]) == 0
    assert "strange" in ADAPTERS and "strange" not in dict(ADAPTERS.modules())
    with pytest.raises(ConceptlibError, match="a plug-in that you have not allowed to run") as caught:
        ADAPTERS.get("strange")
    assert caught.value.where.endswith("strange.py") and "plugins allow detectors/strange" in caught.value.hint
    with pytest.raises(SpecError, match="have not allowed to run"):
        load_spec("detector", "mine")
    assert not Path("ran").exists()
    assert main(["plugins", "allow", "detectors/strange"]) == 0 and not Path("ran").exists()
    capsys.readouterr()
    assert main(["detectors", "validate", "mine"]) == 0
    assert Path("ran").exists()
    assert capsys.readouterr().err.count("the plug-in detectors/strange runs from ") == 1


@pytest.mark.parametrize("ref", ["worlds/strange", "metrics/strange", "judges/strange", "prompts/strange"])
def test_one_that_may_not_run_stops_only_those_who_name_it(
    put: Callable[..., Path], ref: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(ref, TRACE, allow=False)
    assert [one.name for one in worlds.worlds()] == ["tiny"] and worlds.of_word("heart") is not None
    mine = Path("recipes") / "suites" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    part = {
        "metrics/strange": "metrics: {strange: {}}",
        "judges/strange": "judges: {strange: {}}",
        "prompts/strange": "prompts: {source: strange}",
        "worlds/strange": "seed: 0",
    }[ref]
    mine.write_text(f"kind: suite\nname: mine\nsuite: icd\n{part}\n", encoding="utf-8")
    stops = ref != "worlds/strange"
    assert main(["suites", "validate"]) == int(stops)
    told = capsys.readouterr()
    assert ("not allowed to run" in told.out + told.err) == stops and not Path("ran").exists()
    assert main(["suites", "validate", "icd"]) == 0


def test_a_changed_file_is_asked_about_again(put: Callable[..., Path]) -> None:
    put("detectors/moving")
    put("detectors/moving", TRACE, allow=False)
    with pytest.raises(ConceptlibError, match="has changed since you allowed it"):
        ADAPTERS.get("moving")
    assert not Path("ran").exists()


def test_a_home_brings_no_permission_along(
    put: Callable[..., Path], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("detectors/foreign", TRACE)
    monkeypatch.setenv("CONCEPTLIB_CONFIG", str(tmp_path / "somebody-else"))
    (home / "plugins.json").write_bytes((tmp_path / "config" / "plugins.json").read_bytes())
    with pytest.raises(ConceptlibError, match="not allowed"):
        ADAPTERS.get("foreign")


@pytest.mark.parametrize(
    ("said", "runs"), [("1", True), ("yes", True), ("", False), ("0", False), ("off", False), ("perhaps", False)]
)
def test_the_switch(put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, said: str, runs: bool) -> None:
    put("detectors/switched", allow=False)
    monkeypatch.setenv("CONCEPTLIB_PLUGINS", said)
    if runs:
        assert ADAPTERS.get("switched").load
    else:
        with pytest.raises(ConceptlibError):
            ADAPTERS.get("switched")


def test_the_switch_turns_packages_off_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path / "site", "pack_off", "[conceptlib.detectors]\npacked-off = pack_off.code\n")
    monkeypatch.setenv("CONCEPTLIB_PLUGINS", "0")
    with pytest.raises(ConceptlibError, match="turned off"):
        ADAPTERS.get("packed-off")
    assert "pack_off" not in sys.modules


def test_no_other_folder_is_looked_at(tmp_path: Path) -> None:
    for folder in (Path("plugins"), Path("detectors"), tmp_path / "data" / "plugins"):
        (folder / "detectors").mkdir(parents=True)
        (folder / "detectors" / "lurking.py").write_text(TRACE, encoding="utf-8")
        (folder / "lurking.py").write_text(TRACE, encoding="utf-8")
    assert "lurking" not in ADAPTERS and not list(plugins.listed())


def test_forbidding(put: Callable[..., Path]) -> None:
    put("detectors/taken-back")
    assert main(["plugins", "forbid", "detectors/taken-back"]) == 0
    with pytest.raises(ConceptlibError, match="not allowed"):
        ADAPTERS.get("taken-back")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "which?"),
        (["detectors/a", "--all"], 2, "which?"),
        (["stripes"], 2, "no REGISTRY/NAME"),
        (["detector/a"], 2, "did you mean 'detectors'"),
        (["detectors/ab"], 1, "did you mean 'detectors/aa'"),
        (["methods/esd"], 1, "of its own in methods"),
        (["../../etc/passwd"], 2, "no REGISTRY/NAME"),
    ],
)
def test_what_cannot_be_allowed(
    put: Callable[..., Path], capsys: pytest.CaptureFixture[str], words: list[str], status: int, said: str
) -> None:
    put("detectors/aa", allow=False)
    put("methods/esd", allow=False)
    assert main(["plugins", "allow", *words]) == status
    assert said in capsys.readouterr().err


def test_a_damaged_list_is_said(put: Callable[..., Path]) -> None:
    put("detectors/listed")
    plugins.settings_file().write_text("[]", encoding="utf-8")
    with pytest.raises(ConceptlibError, match="list of allowed plug-ins cannot be read"):
        ADAPTERS.get("listed")


# names


def test_ours_goes_first_and_the_plugin_is_told(
    put: Callable[..., Path], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    put("detectors/zxing", TRACE)
    registry = Registry("conceptlib.detectors.adapters", name="detectors")
    assert registry.get("zxing").__name__ == "conceptlib.detectors.adapters.zxing"
    assert "zxing is conceptlib's own; the plug-in" in caplog.text and not Path("ran").exists()
    main(["plugins", "ls", "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert row["state"] == "shadowed: conceptlib has one of this name"


def test_a_file_goes_before_a_package_and_two_packages_are_an_error(
    put: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("pack_one", "pack_two"):
        points = f"[conceptlib.detectors]\nboth = {package}.code\nbeside = {package}.code\n[other.group]\nx = y\n"
        install(monkeypatch, tmp_path / "site", package, points)
    with pytest.raises(ConceptlibError, match="two plug-ins detectors/beside"):
        ADAPTERS.get("beside")
    put("detectors/both")
    assert ADAPTERS.get("both").__name__ == "conceptlib.plugins.detectors.both"
    main(["plugins", "ls", "--json"])
    rows = [row for row in json.loads(capsys.readouterr().out) if row["plugin"] == "detectors/both"]
    assert sorted(row["state"] for row in rows) == ["allowed", *["shadowed: a file has this name"] * 2]


def test_an_unknown_name_names_the_nearest_plugin(put: Callable[..., Path]) -> None:
    put("detectors/sharpness")
    with pytest.raises(NotFound, match="sharpness"):
        ADAPTERS.get("sharpnes")


def test_a_folder_of_no_registry_is_listed(put: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    put("detector/lost", TRACE, allow=False)
    assert main(["plugins", "ls"]) == 0
    assert "unknown registry: did you mean 'detectors'?" in capsys.readouterr().out and not Path("ran").exists()


@pytest.mark.parametrize("name", ["_helper", "__pycache__/x", "not a name", ".hidden", "x.y"])
def test_what_is_no_plugin(put: Callable[..., Path], name: str) -> None:
    put(f"detectors/{name}", TRACE, allow=False)
    assert not list(plugins.listed())


# broken ones

BROKEN = {
    "syntax": ("x = 1\ndef load(:\n", ":2", "SyntaxError: "),
    "raises": ("x = 1\n\n1 / 0\n", ":3", "ZeroDivisionError: division by zero"),
    "called": ("def inner():\n    raise ValueError('no\\nmore')\n\ninner()\n", ":2", "ValueError: no"),
    "missing-library": ("import nothing_of_the_kind\n", ":1", "needs nothing_of_the_kind"),
    "leaves": ("import sys\nsys.exit(3)\n", ":2", "SystemExit: 3"),
    "lacks": ("x = 1\n", ".py", "it has no `load`"),
    "no-text": ("\0", ".py", "SyntaxError"),
    "wrong-params": (GOOD + "class Params:\n    pass\n", ".py", "Params must inherit from conceptlib.specs.Params"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_one_is_one_sentence_with_its_place(
    put: Callable[..., Path], capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    content, where, said = BROKEN[kind]
    path = put(f"detectors/{kind}", content)
    with pytest.raises(ConceptlibError) as caught:
        ADAPTERS.params(kind)
    assert said in caught.value.what and "\n" not in caught.value.what
    assert caught.value.where.startswith(str(path)) and caught.value.where.endswith(where)
    spec_file("fine", "zxing")
    assert main(["detectors", "validate", "fine", "zxing"]) == 0
    spec_file("mine", kind)
    assert main(["detectors", "validate", "mine"]) == 1
    assert said in capsys.readouterr().out
    assert main(["plugins", "ls"]) == 0
    if kind != "wrong-params":
        assert "is broken" in capsys.readouterr().out


def test_a_version_that_is_no_number_is_the_plugins_mistake(put: Callable[..., Path]) -> None:
    put("detectors/odd-version", GOOD + "VERSION = '2'\n")
    with pytest.raises(ConceptlibError, match="the plug-in detectors/odd-version is broken: VERSION must be"):
        ADAPTERS.version_lock("odd-version")


def test_who_asks_all_of_them_leaves_a_broken_one_out(
    put: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    put("formats/wrecked", "1 / 0\n")
    put("formats/sound", "def read(source, report):\n    return []\n")
    registry = Registry("conceptlib.formats", name="formats")
    names = [name for name, _ in registry.modules()]
    assert "wrecked" not in names and "sound" in names and names[: len(registry.builtin())] == registry.builtin()
    list(registry.modules())
    assert caplog.text.count("formats/wrecked is broken: ZeroDivisionError") == 1


def test_an_error_inside_a_plugin_is_not_called_our_bug(
    put: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = put("detectors/failing", "def load(spec, *, weights, device):\n    return spec.no_such_thing\n")
    spec_file("mine", "failing")
    assert main(["annotate", "icd-qr", "--detector", "mine"]) == 1
    capsys.readouterr()
    assert main(["build", "icd-qr", "rows=4"]) == 0
    assert main(["annotate", "icd-qr", "--detector", "mine"]) == 1
    said = capsys.readouterr().err
    assert "a plug-in raised AttributeError" in said and f"{path}:2" in said and "bug in conceptlib" not in said


# what a lock says


def test_a_lock_has_the_sha256_of_the_file(put: Callable[..., Path]) -> None:
    path = put("methods/marked", "VERSION = 3\ndef run(job):\n    pass\n")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    lock = METHODS.version_lock("marked")
    assert lock == {"code_version": 3, "plugin": f"sha256:{sha256}"}
    assert code_versions({"source": {"method": lock}}) == {
        "source.method.code_version": 3,
        "source.method.plugin": f"sha256:{sha256}",
    }


def test_a_world_of_a_plugin_is_in_the_lock_of_its_source(put: Callable[..., Path]) -> None:
    path = put("worlds/lake", CODE.replace('"pond"', '"lake"'))
    lock = open_source("world:lake", rows=4).lock()
    assert lock["plugin"] == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert worlds.source_lock("tiny") == {"kind": "world"}


@pytest.mark.parametrize("registry", [ADAPTERS, METHODS, OVERLAYS, FORMATS], ids=lambda one: one.name)
def test_ours_say_nothing_of_it(put: Callable[..., Path], registry: Registry) -> None:
    put(f"{registry.name}/beside", "def load():\n    pass\nrun = load\nCONCEPT = 'x'\n")
    assert all("plugin" not in registry.version_lock(name) for name in registry.builtin())
    assert "plugin" in registry.version_lock("beside")


def test_a_lock_has_the_package_and_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path / "site", "pack_lock", "[conceptlib.detectors]\npacked_one = pack_lock.code\n")
    assert ADAPTERS.version_lock("packed-one") == {"plugin": "pack_lock 1.2"}


def test_a_folder_is_hashed_as_a_whole_and_may_hold_helpers(put: Callable[..., Path], home: Path) -> None:
    put("detectors/whole/_help.py", "WORD = 'from a helper'\n", allow=False)
    put("detectors/whole/data.txt", "1", allow=False).rename(home / "plugins/detectors/whole/data.txt")
    put("detectors/whole/__init__.py", "from ._help import WORD\n" + GOOD)
    assert ADAPTERS.get("whole").WORD == "from a helper"
    (found,) = plugins.listed("detectors")
    before = plugins.sha256(found)
    (home / "plugins/detectors/whole/data.txt").write_text("2", encoding="utf-8")
    assert plugins.sha256(found) != before and plugins.state(found) == "changed"


# other processes


def test_workers_run_the_source_that_runs_here(put: Callable[..., Path]) -> None:
    path = put("detectors/sent", GOOD + "def work(task):\n    return [task, __name__]\n")
    work = ADAPTERS.get("sent").work
    path.unlink()  # what a worker gets is what was read here, whatever its home holds
    with Workers(work, 1) as workers:
        assert workers.submit(7).result() == [7, "conceptlib.plugins.detectors.sent"]


def test_an_error_in_a_worker_is_the_plugins(put: Callable[..., Path]) -> None:
    path = put("detectors/sent-and-broken", GOOD + "def work(task):\n    return 1 / task\n")
    with Workers(ADAPTERS.get("sent-and-broken").work, 1) as workers, pytest.raises(ZeroDivisionError) as caught:
        workers.submit(0).result()
    assert plugins.culprit(caught.value) == f"{path}:4"


def test_another_machine_needs_neither_home_nor_permission(put: Callable[..., Path], tmp_path: Path) -> None:
    """What the Ray engine does, in a process with another home."""
    put("methods/travelling", "def run(job):\n    return job + 1\n")
    packed = io.BytesIO()
    run = METHODS.get("travelling").run
    pickle.dump((plugins.sources(), pickle.dumps(run)), packed)
    (tmp_path / "packed").write_bytes(packed.getvalue())
    code = (
        "import pickle, sys; from conceptlib import plugins; from conceptlib.specs.registry import METHODS\n"
        "sources, work = pickle.load(open(sys.argv[1], 'rb')); plugins.receive(sources)\n"
        "print(pickle.loads(work)(4), METHODS.version_lock('travelling'), 'travelling' in METHODS)"
    )
    environment = {"CONCEPTLIB_HOME": str(tmp_path / "elsewhere"), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "packed")], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["5", *str(METHODS.version_lock("travelling")).split(), "True"], done.stderr
