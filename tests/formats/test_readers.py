"""Every export is read by the library that it is for, and boxes survive within half a pixel."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.formats import FORMATS, export_dataset, import_annotations
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store
from tests.support import mixed, readers
from tests.support.readers import Boxes

LABELS = ("qr-code", "watermark", "a b & <c>")
KEEPS_ALL = ("coco", "imagefolder", "parquet", "webdataset")


@st.composite
def findings(draw: st.DrawFn) -> list[Detections]:
    """Boxes for the six pictures, a few beyond the edges."""
    found = []
    for width, height in mixed.SIZES:
        boxes = []
        for _ in range(draw(st.integers(0, 3))):
            x, y = (draw(st.floats(-3, side - 1, width=32)) for side in (width, height))
            w, h = (draw(st.just(0.0) | st.floats(0.125, side + 3, width=32)) for side in (width, height))
            boxes.append([x, y, np.float32(x) + np.float32(w), np.float32(y) + np.float32(h)])
        labels = tuple(draw(st.sampled_from(LABELS)) for _ in boxes)
        scores = [draw(st.floats(0, 1, width=32)) for _ in boxes]
        found.append(Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, labels))
    return found


def read(form: str, folder: Path) -> dict[str, Boxes]:
    if form in ("imagefolder", "parquet"):
        # A split without boxes has other columns for `datasets`: it takes the splits of an image folder one by one.
        folders = [folder] if form == "parquet" else [folder / "train", folder / "test"]
        with tempfile.TemporaryDirectory() as cache:
            found = readers.hub(folders, Path(cache))
        return {dict(zip(mixed.IDS, mixed.NAMES, strict=True))[image_id]: boxes for image_id, boxes in found.items()}
    return getattr(readers, form)(folder)


def expected(form: str, found: Sequence[Detections]) -> dict[str, Boxes]:
    """What the format can hold of the boxes: YOLO and VOC only what lies in the picture, VOC only whole pixels."""
    wanted: dict[str, Boxes] = {}
    for name, size, item in zip(mixed.NAMES, mixed.SIZES, found, strict=True):
        boxes: Boxes = []
        for label, box in zip(item.labels, item.boxes.astype(np.float64), strict=True):
            if form not in KEEPS_ALL:
                box = np.clip(box, 0, [*size, *size])
                low, high = (np.rint(box) if form == "voc" else box).reshape(2, 2)
                if not (high > low).all():
                    continue
            boxes.append((label, tuple(box.tolist())))
        wanted[name] = boxes
    return wanted


def assert_same(got: dict[str, Boxes], wanted: dict[str, Boxes]) -> None:
    assert got.keys() == wanted.keys()
    for name, boxes in wanted.items():
        for some, others in ((boxes, got[name]), (got[name], boxes)):  # ultralytics drops and sorts duplicates
            for label, box in some:
                distances = [max(abs(np.subtract(box, other))) for known, other in others if known == label]
                assert distances and min(distances) <= 0.5 + 1e-6, (name, label, box, others)


@pytest.mark.parametrize("form", ["coco", "voc", "webdataset", "yolo", "imagefolder", "parquet"])
def test_boxes_survive_within_half_a_pixel(form: str, store: Store, pictures: Artifact) -> None:
    runs = {"imagefolder": 2, "parquet": 2, "yolo": 4, "voc": 6}.get(form, 8)

    @settings(max_examples=runs, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @example(mixed.boxes())
    @given(findings())
    def check(found: list[Detections]) -> None:
        boxes = mixed.make_annotations(store, pictures, found)
        with tempfile.TemporaryDirectory() as folder:
            made = export_dataset(pictures, form, Path(folder, "out"), annotations=boxes, store=store)
            assert made.images == 6 and made.boxes == sum(map(len, found))
            assert_same(read(form, made.path), expected(form, found))
            if hasattr(FORMATS.get(form), "read"):
                again = import_annotations(made.path, form, pictures, store=store)
                items = AnnotationTable(again).by_image()
                assert list(items) == list(mixed.IDS)
                back = {
                    name: [(label, tuple(map(float, box))) for label, box in zip(item.labels, item.boxes, strict=True)]
                    for name, item in zip(mixed.NAMES, items.values(), strict=True)
                }
                assert_same(back, expected("yolo" if form == "coco" else form, found))  # an import cuts to the picture

    check()


def test_coco_has_corners_areas_and_stable_ids(store: Store, pictures: Artifact, truth: Artifact) -> None:
    whole = export_dataset(pictures, "coco", "whole", store=store).path
    part = export_dataset(pictures, "coco", "part", split="test", store=store).path
    assert [path.name for path in sorted((part / "annotations").iterdir())] == ["instances_test.json"]
    train, test = (readers.load_coco(whole / "annotations" / f"instances_{s}.json") for s in ("train", "test"))
    assert train.getImgIds() == [1, 2, 3, 4] and test.getImgIds() == [5, 6]
    assert readers.load_coco(part / "annotations" / "instances_test.json").imgs == test.imgs
    assert [row["name"] for row in train.loadCats([1, 2])] == ["qr-code", "watermark"]
    code = train.loadAnns(train.getAnnIds(imgIds=[1]))[0]
    assert code["segmentation"] == [[10.25, 5, 30, 8.5, 27, 28, 7, 25]]
    mask = train.annToMask(code)  # an independent measure of the same polygon
    assert mask.shape == (48, 64) and abs(int(mask.sum()) - code["area"]) < 0.05 * code["area"]
    assert train.imgs[1]["image_id"] == mixed.IDS[0]


def test_results_load_against_the_ground_truth(store: Store, pictures: Artifact, truth: Artifact) -> None:
    from pycocotools.cocoeval import COCOeval

    found = [Detections(item.boxes, [0.25] * len(item), item.labels) for item in mixed.boxes()]
    mixed.make_annotations(store, pictures, found, "finder")
    known = readers.load_coco(
        export_dataset(pictures, "coco", "truth", store=store).path / "annotations" / "instances_train.json"
    )
    made = export_dataset(pictures, "coco-results", "out", annotations="finder", store=store)
    results = readers.load_results(known, made.path / "results_train.json")
    assert [row["score"] for row in results.anns.values()] == [0.25] * 4 and made.notes == ()
    evaluation = COCOeval(known, results, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)
    nothing = mixed.make_annotations(store, pictures, [Detections.empty()] * 6, "blind")
    made = export_dataset(pictures, "coco-results", "blind", annotations=nothing, split="test", store=store)
    assert (made.path / "results_test.json").read_text() == "[\n]\n" and "split test" in made.notes[0]


def test_results_tell_where_their_ids_may_differ(store: Store, pictures: Artifact) -> None:
    found = [Detections([[1, 1, 9, 9]], [1], ("logo",)), *[Detections.empty()] * 5]
    boxes = mixed.make_annotations(store, pictures, found, "logos")
    made = export_dataset(pictures, "coco-results", "out", annotations=boxes, split="train", store=store)
    assert made.categories == ("qr-code", "watermark", "logo") and "logo" in made.notes[0]


@pytest.mark.parametrize("form", ["coco", "imagefolder", "parquet", "webdataset", "yolo"])
def test_pictures_are_copied_byte_for_byte(form: str, store: Store, pictures: Artifact, truth: Artifact) -> None:
    folder = export_dataset(pictures, form, "out", store=store).path
    wanted = {row["image"]["bytes"] for row in ImageTable(pictures).rows()}
    if form == "parquet":
        got = {row["image"]["bytes"] for path in folder.rglob("*.parquet") for row in pq.read_table(path).to_pylist()}
    elif form == "webdataset":
        import tarfile

        tars = [tarfile.open(path) for path in folder.glob("*.tar")]  # noqa: SIM115
        got = {tar.extractfile(m).read() for tar in tars for m in tar if not m.name.endswith(("txt", "json"))}
    else:
        got = {path.read_bytes() for path in folder.rglob("*") if path.suffix in (".jpg", ".png", ".webp")}
    assert got == wanted


def test_voc_converts_only_what_it_cannot_hold(store: Store, pictures: Artifact, truth: Artifact) -> None:
    made = export_dataset(pictures, "voc", "out", store=store)
    for index, name in enumerate(mixed.NAMES):
        data = (made.path / "JPEGImages" / f"{name}.jpg").read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "JPEG" and image.size == mixed.SIZES[index]
        assert (data == mixed.encoded(index)) == (index % 3 == 1)
    assert made.notes == (
        "4 picture(s) were no JPEG and were encoded as such, quality 95",
        "1 box(es) without a pixel in their picture were left out",
    )
    assert "<truncated>1</truncated>" in (made.path / "Annotations" / "cats-one.xml").read_text()


def test_yolo_has_a_label_file_for_every_picture(store: Store, pictures: Artifact, truth: Artifact) -> None:
    made = export_dataset(pictures, "yolo", "out", store=store)
    labels = {path.stem: path.read_text() for path in (made.path / "labels").rglob("*.txt")}
    assert set(labels) == set(mixed.NAMES) and made.notes == ("1 box(es) outside their picture were left out",)
    assert labels["Three"] == labels["five"] == labels["six"] == ""
    assert labels["four-v1-5"] == "0 0.208333 0.578125 0.416667 0.843750\n"
    only = export_dataset(pictures, "yolo", "test", split="test", store=store).path
    assert readers.yolo(only) == {"five": [], "six": []}


def test_captions_and_columns_reach_the_hub_formats(
    store: Store, pictures: Artifact, truth: Artifact, tmp_path: Path
) -> None:
    rows = list(ImageTable(pictures).rows())
    folder = readers.load_hub(export_dataset(pictures, "imagefolder", "a", store=store).path, tmp_path / "1")
    assert {split: folder[split]["image_id"] for split in folder} == {
        "train": [*mixed.IDS[:4]],
        "test": [*mixed.IDS[4:]],
    }
    assert folder["train"]["text"] == [row["caption"] for row in rows[:4]]
    assert folder["test"]["objects"][0]["category"] == ["qr-code"]
    one = mixed.make_annotations(store, pictures, [mixed.boxes()[0], *[Detections.empty()] * 5], "one")
    made = export_dataset(pictures, "imagefolder", "uneven", annotations=one, store=store)
    assert "value of objects" in made.notes[0]
    plain = export_dataset(pictures, "parquet", "b", split="test", store=store)
    table = readers.load_hub(plain.path, tmp_path / "2")["test"]
    assert table["text"] == [row["caption"] for row in rows[4:]] and table.column_names[:3] == [
        "image",
        "text",
        "objects",
    ]
    assert table.features["objects"]["category"].feature.names == ["qr-code", "watermark"]
    web = readers.web_samples(export_dataset(pictures, "webdataset", "c", store=store).path)
    assert [one["__key__"] for one in web] == [*mixed.NAMES[4:], *mixed.NAMES[:4]]  # test-*.tar, then train-*.tar
    assert [one["txt"] for one in web[:2]] == [row["caption"] for row in rows[4:]]
    first = web[2]["json"]
    assert first["image_id"] == mixed.IDS[0] and first["objects"]["payload"] == ["HELLO"] and web[3]["txt"] == ""
    assert web[3]["json"]["caption"] is None and "quad" not in web[3]["json"]["objects"]


def test_without_annotations(store: Store, pictures: Artifact, tmp_path: Path) -> None:
    for form in ("imagefolder", "parquet", "webdataset"):
        made = export_dataset(pictures, form, form, store=store)
        assert made.annotations is None and made.boxes == 0
    rows = readers.load_hub(Path("imagefolder"), tmp_path / "1")["train"]
    assert "objects" not in rows.column_names and rows[1]["image"].size == mixed.SIZES[1]
    assert readers.load_hub(Path("parquet"), tmp_path / "2")["test"][0]["image"].size == mixed.SIZES[4]
    assert "objects" not in readers.web_samples(Path("webdataset"))[0]["json"]
