"""The files that tools and sites really give: found where they lie, and read as they mean it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conceptlib.concepts.tables import AnnotationTable
from conceptlib.errors import ConceptlibError
from conceptlib.formats import import_annotations
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store

Files = Mapping[str, Any]


def write(files: Files) -> Path:
    """Files of texts, or of what becomes JSON."""
    for name, content in files.items():
        path = Path("in", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return Path("in")


def found(made: Artifact) -> dict[str, Detections]:
    """What is in which picture, those without anything left out."""
    return {key: item for key, item in AnnotationTable(made).by_image().items() if len(item)}


def coco(name: str, **more: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 0, "file_name": name, "width": 640, "height": 480, **more}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 1, "bbox": [10, 20, 30, 40], "segmentation": []}],
        "categories": [{"id": 0, "name": "marks"}, {"id": 1, "name": "text", "supercategory": "marks"}],
    }


def voc(name: str) -> str:
    corners = "<xmin>11</xmin><ymin>21</ymin><xmax>40</xmax><ymax>60</ymax>"
    return (
        f"<annotation><filename>{name}</filename><path></path><object><name>text</name><bndbox>{corners}</bndbox>"
        "</object></annotation>"
    )


CAPTIONS = {"images": [{"id": 0, "file_name": "two.jpg"}], "annotations": [{"image_id": 0, "caption": "a cat"}]}
TASK: dict[str, Any] = {"id": 1, "data": {"image": "/data/upload/3/0123abcd-two.jpg"}}
RECTANGLE = {"x": 10 / 6.4, "y": 20 / 4.8, "width": 30 / 6.4, "height": 40 / 4.8, "rotation": 0}
TEXT = {**RECTANGLE, "rectanglelabels": ["text"]}
SIZE = {"original_width": 640, "original_height": 480}

LAYOUTS: dict[str, tuple[str, Files]] = {
    "Roboflow's COCO": (
        "coco",
        {
            "README.roboflow.txt": "exported",
            "info.json": {"version": 1},
            "train/_annotations.coco.json": coco("two.jpg"),
            "valid/_annotations.coco.json": {**coco("x"), "images": [], "annotations": []},
        },
    ),
    "Roboflow's names": ("coco", {"train/_annotations.coco.json": coco("two_jpg.rf.0123456789abcdef.jpg")}),
    "Roboflow's extra": ("coco", {"train/_annotations.coco.json": coco("x9.jpg", extra={"name": "two.jpg"})}),
    "COCO 2017": (
        "coco",
        {
            "annotations/instances_val2017.json": coco("two.jpg"),
            "annotations/captions_val2017.json": CAPTIONS,
            "annotations/person_keypoints_val2017.json": coco("two.jpg"),
        },
    ),
    "CVAT's COCO": ("coco", {"annotations/instances_default.json": coco("cats/two.png")}),
    "key points alone": ("coco", {"annotations/person_keypoints_val2017.json": coco("two.jpg")}),
    "Roboflow's VOC": ("voc", {"train/two.xml": voc("two.jpg"), "valid/six.xml": "<annotation></annotation>"}),
    "VOCdevkit": ("voc", {"VOC2012/Annotations/two.xml": voc("two.jpg"), "VOC2012/notes.xml": "<notes/>"}),
    "CVAT's YOLO 1.1": (
        "yolo",
        {
            "obj.names": "other\ntext\n",
            "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n",
            "train.txt": "data/obj_train_data/cats/two.jpg\n",
            "obj_train_data/cats/two.txt": "1 0.0390625 0.0833333 0.046875 0.0833333\n",
        },
    ),
    "Roboflow's darknet": (
        "yolo",
        {
            "README.dataset.txt": "exported",
            "train/_darknet.labels": "other\ntext",
            "valid/_darknet.labels": "other\ntext",
            "train/two.txt": "1 0.0390625 0.0833333 0.046875 0.0833333\n",
        },
    ),
    "darknet, beside the pictures": (
        "yolo",
        {
            "classes.txt": "other\ntext\n",
            "data/two.jpg": "a picture",
            "data/two.txt": "1 0.0390625 0.0833333 0.046875 0.0833333\n",
            "data/README.txt": "no label file",
        },
    ),
    "labels and a list of pictures": (
        "yolo",
        {
            "classes.txt": "other\ntext\n",
            "train.txt": "./two.jpg\n",
            "two.txt": "1 0.0390625 0.0833333 0.046875 0.0833333\n",
        },
    ),
    "poses": (
        "yolo",
        {
            "data.yaml": "names: [other, text]\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\n",
            "labels/train/two.txt": "1 0.0390625 0.0833333 0.046875 0.0833333 0.9 0.9 2 0 0 0\n",
        },
    ),
    "labelme": (
        "labelme",
        {
            "a/two.json": {
                "version": "5.5.0",
                "flags": {},
                "shapes": [
                    {"label": "text", "points": [[40, 60], [10, 20]], "shape_type": "rectangle", "group_id": None}
                ],
                "imagePath": "..\\photos\\two.jpg",
                "imageData": "aGVsbG8=",
                "imageHeight": 480,
                "imageWidth": 640,
            }
        },
    ),
    "CVAT for images": (
        "cvat",
        {
            "annotations.xml": '<?xml version="1.0" encoding="utf-8"?><annotations><meta><task/></meta>'
            '<image id="0" name="cats/two.jpg" width="640" height="480"><box label="text" source="manual" occluded="0" '
            'xtl="10.00" ytl="20.00" xbr="40.00" ybr="60.00"><attribute name="a">b</attribute></box></image>'
            "</annotations>"
        },
    ),
    "Label Studio": (
        "label-studio",
        {
            "project-1.json": [
                {
                    **TASK,
                    "annotations": [
                        {
                            "id": 7,
                            "was_cancelled": False,
                            "result": [
                                {
                                    "id": "a",
                                    "type": "rectanglelabels",
                                    "value": {**RECTANGLE, "rectanglelabels": ["text"]},
                                    **SIZE,
                                },
                                {"id": "c", "type": "choices", "value": {"choices": ["good"]}},
                            ],
                        }
                    ],
                }
            ]
        },
    ),
    "Label Studio's JSON-MIN": (
        "label-studio",
        {"min.json": [{"image": "/data/local-files/?d=cats/two.jpg", "id": 1, "label": [{**TEXT, **SIZE}]}]},
    ),
    "Label Studio's template for texts": (
        "label-studio",
        {
            "ocr.json": [
                {
                    "data": {"ocr": "s3://bucket/cats/two.jpg"},
                    "annotations": [
                        {
                            "result": [
                                {"id": "a", "type": "rectangle", "value": RECTANGLE, **SIZE},
                                {"id": "a", "type": "labels", "value": {**RECTANGLE, "labels": ["text"]}, **SIZE},
                                {"id": "a", "type": "textarea", "value": {**RECTANGLE, "text": ["hello"]}, **SIZE},
                            ]
                        }
                    ],
                }
            ]
        },
    ),
    "Label Studio's storage": (
        "label-studio",
        {"1": "", "17.json": {"id": 17, "task": TASK, "result": [{"type": "rectanglelabels", "value": TEXT}]}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, store: Store, pictures: Artifact) -> None:
    form, files = LAYOUTS[name]
    made = import_annotations(write(files), form, pictures, store=store, allow_missing=True)
    boxes = found(made)
    assert list(boxes) == ["two"] and boxes["two"].labels == ("text",)
    assert np.allclose(boxes["two"].boxes, [[10, 20, 40, 60]], atol=0.01)
    assert made.info["rejected"] == {"files": 0, "pictures": 0, "objects": 0}
    notes = "left out beside instances_*.json" in str(made.info["notes"])
    assert notes == (name == "COCO 2017")
    assert made.info["reduced"] == ({"objects with keypoints, of which the box is kept": 1} if name == "poses" else {})


def test_splits_may_share_names(store: Store, pictures: Artifact) -> None:
    files = {f"{split}/_annotations.coco.json": coco("two.jpg") for split in ("train", "valid")}
    with pytest.raises(ConceptlibError, match=r"valid/_annotations.coco.json: images\[0\]: .* the picture of train/"):
        import_annotations(write(files), "coco", pictures, store=store)
    made = import_annotations("in", "coco", pictures, skip_bad=True, store=store)
    assert made.info["rejected"] == {"files": 0, "pictures": 1, "objects": 1} and list(found(made)) == ["two"]


def test_other_files_beside_are_noted(store: Store, pictures: Artifact) -> None:
    shapes = {"shapes": [{"label": "text", "shape_type": "rectangle", "points": [[1, 1], [9, 9]]}]}
    for form, sound in (("coco", {"train.json": coco("two.jpg")}), ("labelme", {"two.json": shapes})):
        for path in Path().glob("in/*"):
            path.unlink()
        made = import_annotations(write({**sound, "classes.json": ["text"]}), form, pictures, store=store)
        assert list(found(made)) == ["two"]
        assert made.info["notes"] == ["left out, since they are no annotations: classes.json"]
        Path("in/classes.json").write_text("{")
        with pytest.raises(ConceptlibError, match=r"classes.json: not valid JSON"):
            import_annotations("in", form, pictures, store=store)


def test_captions_are_no_boxes(store: Store, pictures: Artifact) -> None:
    with pytest.raises(ConceptlibError, match=r"captions.json: no COCO ground truth.*these are captions, not boxes"):
        import_annotations(write({"captions.json": CAPTIONS}), "coco", pictures, store=store)


POSES = {
    "17x3": ([17, 3], "0 0.5 0.5 0.2 0.4 " + "0.5 0.5 2 " * 17),
    "5x3": ([5, 3], "0 0.0390625 0.0833333 0.046875 0.0833333 0.3 0.3 2 0.31 0.31 2" + " 0.33 0.33 2" * 3),
    "17x2": ([17, 2], "0 0.5 0.5 0.2 0.4 " + "0.45 0.52 " * 17),
    "4x2": ([4, 2], "0 0.3 0.7 0.1 0.1 0.27 0.66 0.33 0.67 0.32 0.74 0.26 0.73"),
    "1x3": ([1, 3], "0 0.3 0.7 0.1 0.1 0.3 0.7 1"),
    "predictions": ([4, 2], "0 0.3 0.7 0.1 0.1 0.27 0.66 0.33 0.67 0.32 0.74 0.26 0.73 0.5"),
}  # fmt: skip


@pytest.mark.parametrize("name", POSES)
def test_poses_are_their_box_or_refused(name: str, store: Store, pictures: Artifact) -> None:
    shape, line = POSES[name]
    source = write({"data.yaml": f"names: [text]\nkpt_shape: {shape}", "labels/two.txt": line})
    made = import_annotations(source, "yolo", pictures, store=store)
    x, y, width, height = (float(word) for word in line.split()[1:5])
    wanted = [(x - width / 2) * 640, (y - height / 2) * 480, (x + width / 2) * 640, (y + height / 2) * 480]
    boxes = found(made)["two"]
    assert np.allclose(boxes.boxes, [wanted], atol=1e-3) and boxes.quads is None
    assert boxes.scores.tolist() == [0.5 if name == "predictions" else 1]
    assert made.info["reduced"] == {"objects with keypoints, of which the box is kept": 1}
    Path("in/data.yaml").write_text("names: [text]")
    with pytest.raises(ConceptlibError, match=r"two.txt:1: .*(kpt_shape|a polygon of \d+ numbers)"):
        import_annotations(source, "yolo", pictures, store=store)
    Path("in/data.yaml").write_text("names: [text]\nkpt_shape: [9, 3]")
    with pytest.raises(ConceptlibError, match=r"two.txt:1: \d+ numbers behind the class; by kpt_shape \[9, 3\]"):
        import_annotations(source, "yolo", pictures, store=store)


@pytest.mark.parametrize(
    "lines",
    [
        "0 0.1 0.1 0.9 0.1 0.9 0.9\n0 0.5 0.1 0.52 0.9 0.9 0.9 0.2 0.8 0.1 0.3\n",  # of different lengths
        "0 0.5 0.5 0.6 0.5 0.6 0.6 0.5 0.6\n0 0.2 0.3 0.4 0.35 0.38 0.45 0.18 0.4\n",  # oriented boxes
        "0 0.1 0.1 0.2 0.4 0.3 0.1\n",  # a triangle with its tip in second place
        "0 0.45 0.5 0.47 0.41 0.55 0.46 0.52 0.58 0.44 0.56\n",
    ],
)
def test_polygons_are_told_from_poses(lines: str, store: Store, pictures: Artifact) -> None:
    source = write({"data.yaml": "names: [text]", "labels/two.txt": lines})
    boxes = found(import_annotations(source, "yolo", pictures, store=store))["two"]
    for box, line in zip(boxes.boxes, lines.splitlines(), strict=True):
        x, y = (np.array(line.split()[start::2], float) * side for start, side in ((1, 640), (2, 480)))
        assert np.allclose(box, [x.min(), y.min(), x.max(), y.max()], atol=1e-3)


def test_who_knows_better_says_that_they_are_polygons(store: Store, pictures: Artifact) -> None:
    kite = "0 0.5 0.5 0.9 0.9 0.52 0.5 0.51 0.52"
    source = write({"data.yaml": "names: [text]", "labels/two.txt": kite})
    with pytest.raises(ConceptlibError, match=r"`kpt_shape: \[0, 0\]` says that it is a polygon"):
        import_annotations(source, "yolo", pictures, store=store)
    Path("in/data.yaml").write_text("names: [text]\nkpt_shape: [0, 0]")
    assert found(import_annotations(source, "yolo", pictures, store=store))["two"].boxes[0, 2] == pytest.approx(576)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("names: [text]\nkpt_shape: 5", "kpt_shape must be"),
        ("names: [text]\nkpt_shape: [5, 4]", "kpt_shape must be"),
        ("names: [text]\nkpt_shape: [-1, 3]", "kpt_shape must be"),
        ("a: &a [text, text]\nb: &b [*a, *a]\nnames: [*b]", "a class is called by a text"),
        ("names: &a [*a]", "not a data file of YOLO"),
        ("names: " + "[" * 3000, "not a data file of YOLO"),
        ("names: {" + "9" * 5000 + ": text}", "not a data file of YOLO"),
        ('names: ["a\\u0085b"]', "a class is called by a text"),
    ],
)
def test_data_files_that_are_none(data: str, message: str, store: Store, pictures: Artifact) -> None:
    source = write({"data.yaml": data, "labels/two.txt": "0 0.5 0.5 0.1 0.1"})
    with pytest.raises(ConceptlibError, match=message):
        import_annotations(source, "yolo", pictures, store=store)


def test_lists_of_classes_that_differ(store: Store, pictures: Artifact) -> None:
    source = write({"a/_darknet.labels": "x\ny", "b/_darknet.labels": "y\nx", "a/two.txt": "0 0.5 0.5 0.1 0.1"})
    with pytest.raises(ConceptlibError, match=r"several files name the classes.*differ: a/_darknet.labels, b/"):
        import_annotations(source, "yolo", pictures, store=store)


def corners(box: Sequence[float], degrees: float, about: tuple[float, float]) -> np.ndarray:
    """By a rotation matrix, y downwards."""
    turn = np.array([[math.cos(math.radians(degrees)), -math.sin(math.radians(degrees))],
                     [math.sin(math.radians(degrees)), math.cos(math.radians(degrees))]])  # fmt: skip
    points = np.array([[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]])
    return (points - about) @ turn.T + about


def test_turned_shapes_keep_their_corners(store: Store, pictures: Artifact) -> None:
    box = [100, 100, 200, 150]
    shape = '<box label="text" xtl="100" ytl="100" xbr="200" ybr="150" rotation="30.0"/>'
    xml = f'<annotations><image name="two.jpg" width="640" height="480">{shape}</image></annotations>'
    quads = found(import_annotations(write({"a.xml": xml}), "cvat", pictures, store=store))["two"].quads
    assert quads is not None and np.allclose(quads[0], corners(box, 30, (150, 125)), atol=0.01)  # about its centre

    value = {"x": 100 / 6.4, "y": 100 / 4.8, "width": 100 / 6.4, "height": 50 / 4.8, "rotation": 30}
    result = {"type": "rectanglelabels", "value": {**value, "rectanglelabels": ["text"]}, **SIZE}
    source = write({"b.json": [{**TASK, "annotations": [{"result": [result]}]}]}) / "b.json"
    quads = found(import_annotations(source, "label-studio", pictures, store=store))["two"].quads
    assert quads is not None and np.allclose(quads[0], corners(box, 30, (100, 100)), atol=0.01)  # about its corner


SHAPES: dict[str, tuple[Any, list[int]]] = {
    "cvat": ('<ellipse label="text" cx="150" cy="125" rx="50" ry="25"/>', [100, 100, 200, 150]),
    "cvat turned": ('<ellipse label="text" cx="150" cy="125" rx="50" ry="25" rotation="90"/>', [125, 75, 175, 175]),
    "cvat mask": ('<mask label="text" rle="1,2" left="100" top="100" width="100" height="50"/>', [100, 100, 200, 150]),
    "labelme circle": ({"shape_type": "circle", "points": [[150, 125], [190, 155]]}, [100, 75, 200, 175]),
    "labelme mask": ({"shape_type": "mask", "points": [[100, 100], [200, 150]]}, [100, 100, 200, 150]),
    "labelme polygon": ({"points": [[100, 100], [200, 110], [150, 150]]}, [100, 100, 200, 150]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_outlines_are_the_box_around_them(name: str, store: Store, pictures: Artifact) -> None:
    shape, box = SHAPES[name]
    if isinstance(shape, str):
        source = write({"a.xml": f'<annotations><image name="two.jpg">{shape}</image></annotations>'})
    else:
        source = write({"two.json": {"shapes": [{"label": "text", **shape}]}})
    made = import_annotations(source, name.split()[0], pictures, store=store)
    assert np.allclose(found(made)["two"].boxes, [box], atol=0.01)
    assert made.info["reduced"] == {"objects with an outline, of which the box around it is kept": 1}


def test_whose_annotation_counts(store: Store, pictures: Artifact) -> None:
    def annotation(label: str, **more: Any) -> dict[str, Any]:
        return {"result": [{"type": "rectanglelabels", "value": {**RECTANGLE, "rectanglelabels": [label]}}], **more}

    def read(*annotations: dict[str, Any]) -> Artifact:
        six = {"data": {"image": "six.jpg"}, "annotations": []}
        return import_annotations(
            write({"a.json": [{**TASK, "annotations": annotations}, six]}), "label-studio", pictures, store=store
        )

    assert found(read(annotation("a", was_cancelled=True), annotation("b")))["two"].labels == ("b",)
    made = read(annotation("a"), annotation("b", ground_truth=True))
    assert found(made)["two"].labels == ("b",)
    assert made.info["unannotated"] == 1 and made.info["read"]["pictures"] == 2
    with pytest.raises(ConceptlibError, match=r"task\[0\]: 2 annotations of one task"):
        read(annotation("a"), annotation("b"))
    with pytest.raises(ConceptlibError, match="none of 2 pictures is annotated"):
        read(annotation("a", was_cancelled=True))


def test_videos_have_no_pictures(store: Store, pictures: Artifact) -> None:
    track = '<track id="0" label="text"><box frame="0" xtl="1" ytl="1" xbr="9" ybr="9"/></track>'
    with pytest.raises(ConceptlibError, match=r"a.xml:1: a track: its frames have no names"):
        import_annotations(write({"a.xml": f"<annotations>{track}</annotations>"}), "cvat", pictures, store=store)


@pytest.mark.parametrize(
    "segmentation",
    [[10, 10, 30, 10, 30, 40], [[10, 10], [30, 10], [30, 40]], [[[10, 10], [30, 10], [30, 40]]]],
    ids=["flat", "pairs", "pairs in a list"],
)
def test_segmentations_as_labelme_converters_write_them(segmentation: Any, store: Store, pictures: Artifact) -> None:
    data = coco("two.jpg")
    data["annotations"][0] |= {"segmentation": segmentation, "bbox": []}
    boxes = found(import_annotations(write({"a.json": data}), "coco", pictures, store=store))["two"].boxes
    assert boxes.tolist() == [[10, 10, 30, 40]]
