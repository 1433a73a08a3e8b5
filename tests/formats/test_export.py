"""The folder of an export: whole or not there, never in somebody else's way; what may be asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conceptlib.concepts.tables import AnnotationTable, ImageTable, image_row, shard_name
from conceptlib.errors import ConceptlibError, NotFound, UsageError
from conceptlib.formats import FORMATS, export_dataset
from conceptlib.formats import webdataset as web
from conceptlib.formats._export import MARK
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store
from conceptlib.store.hashing import tree_digest
from tests.support import mixed

WRITABLE = ["coco", "coco-results", "imagefolder", "parquet", "voc", "webdataset", "yolo"]


def test_every_file_is_a_format(store: Store, pictures: Artifact) -> None:
    assert FORMATS.names() == sorted([*WRITABLE, "cvat", "label-studio", "labelme"])
    for name in FORMATS:
        module = FORMATS.get(name)
        assert module.__doc__ and hasattr(module, "write") == hasattr(module, "ANNOTATIONS") == (name in WRITABLE)
        assert hasattr(module, "write") or callable(module.read)
    assert {FORMATS.get(name).ANNOTATIONS for name in WRITABLE} == {"optional", "needed", "named"}
    with pytest.raises(UsageError, match=r"labelme is read only.*coco, coco-results"):
        export_dataset(pictures, "labelme", "out", store=store)


@pytest.mark.parametrize("form", WRITABLE)
def test_the_same_export_twice_gives_the_same_bytes(
    form: str, store: Store, pictures: Artifact, truth: Artifact
) -> None:
    told: list[tuple[str, int, int]] = []
    one = export_dataset(pictures, form, "one", annotations="truth", store=store, progress=lambda *a: told.append(a))
    other = export_dataset("mixed", form, "other", annotations=truth, store=store)
    assert one.status == other.status == "written" and told == [("export", n, 6) for n in range(1, 7)]
    assert tree_digest(one.path) == tree_digest(other.path)
    before = tree_digest(one.path), one.path.stat().st_ino
    again = export_dataset(pictures, form, "one", annotations="truth", store=store)
    assert again.status == "unchanged" and (tree_digest(one.path), one.path.stat().st_ino) == before
    assert (again.images, again.boxes, again.files, again.bytes, again.notes) == (
        one.images,
        one.boxes,
        one.files,
        one.bytes,
        one.notes,
    )
    assert one.files == sum(path.is_file() for path in one.path.rglob("*")) - 1
    assert sorted(path.name for path in Path().iterdir()) == ["one", "other"]


def test_another_export_needs_a_yes(store: Store, pictures: Artifact, truth: Artifact) -> None:
    folder = export_dataset(pictures, "yolo", "out", store=store).path
    (folder / "labels" / "train.cache").write_bytes(b"what ultralytics leaves behind")
    assert export_dataset(pictures, "yolo", "out", store=store).status == "unchanged"
    before = tree_digest(folder)
    with pytest.raises(UsageError, match=r"another export: yolo of mixed@.*--yes"):
        export_dataset(pictures, "coco", "out", store=store)
    assert tree_digest(folder) == before
    assert export_dataset(pictures, "coco", "out", overwrite=True, store=store).status == "written"
    assert not (folder / "labels").exists() and (folder / "annotations").is_dir()


def test_what_conceptlib_did_not_write_is_never_touched(store: Store, pictures: Artifact, truth: Artifact) -> None:
    own = Path("own")
    own.mkdir()
    (own / "thesis.tex").write_text("years of work")
    with pytest.raises(ConceptlibError, match="no export of conceptlib"):
        export_dataset(pictures, "coco", own, overwrite=True, store=store)
    with pytest.raises(ConceptlibError, match="target is a file"):
        export_dataset(pictures, "coco", own / "thesis.tex", overwrite=True, store=store)
    folder = export_dataset(pictures, "coco", "out", store=store).path
    for change in (lambda path: path.write_text("new"), lambda path: path.unlink()):
        change(folder / "images" / "notes.txt")
        if (folder / "images" / "notes.txt").exists():
            with pytest.raises(ConceptlibError, match="added, changed or removed"):
                export_dataset(pictures, "coco", "out", overwrite=True, store=store)
    (folder / "images" / "train" / "two.jpg").unlink()
    with pytest.raises(ConceptlibError, match="added, changed or removed"):
        export_dataset(pictures, "coco", "out", overwrite=True, store=store)
    assert (own / "thesis.tex").read_text() == "years of work"
    (Path("empty")).mkdir()
    assert export_dataset(pictures, "coco", "empty", store=store).status == "written"


def test_a_failure_leaves_nothing_behind(store: Store, pictures: Artifact, truth: Artifact) -> None:
    folder = export_dataset(pictures, "coco", "out", store=store).path
    before = tree_digest(folder)

    def stop(stage: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    for form in WRITABLE:
        with pytest.raises(KeyboardInterrupt):
            export_dataset(
                pictures, form, "out", annotations=truth, split="train", overwrite=True, store=store, progress=stop
            )
        with pytest.raises(KeyboardInterrupt):
            export_dataset(pictures, form, "new/out", annotations=truth, store=store, progress=stop)
    assert tree_digest(folder) == before
    assert sorted(path.name for path in Path().iterdir()) == ["new", "out"]
    assert list(Path("new").iterdir()) == []
    folder.rename(folder.with_name(".out.conceptlib-previous"))  # stopped between two renames
    assert export_dataset(pictures, "coco", "out", store=store).status == "unchanged"


def test_which_pictures_and_whose_boxes(store: Store, pictures: Artifact) -> None:
    with pytest.raises(ConceptlibError, match=r"coco needs boxes.*none yet"):
        export_dataset(pictures, "coco", "out", store=store)
    with pytest.raises(UsageError, match="whose boxes"):
        export_dataset(pictures, "coco-results", "out", store=store)
    finder = mixed.make_annotations(store, pictures, mixed.boxes(), "finder")
    with pytest.raises(ConceptlibError, match=r"no exact geometry.*there are: finder"):
        export_dataset(pictures, "yolo", "out", store=store)
    for ref in ("finder", finder, finder.path):  # an annotation set means its pictures
        made = export_dataset(ref, "coco", "out", store=store)
        assert (made.dataset, made.annotations) == (pictures.ref, finder.ref)
    with pytest.raises(NotFound, match="mixen"):
        export_dataset("mixen", "coco", "out", store=store)
    with pytest.raises(NotFound, match=r"no format 'yol'.*did you mean 'yolo'"):
        export_dataset(pictures, "yol", "out", store=store)
    with pytest.raises(ConceptlibError, match="no split 'dev'"):
        export_dataset(pictures, "coco", "out", annotations="finder", split="dev", store=store)


def test_annotations_that_do_not_fit(store: Store, pictures: Artifact) -> None:
    pairs = zip(ImageTable(pictures).rows(), mixed.boxes(), strict=True)
    rows = [AnnotationTable.row(row, item) for row, item in pairs]
    with store.draft("annotations", "partly", lock={}, parents={"dataset": pictures}) as draft:
        for index, part in enumerate((rows[2:4], rows[:2])):  # the wrong way round
            AnnotationTable.write(draft.path / "data" / shard_name("train", index, 2), part)
        partly = draft.commit()
    with pytest.raises(ConceptlibError, match="not those of the dataset"):
        export_dataset(pictures, "coco", "out", annotations=partly, split="train", store=store)
    with pytest.raises(ConceptlibError, match=r"nothing about test-00000-of-00001.*--split"):
        export_dataset(pictures, "coco", "out", annotations=partly, split="test", store=store)
    assert not Path("out").exists()


@pytest.mark.parametrize("form", WRITABLE)
def test_a_flipped_bit_anywhere_is_an_error(form: str, store: Store, pictures: Artifact, truth: Artifact) -> None:
    for artifact, what in ((pictures, "dataset mixed"), (truth, "annotations truth")):
        path = artifact.path / "data" / shard_name("train", 1, 2)
        whole = path.read_bytes()
        for place in (len(whole) // 8, len(whole) // 2):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(ConceptlibError, match=f"{what}@.* is damaged: data/train-00001.*not what it was"):
                export_dataset(pictures, form, "out", annotations="truth", store=store)
        path.write_bytes(whole)
    assert export_dataset(pictures, form, "out", annotations="truth", store=store).images == 6


def test_a_lost_split_is_an_error(store: Store, pictures: Artifact, truth: Artifact) -> None:
    (pictures.path / "data" / shard_name("test", 0, 1)).unlink()
    with pytest.raises(ConceptlibError, match=r"is damaged: 1 of its shards .*data/test-00000-of-00001\.parquet"):
        export_dataset(pictures, "coco", "out", store=store)
    (truth.path / "data" / shard_name("train", 0, 2)).unlink()
    with pytest.raises(ConceptlibError, match=r"is damaged|has 1 of 2 shards"):
        export_dataset(pictures, "parquet", "out", store=store)
    assert not Path("out").exists()


def test_long_image_ids_fit_into_tars(store: Store) -> None:
    from tests.support import readers

    ids = ["x" * 96, "y" * 500, "Z" * 99 + "/one.jpg"]
    with store.draft("dataset", "long", lock={}) as draft:
        rows = [image_row(name, mixed.encoded(1)) for name in ids]
        ImageTable.write(draft.path / "data" / shard_name("train", 0, 1), rows)
        long = draft.commit()
    folder = export_dataset(long, "webdataset", "out", store=store).path
    assert [one["json"]["image_id"] for one in readers.web_samples(folder)] == ids


def test_what_holds_no_pictures_is_called_by_its_kind(store: Store, pictures: Artifact) -> None:
    with store.draft("checkpoint", "uce/object", lock={}) as draft:
        (draft.path / "x").write_bytes(b"x")
        draft.commit()
    with pytest.raises(ConceptlibError, match=r"uce/object@\w+ is of kind checkpoint; it holds no pictures"):
        export_dataset("uce/object", "coco", "out", store=store)


def test_the_order_of_categories(store: Store, pictures: Artifact) -> None:
    found = [Detections([[1, 1, 9, 9]] * 2, [1, 1], ("text", "logo")), *[Detections.empty()] * 5]
    boxes = mixed.make_annotations(store, pictures, found)
    made = export_dataset(pictures, "yolo", "one", split="test", store=store)
    assert made.categories == ("qr-code", "watermark", "logo", "text")  # of a split without them, too
    made = export_dataset(pictures, "yolo", "two", annotations=boxes, categories=["text", "logo"], store=store)
    assert (made.path / "labels" / "train" / "cats-one.txt").read_text()[0] == "0"
    with pytest.raises(ConceptlibError, match="'logo', which is not among the categories"):
        export_dataset(pictures, "yolo", "three", categories=["text"], store=store)
    with pytest.raises(UsageError, match="different names"):
        export_dataset(pictures, "yolo", "three", categories=["text", "text"], store=store)
    broken = [Detections([[1, 1, 9, 9]], [1], ("a\nb",)), *[Detections.empty()] * 5]
    boxes = mixed.make_annotations(store, pictures, broken, "broken")
    with pytest.raises(ConceptlibError, match="cannot be written"):
        export_dataset(pictures, "voc", "three", annotations=boxes, store=store)


@pytest.mark.parametrize("form", ["imagefolder", "webdataset"])
def test_ids_that_come_twice_are_named(form: str, store: Store) -> None:
    with store.draft("images", "twice", lock={}) as draft:
        rows = [image_row("same", mixed.encoded(0)) for _ in range(2)]
        ImageTable.write(draft.path / "data" / shard_name("train", 0, 1), rows)
        drawn = draft.commit()
    with pytest.raises(ConceptlibError, match=r"two pictures would be called same-.*'same'"):
        export_dataset(drawn, form, "out", store=store)


def test_tar_files_end_in_time(
    store: Store, pictures: Artifact, truth: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "SHARD_ROWS", 3)
    folder = export_dataset(pictures, "webdataset", "out", store=store).path
    assert sorted(path.name for path in folder.glob("*.tar")) == [
        "test-000000.tar",
        "train-000000.tar",
        "train-000001.tar",
    ]
    from tests.support import readers

    assert len(readers.web_samples(folder)) == 6


def test_the_mark_says_what_it_is(store: Store, pictures: Artifact, truth: Artifact) -> None:
    mark = json.loads((export_dataset(pictures, "coco", "out", store=store).path / MARK).read_text())
    assert mark["dataset"] == pictures.ref and mark["annotations"] == truth.ref and mark["format"] == "coco"
