"""What is read is kept, left out or rejected, and the sums agree; nothing that a file can hold ends in a crash."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conceptlib.concepts.tables import AnnotationTable
from conceptlib.errors import ConceptlibError
from conceptlib.formats import FORMATS, import_annotations
from conceptlib.formats._entries import Report
from conceptlib.formats._import import _detections, _left_out, _sound
from conceptlib.store import Artifact, Store
from tests.support import foreign

READABLE = [name for name in FORMATS.names() if hasattr(FORMATS.get(name), "read")]


def test_every_format_that_can_be_read_is_here() -> None:
    assert sorted(foreign.WRITERS) == READABLE


@pytest.mark.parametrize("form", READABLE)
def test_items_in_are_rows_and_rejects(form: str, store: Store, pictures: Artifact, tmp_path: Path) -> None:
    folders = iter(range(10_000))

    @settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @example([foreign.Picture("two", foreign.KINDS), foreign.Picture("lost", ("good",))])
    @example([foreign.Picture("two", ("good",)), foreign.Picture("two", ("good", "bad"))])
    @given(foreign.pictures(form))
    def check(wanted: list[foreign.Picture]) -> None:
        folder = tmp_path / f"in-{next(folders)}"
        folder.mkdir()
        source = foreign.WRITERS[form](folder, wanted)
        expected = foreign.expected(form, wanted)
        bad = expected.rejects
        if bad:
            with pytest.raises(ConceptlibError, match=rf"{expected.rejects} problem\(s\)"):
                import_annotations(source, form, pictures, allow_missing=True, store=store)
        if not expected.named:
            with pytest.raises(ConceptlibError):
                import_annotations(source, form, pictures, allow_missing=True, skip_bad=True, store=store)
            return
        made = import_annotations(source, form, pictures, allow_missing=True, skip_bad=True, store=store)
        info = made.info
        objects = sum(len(picture.objects) for picture in wanted)
        kept = sum(map(len, AnnotationTable(made).by_image().values()))
        assert info["read"] == {"pictures": len(wanted), "objects": objects}
        assert kept == sum(info["boxes"].values()) == expected.kept
        assert kept + sum(info["skipped"].values()) + info["rejected"]["objects"] == objects
        assert info["rejected"] == {
            "files": 0,
            "pictures": expected.rejected_pictures,
            "objects": expected.rejected_objects,
        }
        lines = made.path / "rejects.jsonl"
        rejects = [json.loads(line) for line in lines.read_text().splitlines()] if bad else []
        assert bad or not lines.exists()
        assert len(rejects) == expected.rejects and all(one["file"] and one["reason"] for one in rejects)

    check()


def taken(form: str, source: Path) -> Report:
    """All that an import does with what a file says, but for matching and storing; whatever it says."""
    report = Report()
    try:
        entries = _sound(FORMATS.get(form).read(source, report), report)
    except ConceptlibError as error:
        str(error).encode()
        return report
    for entry in entries:
        _detections(entry, (64, 48), Counter())
        json.dumps([entry.keys, str(entry.where)], ensure_ascii=False).encode()
    _left_out(report)
    for reject in report.rejects:
        assert reject.file and reject.reason and len(reject.reason) < 1000
        json.dumps(reject.as_dict(), ensure_ascii=False).encode()
    return report


DEEP: Any = []
for _ in range(900):
    DEEP = [DEEP]
HOSTILE: list[Any] = [
    None, True, -1, 0, 1e308, float("nan"), float("inf"), 10**400, "", " ", "\ud800", "a\x00b\x1b[31m", "x" * 100_000,
    [], {}, [[]], [None], {"a": 1}, DEEP, [1e308, 1e308, 1e308, 1e308], "NaN", "1" * 5000, [[0, 0], [1]], ["a", "b"],
]  # fmt: skip


def replaced(value: Any, by: Any) -> Iterator[Any]:
    """The document with one of its parts, at every depth, replaced, and with it left out."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            for other in replaced(value[key], by):
                changed = copy.copy(value)
                changed[key] = other
                yield changed
    yield by


@pytest.mark.parametrize("form", ["coco", "labelme", "label-studio"])
def test_any_part_of_a_json_file_may_be_anything(form: str, tmp_path: Path) -> None:
    source = foreign.WRITERS[form](tmp_path, [foreign.Picture("two", ("good", "polygon", "skipped"))])
    path = next(source.rglob("*.json")) if source.is_dir() else source
    document = json.loads(path.read_text())
    for hostile in HOSTILE:
        for changed in replaced(document, hostile):
            path.write_text(json.dumps(changed))
            taken(form, source)


