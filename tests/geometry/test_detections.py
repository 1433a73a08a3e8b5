from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections


def three() -> Detections:
    return Detections(
        boxes=np.array([[0, 0, 1, 1], [1, 1, 4, 5], [2, 2, 2, 2]]),
        scores=np.array([0.9, 0.5, 0.0]),
        labels=("qr-code", "watermark", "qr-code"),
        quads=np.arange(24).reshape(3, 4, 2),
        payloads=("a", "", "é"),
        visible=np.array([1.0, 0.25, 0.0]),
    )


def test_columns_are_converted_and_cannot_be_changed() -> None:
    boxes = np.array([[0, 0, 1, 1]], np.float64)
    found = Detections(boxes, [0.5], ["qr-code"])  # type: ignore[arg-type]
    assert found.boxes.dtype == found.scores.dtype == np.float32 and found.labels == ("qr-code",)
    boxes[:] = 7
    assert found.boxes.tolist() == [[0, 0, 1, 1]]
    with pytest.raises(ValueError, match="read-only"):
        found.boxes[0, 0] = 1
    with pytest.raises(AttributeError):
        found.labels = ()  # type: ignore[misc]


def test_nothing_found_is_an_object_too() -> None:
    empty = Detections.empty()
    assert len(empty) == 0 and empty.boxes.shape == (0, 4) and empty.quads is None
    assert empty == Detections([], [], ()) == empty.with_label("qr-code") == empty.filter([])  # type: ignore[arg-type]


@given(st.lists(st.booleans(), min_size=3, max_size=3))
def test_filter_keeps_rows_together(mask: list[bool]) -> None:
    kept = three().filter(mask)
    rows = [index for index in range(3) if mask[index]]
    assert kept.boxes.tolist() == three().boxes[rows].tolist()
    assert kept.labels == tuple(three().labels[row] for row in rows)
    assert kept.payloads == tuple(three().payloads[row] for row in rows)  # type: ignore[index]
    assert kept.quads is not None and kept.quads.tolist() == three().quads[rows].tolist()  # type: ignore[index]
    assert kept.visible is not None and kept.visible.tolist() == three().visible[rows].tolist()  # type: ignore[index]


def test_with_label() -> None:
    assert three().with_label("qr-code") == three().filter([True, False, True])
    assert len(three().with_label("stray-text")) == 0


def test_equality_looks_at_every_column() -> None:
    assert three() == three()
    assert three() != three().filter([True, True, False])
    for column in ("quads", "payloads", "visible"):
        columns = {
            name: getattr(three(), name) for name in ("boxes", "scores", "labels", "quads", "payloads", "visible")
        }
        assert Detections(**columns | {column: None}) != three()
    assert three() != "three"


@pytest.mark.parametrize(
    "change",
    [
        {"scores": [0.5, 0.5]},
        {"scores": [0.5, 0.5, 1.5]},
        {"scores": [0.5, 0.5, -0.1]},
        {"scores": [0.5, 0.5, float("nan")]},
        {"scores": [[0.5, 0.5, 0.5]]},
        {"labels": ("a", "b")},
        {"labels": "abc"},
        {"labels": (1, 2, 3)},
        {"boxes": [[0, 0, 1, 1]]},
        {"boxes": [[1, 0, 0, 1]] * 3},
        {"boxes": [[0, 0, 1, float("nan")]] * 3},
        {"quads": np.zeros((2, 4, 2))},
        {"quads": np.zeros((3, 3, 2))},
        {"payloads": ("a",)},
        {"payloads": (b"a", b"b", b"c")},
        {"visible": [0, 0, 2]},
    ],
)
def test_wrong_columns_are_refused(change: dict[str, Any]) -> None:
    columns = {name: getattr(three(), name) for name in ("boxes", "scores", "labels", "quads", "payloads", "visible")}
    with pytest.raises(ConceptlibError):
        Detections(**columns | change)


@pytest.mark.parametrize("mask", [[True], [1, 0, 1], [[True, True, True]], [True] * 4, []])
def test_wrong_masks_are_refused(mask: Any) -> None:
    with pytest.raises(ConceptlibError, match="mask"):
        three().filter(mask)


def test_what_is_somewhere_in_the_image() -> None:
    found = Detections.of_image(["watermark", "text"], [0.2, 0.9])
    assert found.labels == ("watermark", "text") and found.boxes.tolist() == [[0, 0, 0, 0]] * 2
    mixed = Detections([[0, 0, 0, 0], [5, 5, 5, 5], [0, 0, 4, 4]], [0.5, 0.5, 0.5], ("a", "b", "c"))
    assert mixed.located.tolist() == [False, True, True] and mixed.located.dtype == bool
    assert Detections.empty().located.shape == (0,)


def test_sorted_by_score() -> None:
    found = Detections(np.zeros((4, 4)), [0.2, 0.9, 0.2, 0.5], ("a", "b", "c", "d"), payloads=("1", "2", "3", "4"))
    assert found.sorted().labels == ("b", "d", "a", "c") and found.sorted().payloads == ("2", "4", "1", "3")
