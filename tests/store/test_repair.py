"""Artifacts that lost files: the same command makes these bytes again in place, and `repair` prepares what it must."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conceptlib.cli.main import main
from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact, Store


def delete(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def make_a_folder_of_it(path: Path) -> None:
    path.unlink()
    path.mkdir()


def let_it_be_a_link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


LOSSES = [delete, cut, grow, make_a_folder_of_it, let_it_be_a_link_to_nowhere]


@pytest.mark.parametrize("lose", LOSSES)
def test_what_lost_a_file_is_not_done_and_is_made_again_in_place(
    store: Store, make: Any, lose: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    artifact = make(lock={"a": 1})
    child = make("annotations", "zxing", {"a": b"1"}, parents={"dataset": artifact})
    lose(artifact.path / "data" / "a.bin")
    assert [entry.path for entry in artifact.missing()] == ["data/a.bin"]
    assert store.done("dataset", "icd-qr", lock={"a": 1}) is None and "data/a.bin" in caplog.text
    again = make(lock={"a": 1})
    assert again == artifact and again.path == artifact.path and again.missing() == ()
    assert store.verify() == [] and store.children(again) == [child]


def test_other_bytes_do_not_take_its_place(store: Store, make: Any) -> None:
    """The id says whether it worked: another content is another artifact, and the damaged one stays for all to see."""
    artifact = make(files={"x": b"1"}, lock={"a": 1})
    (artifact.path / "x").unlink()
    other = make(files={"x": b"2"}, lock={"a": 1})
    assert other.id != artifact.id and store.verify(other) == []
    assert [one.what for one in store.verify(artifact.path)] == ["missing"]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, *LOSSES])
def test_repair_takes_out_what_is_damaged_and_tells_the_command(
    store: Store, make: Any, damage: Callable[[Path], None]
) -> None:
    artifact = make(name="icd/qr", lock={"a": 1})
    path = artifact.path / "data" / "a.bin"
    damage(path)
    (artifact.path / "stray").write_bytes(b"s")
    repairs = store.repair("icd/qr")
    assert {(one.path.name, one.next) for one in repairs} >= {("a.bin", "conceptlib build icd/qr"), ("stray", "")}
    assert not os.path.lexists(path) and not (artifact.path / "stray").exists()
    assert [one.what for one in store.verify()] == ["missing"]
    assert make(name="icd/qr", lock={"a": 1}) == artifact and store.verify() == [] and store.repair() == []


@pytest.mark.parametrize(
    ("kind", "name", "roles", "command"),
    [
        ("annotations", "zxing", ["dataset"], "conceptlib annotate {dataset} --detector zxing"),
        ("annotations", "truth", ["dataset"], "conceptlib build DATASET  # {dataset}"),
        ("detector", "yolo", ["dataset"], "conceptlib detectors train yolo --data {dataset}"),
        ("images", "uce/qr", ["checkpoint"], "conceptlib generate {checkpoint}"),
        ("evaluation", "uce/qr/icd", ["checkpoint"], "conceptlib evaluate {checkpoint}"),
        (
            "checkpoint",
            "uce/qr",
            ["dataset", "annotations"],
            "conceptlib erase uce/qr --data {dataset} --annotations {annotations} --base tiny",
        ),
    ],
)
def test_the_command_names_the_parents(
    store: Store, make: Any, kind: str, name: str, roles: list[str], command: str
) -> None:
    parents = {role: str(number) * 16 for number, role in enumerate(roles)}
    artifact = make(kind, name, {"x": b"1"}, parents=parents)
    (artifact.path / "x").unlink()
    assert [one.next for one in store.repair(artifact)] == [command.format(**parents)]


def test_repair_copies_back_from_an_equal_artifact(store: Store, make: Any) -> None:
    one, two = make(name="one"), make(name="two", lock={"b": 2})
    assert one.id == two.id
    flip(one.path / "data" / "a.bin")
    assert [(item.done, item.next) for item in store.repair("one")] == [("copied", "")]
    assert store.verify() == []


def test_repair_leaves_alone_what_it_cannot_read_and_what_lies_elsewhere(
    store: Store, make: Any, tmp_path: Path
) -> None:
    artifact = make()
    (artifact.path / "manifest.json").write_text("{")
    assert [(one.done, one.next) for one in store.repair()] == [("nothing", "conceptlib build icd-qr")]
    assert artifact.path.is_dir()
    other = Store(tmp_path / "other")
    with other.draft("dataset", "x", lock={}) as draft:
        (draft.path / "a").write_bytes(b"1")
        elsewhere = draft.commit()
    with pytest.raises(ConceptlibError, match="not in this store"):
        store.repair(elsewhere)


def test_bytes_are_compared_once_a_process_until_they_change(
    store: Store, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import conceptlib.store.artifact as module

    artifact: Artifact = make(files={"w": b"weights", "log": b"l", "d/x": b"1"}, volatile=("log",))
    read: list[str] = []
    real = module.sha256_file
    monkeypatch.setattr(module, "sha256_file", lambda path: read.append(path.name) or real(path))
    for _ in range(2):
        assert artifact.intact("w") == artifact.path
    assert read == ["w"]
    artifact.intact("d")
    assert artifact.intact() == artifact.path and sorted(read) == ["w", "x"]
    (artifact.path / "log").write_bytes(b"another")  # differs from run to run anyway
    artifact.intact()
    flip(artifact.path / "w")
    for paths in [("w",), ()]:
        with pytest.raises(ConceptlibError, match=r"dataset icd-qr@\w+ is damaged.*--repair"):
            artifact.intact(*paths)
    artifact.intact("d/x")
    (artifact.path / "w").unlink()
    with pytest.raises(ConceptlibError, match="No such file"):
        artifact.intact("w")


def test_the_command(store: Store, make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = make(lock={"a": 1})
    assert main(["verify", "--repair"]) == 0 and "nothing is damaged" in capsys.readouterr().err
    flip(artifact.path / "data" / "a.bin")
    assert main(["verify", "icd-qr"]) == 1 and "--repair" in capsys.readouterr().err
    assert main(["verify", "icd-qr", "--repair"]) == 1
    shown = capsys.readouterr()
    assert "taken out" in shown.out and "conceptlib build icd-qr" in shown.err
    make(lock={"a": 1})
    assert main(["verify"]) == 0