@pytest.mark.parametrize("form", ["cvat", "voc"])
def test_any_text_of_an_xml_file_may_be_anything(form: str, tmp_path: Path) -> None:
    source = foreign.WRITERS[form](tmp_path, [foreign.Picture("two", ("good", "polygon", "skipped"))])
    path = next(source.rglob("*.xml")) if source.is_dir() else source
    text = path.read_text()
    for old in ("10", "40", "640", "480", "good", "two.jpg", "box", "bndbox", "polygon", "image", "annotation"):
        for new in (
            "",
            " ",
            "nan",
            "-inf",
            "1e308",
            "1" * 5000,
            "x" * 100_000,
            "&#x85;",
            "&lt;",
            "ж",
            "a b",
            "a" * 300,
        ):
            path.write_text(text.replace(old, new))
            taken(form, source)


@pytest.mark.parametrize("form", READABLE)
def test_damaged_files_are_told(form: str, tmp_path: Path) -> None:
    source = foreign.WRITERS[form](tmp_path, [foreign.Picture("two", ("good", "polygon", "skipped"))])
    files = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
    whole = {path: path.read_bytes() for path in files}

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(files), st.floats(0, 1), st.binary(max_size=6), st.integers(0, 40))
    def check(path: Path, share: float, by: bytes, cut: int) -> None:
        data = whole[path]
        place = int(share * len(data))
        path.write_bytes(data[:place] + by + data[place + cut :])
        taken(form, source)
        path.write_bytes(data)

    check()


def hostile_json(path: Path) -> None:
    path.write_bytes(b'{"images":' + b"[" * 100_000)


def hostile_number(path: Path) -> None:
    path.write_bytes(b'{"shapes": ' + b"9" * 10_000 + b"}")


def hostile_xml(path: Path) -> None:
    path.write_text('<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>')


def deep_xml(path: Path) -> None:
    path.write_text("<a>" * 20_000 + "</a>" * 20_000)


def link_out(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/proc/self/environ")


def link_to_nothing(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def fifo(path: Path) -> None:
    import os

    path.unlink(missing_ok=True)
    os.mkfifo(path)


def utf16(path: Path) -> None:
    path.write_bytes("привет".encode("utf-16"))


@pytest.mark.parametrize("form", READABLE)
@pytest.mark.parametrize(
    "harm", [hostile_json, hostile_number, hostile_xml, deep_xml, link_out, link_to_nothing, fifo, utf16]
)
def test_one_file_of_harm_is_one_reject(
    form: str, harm: Callable[[Path], None], store: Store, pictures: Artifact, tmp_path: Path
) -> None:
    source = foreign.WRITERS[form](tmp_path / "in", [foreign.Picture("two", ("good",))])
    source = source if source.is_dir() else source.parent
    suffix = {"coco": ".json", "labelme": ".json", "label-studio": ".json", "yolo": ".txt"}.get(form, ".xml")
    beside = next(path for path in source.rglob(f"*{suffix}") if path.name != "classes.txt")
    harm(beside.with_name(f"{'instances_' if form == 'coco' else ''}harm{suffix}"))
    with pytest.raises(ConceptlibError, match=rf"harm\{suffix}"):
        import_annotations(source, form, pictures, store=store)
    made = import_annotations(source, form, pictures, skip_bad=True, allow_missing=True, store=store)
    assert made.info["rejected"]["files"] + made.info["rejected"]["objects"] == 1 and made.info["boxes"] == {"good": 1}


def test_counts_are_those_of_this_source(store: Store, pictures: Artifact, tmp_path: Path) -> None:
    """Two sources that give the same rows, of which one has something to leave out."""
    for objects, left in ((("good",), 0), (("good", "bad", "bad"), 2), (("good", "bad"), 1)):
        folder = tmp_path / str(left)
        folder.mkdir()
        source = foreign.WRITERS["coco"](folder, [foreign.Picture("two", objects)])
        made = import_annotations(source, "coco", pictures, skip_bad=True, store=store)
        assert made.info["rejected"]["objects"] == left and made.info["read"]["objects"] == 1 + left


def test_nothing_but_faults_is_no_import(store: Store, pictures: Artifact) -> None:
    for form in READABLE:
        Path(form).mkdir()
        source = foreign.WRITERS[form](Path(form), [foreign.Picture("", ("good",))])
        with pytest.raises(ConceptlibError):
            import_annotations(source, form, pictures, skip_bad=True, allow_missing=True, store=store)
    assert store.list("annotations") == []
