"""Other people's annotations: matched, checked, every fault named with its place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conceptlib.concepts.tables import AnnotationTable, ImageTable, image_row, shard_name
from conceptlib.errors import ConceptlibError, NotFound, UsageError
from conceptlib.formats import import_annotations
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store
from tests.support import mixed

IMAGES = [{"id": i, "file_name": f"{name}.jpg"} for i, name in enumerate(("one", "two", "Three"))]


def write_coco(annotations: Sequence[dict[str, Any]], images: Sequence[dict[str, Any]] = IMAGES) -> Path:
    data = {"images": images, "categories": [{"id": 7, "name": "qr-code"}], "annotations": list(annotations)}
    Path("coco.json").write_text(json.dumps(data))
    return Path("coco.json")


def write_yolo(labels: dict[str, str], names: str = "names: [qr-code, 'no']") -> Path:
    for name, text in labels.items():
        path = Path("yolo", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    Path("yolo/data.yaml").write_text(names)
    return Path("yolo")


def write_voc(name: str, objects: str, size: str = "", head: str = "") -> Path:
    Path("voc").mkdir(exist_ok=True)
    text = f"<annotation>\n<filename>{name}.jpg</filename>{size}\n{objects}\n</annotation>"
    Path("voc", f"{name}.xml").write_text(head + text)
    return Path("voc")


def voc_object(*corners: object, name: str = "qr-code") -> str:
    tags = "".join(f"<{t}>{v}</{t}>" for t, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<object><name>{name}</name><bndbox>{tags}</bndbox></object>"


def boxes_of(made: Artifact) -> dict[str, Detections]:
    return AnnotationTable(made).by_image()


def test_every_picture_has_a_row(store: Store, pictures: Artifact) -> None:
    source = write_coco([{"image_id": 0, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}])
    told: list[tuple[str, int, int]] = []
    made = import_annotations(source, "coco", "mixed", name="human", store=store, progress=lambda *a: told.append(a))
    assert made.kind == "annotations" and made.name == "human" and made.parents == {"dataset": pictures.id}
    table = AnnotationTable(made)
    assert [path.name for path in table.shards()] == [path.name for path in ImageTable(pictures).shards()]
    found = boxes_of(made)
    assert list(found) == list(mixed.IDS) and told[-1] == ("import", 6, 6)
    assert found[mixed.IDS[0]] == Detections([[1, 2, 4, 6]], [0.5], ("qr-code",))
    assert sum(map(len, found.values())) == 1
    assert made.info["named"] == 3 and made.info["images"] == 6 and made.info["labels"] == ["qr-code"]
    assert import_annotations(source, "coco", pictures, name="human", store=store) == made
    source.write_text(source.read_text().replace("[1, 2", "[1, 3"))
    assert import_annotations(source, "coco", pictures, name="human", store=store).id != made.id


@pytest.mark.parametrize(
    ("entry", "index"),
    [
        ({"file_name": "cats/one.jpg"}, 0),
        ({"file_name": "C:\\data\\cats\\one.png"}, 0),
        ({"file_name": "train/cats-one.jpg"}, 0),
        ({"file_name": "four v1.5"}, 3),
        ({"file_name": "four v1.5.png"}, 3),
        ({"file_name": "../../five"}, 4),
        ({"file_name": "anything", "image_id": "six"}, 5),
    ],
)
def test_matching(entry: dict[str, str], index: int, store: Store, pictures: Artifact) -> None:
    box = {"image_id": 1, "category_id": 7, "bbox": [0, 0, 2, 2]}
    made = import_annotations(write_coco([box], [{"id": 1, **entry}]), "coco", pictures, store=store)
    assert [key for key, item in boxes_of(made).items() if len(item)] == [mixed.IDS[index]]


def test_matching_by_hash(store: Store, pictures: Artifact) -> None:
    sha256 = list(ImageTable(pictures).rows())[2]["image_sha256"]
    source = write_coco([{"image_id": 1, "category_id": 7, "bbox": [0, 0, 2, 2]}], [{"id": 1, "sha256": sha256}])
    assert len(boxes_of(import_annotations(source, "coco", pictures, store=store))[mixed.IDS[2]]) == 1


def test_annotations_without_a_picture_are_listed(store: Store, pictures: Artifact) -> None:
    source = write_coco([], [*IMAGES, {"id": 9, "file_name": "stray.jpg"}, {"id": 10, "file_name": "four v1.jpg"}])
    with pytest.raises(ConceptlibError, match=r"2 of 5 (.|\n)*images\[3\]: stray\.jpg(.|\n)*--allow-missing"):
        import_annotations(source, "coco", pictures, store=store)
    made = import_annotations(source, "coco", pictures, allow_missing=True, store=store)
    lines = [json.loads(line) for line in (made.path / "unmatched.jsonl").read_text().splitlines()]
    assert [line["picture"] for line in lines] == ["stray.jpg", "four v1.jpg"] and made.info["unmatched"] == 2
    with pytest.raises(ConceptlibError, match="right dataset"):
        import_annotations(
            write_coco([], [{"id": 1, "file_name": "x.jpg"}]), "coco", pictures, allow_missing=True, store=store
        )


def test_two_entries_for_one_picture(store: Store, pictures: Artifact) -> None:
    source = write_coco([], [{"id": 1, "file_name": "a/two.jpg"}, {"id": 2, "file_name": "two.png"}])
    with pytest.raises(ConceptlibError, match=r"images\[1\].*is the picture of coco.json: images\[0\] too"):
        import_annotations(source, "coco", pictures, store=store)


def test_a_name_that_fits_several_pictures(store: Store) -> None:
    with store.draft("dataset", "twins", lock={}) as draft:
        rows = [image_row(key, mixed.encoded(0)) for key in ("a/x.jpg", "b/x.jpg")]
        ImageTable.write(draft.path / "data" / shard_name("train", 0, 1), rows)
        twins = draft.commit()
    box = {"image_id": 1, "category_id": 7, "bbox": [0, 0, 2, 2]}
    with pytest.raises(ConceptlibError, match=r"images\[0\]: 'x\.jpg' fits several"):
        import_annotations(write_coco([box], [{"id": 1, "file_name": "x.jpg"}]), "coco", twins, store=store)
    found = boxes_of(
        import_annotations(write_coco([box], [{"id": 1, "file_name": "b/x.jpg"}]), "coco", twins, store=store)
    )
    assert [len(item) for item in found.values()] == [0, 1]


def test_coco_geometry(store: Store, pictures: Artifact) -> None:
    from pycocotools import mask

    box = {"category_id": 7, "image_id": 1}
    dense = np.zeros((480, 640), np.uint8, order="F")
    dense[20:50, 100:300] = 1
    packed = mask.encode(dense)
    runs = {"size": [480, 640], "counts": [480 * 10 + 5, 40, 480 * 640 - 480 * 10 - 45]}
    source = write_coco(
        [
            box | {"segmentation": [[10, 10, 20, 12, 15, 30]]},
            box | {"segmentation": [[10, 10, 20, 10, 20, 20], [90, 80, 95, 80, 95, 99]], "bbox": []},
            box | {"segmentation": packed | {"counts": packed["counts"].decode()}},
            box | {"segmentation": runs},
            box | {"bbox": [630, 470, 50, 50]},
            box | {"bbox": [700, 10, 50, 50]},
            box | {"bbox": [0, 0, 9, 9], "iscrowd": 1},
            box | {"image_id": 0, "segmentation": [[1, 2, 9, 3, 8, 9, 2, 8]], "bbox": [1, 2, 8, 7]},
        ]
    )
    made = import_annotations(source, "coco", pictures, store=store)
    found = boxes_of(made)
    assert found["two"].boxes.tolist() == [
        [10, 10, 20, 30],
        [10, 10, 95, 99],
        [100, 20, 300, 50],
        [10, 5, 11, 45],
        [630, 470, 640, 480],
    ]
    assert found["two"].quads is None
    assert found[mixed.IDS[0]].quads.tolist() == [[[1, 2], [9, 3], [8, 9], [2, 8]]]
    assert made.info["skipped"] == {"crowd regions": 1, "outside the picture or empty": 1}


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"bbox": [0, 0, -1, 5]}, "negative size: -1 x 5"),
        ({"bbox": [0, float("nan"), 1, 5]}, "not a finite number"),
        ({"bbox": [0, 0, 1e999, 5]}, "not a finite number"),
        ({"bbox": [0, 0, "wide", 5]}, "'wide' is not a number"),
        ({"bbox": [0, 0, 1]}, "bbox must be"),
        ({"bbox": [0, 0, 1, True]}, "True is not a number"),
        ({"bbox": {"x": 1}}, "bbox must be"),
        ({}, "neither a bbox nor a segmentation"),
        ({"segmentation": [[1, 2, 3, 4]]}, "polygon of 4 numbers"),
        ({"segmentation": {"size": [1, 2]}}, "`size` and `counts`"),
        ({"segmentation": {"size": [2, 2], "counts": [9, 9]}}, "do not fit"),
        ({"bbox": [0, 0, 1, 1], "score": 7}, "a score of 7"),
        ({"bbox": [0, 0, 1, 1], "category_id": 8}, "no category 8"),
        ({"bbox": [0, 0, 1, 1], "category_id": [8]}, "no category [8]"),
        ({"bbox": [0, 0, 1, 1], "image_id": 99}, "no image 99"),
    ],
)
def test_coco_faults_are_named(annotation: dict[str, Any], message: str, store: Store, pictures: Artifact) -> None:
    good = {"image_id": 0, "category_id": 7, "bbox": [1, 1, 2, 2]}
    source = write_coco([good, {"id": 17, "image_id": 0, "category_id": 7} | annotation])
    with pytest.raises(ConceptlibError) as caught:
        import_annotations(source, "coco", pictures, store=store)
    assert "1 problem(s)" in str(caught.value) and "coco.json: annotations[1] (id 17): " in str(caught.value)
    assert message in str(caught.value) and store.list("annotations") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('[{"image_id": 1, "score": 1}]', "a list is no COCO ground truth"),
        ('{"images": []}', "no COCO ground truth"),
        ('{"images": 3, "annotations": [], "categories": []}', "`images` must be a list"),
        ('{"images": [{"id": []}], "annotations": [], "categories": []}', "must have an id"),
        ('{"images": [{"id": 1}, {"id": 1}], "annotations": [], "categories": []}', "comes twice"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "images[0]: has no file_name"),
        (
            '{"images": [{"id": 1, "file_name": "two.jpg", "width": 64, "height": 64}], "annotations": [], '
            '"categories": []}',
            "for 64x64 px, the dataset's picture has 640x480",
        ),
    ],
)
def test_files_that_are_no_coco(text: str, message: str, store: Store, pictures: Artifact) -> None:
    Path("x.json").write_text(text)
    with pytest.raises(ConceptlibError) as caught:
        import_annotations("x.json", "coco", pictures, store=store)
    assert message in str(caught.value)


def test_yolo_lines(store: Store, pictures: Artifact) -> None:
    source = write_yolo(
        {
            "labels/train/cats/one.txt": "0 0.5 0.5 0.25 0.5\n\n1 0.5 0.5 0.5 0.5 0.75\n",
            "labels/test/two.txt": "0 0.25 0.25 0.75 0.25 0.75 0.5 0.25 0.5\n",
            "labels/test/six.txt": "1 0 0 0.5 0 0.5 0.5\n0 1.5 0.5 0.1 0.1\n",
            "labels/test/Three.txt": "",
            "README.txt": "0 this is no label file",
        }
    )
    made = import_annotations(source, "yolo", pictures, store=store)
    found = boxes_of(made)
    one = found[mixed.IDS[0]]
    assert one.boxes.tolist() == [[24, 12, 40, 36], [16, 12, 48, 36]]
    assert one.labels == ("qr-code", "no") and one.scores.tolist() == [1, 0.75] and one.quads is None
    assert found["two"].quads.tolist() == [[[160, 120], [480, 120], [480, 240], [160, 240]]]
    assert found["six"].boxes.tolist() == [[0, 0, 32, 32]] and made.info["skipped"] == {
        "outside the picture or empty": 1
    }
    assert made.info["named"] == 4


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", "class '2' is out of range: there are 2"),
        ("-1 0.5 0.5 0.1 0.1", "class '-1' is out of range"),
        ("0.5 0.5 0.5 0.1 0.1", "class '0.5' is out of range"),
        ("qr 0.5 0.5 0.1 0.1", "'qr' is not a number"),
        ("0 nan 0.5 0.1 0.1", "'nan' is not a finite number"),
        ("0 0.5 0.5 -0.1 0.1", "a box of negative size: -0.1 x 0.1"),
        ("0 0.5 0.5", "3 values"),
        ("0 0.5 0.5 0.1 0.1 0.1 0.1 0.1", "7 numbers: it looks like a box and its keypoints"),
    ],
)
def test_yolo_faults_are_named(line: str, message: str, store: Store, pictures: Artifact) -> None:
    source = write_yolo({"labels/two.txt": f"0 0.5 0.5 0.1 0.1\n{line}\n"})
    with pytest.raises(ConceptlibError) as caught:
        import_annotations(source, "yolo", pictures, store=store)
    assert f"labels/two.txt:2: {message}" in str(caught.value)


def test_yolo_names(store: Store, pictures: Artifact) -> None:
    labels = {"two.txt": "1 0.5 0.5 0.1 0.1"}
    write_yolo(labels, "names: {0: a, 1: b}\npath: /etc\ntrain: ../../elsewhere")
    assert boxes_of(import_annotations("yolo/data.yaml", "yolo", pictures, store=store))["two"].labels == ("b",)
    Path("yolo/data.yaml").write_text("names: !!python/object/apply:os.system ['touch pwned']")
    with pytest.raises(ConceptlibError):
        import_annotations("yolo", "yolo", pictures, store=store)
    assert not Path("pwned").exists()
    Path("yolo/data.yaml").write_text("train: images")
    with pytest.raises(ConceptlibError, match="no names for the classes"):
        import_annotations("yolo", "yolo", pictures, store=store)
    Path("yolo/classes.txt").write_text("x\ny\n")
    assert boxes_of(import_annotations("yolo", "yolo", pictures, store=store))["two"].labels == ("y",)
    Path("yolo/two.txt").unlink()
    with pytest.raises(ConceptlibError, match="no label files"):
        import_annotations("yolo", "yolo", pictures, store=store)


def test_voc_counts_pixels_from_one(store: Store, pictures: Artifact) -> None:
    write_voc("two", voc_object(1, 1, 640, 480) + voc_object(11.5, "21", 21.25, 31, name="a & b".replace("&", "&amp;")))
    write_voc("six", voc_object(0, 0, 80, 64), size="<size><width>0</width><height>0</height></size>")
    found = boxes_of(import_annotations("voc", "voc", pictures, store=store))
    assert found["two"].boxes.tolist() == [[0, 0, 640, 480], [10.5, 20, 21.25, 31]]
    assert found["two"].labels == ("qr-code", "a & b") and found["six"].boxes.tolist() == [[0, 0, 64, 64]]


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (voc_object(5, 5, 4, 9), "two.xml:3: a box of negative size: x 5 to 4"),
        ("\n" + voc_object("nan", 5, 9, 9), "two.xml:4: 'nan' is not a finite number"),
        (voc_object("", 5, 9, 9), "two.xml:3: '' is not a number"),
        ("<object><name>a</name></object>", "two.xml:3: an object without a bndbox"),
        ("<object><bndbox/></object>", "two.xml:3: an object without a name"),
        ("<object><name>a</name><bndbox><xmin>1</xmin></bndbox></object>", "two.xml:3: <bndbox> without <ymin>"),
        ("<object>", "two.xml: mismatched tag"),
    ],
)
def test_voc_faults_are_named(objects: str, message: str, store: Store, pictures: Artifact) -> None:
    with pytest.raises(ConceptlibError) as caught:
        import_annotations(write_voc("two", objects), "voc", pictures, store=store)
    assert message in str(caught.value)


def test_hostile_xml_is_refused(store: Store, pictures: Artifact) -> None:
    Path("secret").write_text("the password")
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]>'
    inclusion = f'<!DOCTYPE a [<!ENTITY c SYSTEM "{Path("secret").absolute().as_uri()}">]>'
    for head in (bomb, inclusion, '<!DOCTYPE a SYSTEM "http://example.org/a.dtd">'):
        with pytest.raises(ConceptlibError, match=r"two\.xml: refused"):
            import_annotations(
                write_voc("two", "<object><name>&c;</name></object>", head=head), "voc", pictures, store=store
            )


def test_all_faults_at_once(store: Store, pictures: Artifact) -> None:
    source = write_yolo({"labels/two.txt": "9 0 0 0 0\n" * 25})
    with pytest.raises(ConceptlibError, match=r"25 problem\(s\)(.|\n)*labels/two.txt:20(.|\n)*and 5 more"):
        import_annotations(source, "yolo", pictures, store=store)


def test_what_cannot_be_imported(store: Store, pictures: Artifact) -> None:
    with pytest.raises(UsageError, match=r"parquet is written only.*coco, cvat, label-studio, labelme, voc, yolo"):
        import_annotations(".", "parquet", pictures, store=store)
    with pytest.raises(NotFound, match="no such file"):
        import_annotations("nowhere", "coco", pictures, store=store)
    Path("export.zip").write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"an archive is not read.*unpack it"):
        import_annotations("export.zip", "yolo", pictures, store=store)
    Path("empty").mkdir()
    for form, message in (("coco", "no COCO annotations"), ("voc", "no VOC annotations"), ("yolo", "no names")):
        with pytest.raises(ConceptlibError, match=message):
            import_annotations("empty", form, pictures, store=store)
    with pytest.raises(ConceptlibError, match="not a name"):
        import_annotations(write_coco([]), "coco", pictures, name="../x", store=store)
