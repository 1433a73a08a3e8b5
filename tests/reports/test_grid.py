"""The before/after picture: pixels are where they should be, whatever the sizes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from conceptlib.reports.grid import FRAME, FRAMES, INK, Panel, grid


def box(*xyxy: float) -> Detections:
    return Detections(boxes=np.array([xyxy], np.float32), scores=np.ones(1, np.float32), labels=("qr-code",))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def where(image: Image.Image, rgb: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere((pixels(image) == rgb).all(-1))


def test_frames_lie_on_the_detection_of_their_own_panel() -> None:
    blue = Image.new("RGB", (64, 64), (0, 0, 255))
    plain = grid([Panel("before", "", [blue]), Panel("after", "", [blue])], ["a caption"], cell=128)
    framed = grid(
        [Panel("before", "", [blue], [box(8, 32, 40, 60)]), Panel("after", "", [blue], [Detections.empty()])],
        ["a caption"],
        cell=128,
    )
    assert plain.size == framed.size and len(where(plain, FRAME)) == 0
    rows, columns = where(plain, (0, 0, 255)).T
    top, left = rows.min(), columns.min()
    assert rows.max() - top > 2 * 128  # both bands
    assert columns.max() - left + 1 == 128
    red_rows, red_columns = where(framed, FRAME).T
    assert red_columns.min() - left == 16 - 3 and red_rows.max() - top == 119 + 3  # outside the box: nothing is hidden
    assert not (pixels(framed)[top + 66 : top + 118, left + 18 : left + 78] == FRAME).all(-1).any()
    assert red_rows.max() < top + 128, "the frame of `before` leaked into `after`"


def test_captions_wrap_and_blocks_are_stacked() -> None:
    images = [Image.new("RGB", (64, 64), (0, 255, 0))] * 5
    one = grid([Panel("before", "", images)], ["short"] * 5, columns=5, cell=100)
    two = grid([Panel("before", "", images)], ["short"] * 5, columns=3, cell=100)
    long = grid(
        [Panel("before", "", images)],
        ["a very long caption that says a great deal about the picture"] * 5,
        columns=5,
        cell=100,
    )
    assert two.width < one.width and two.height > one.height + 100
    assert long.width == one.width and long.height > one.height
    assert len(where(two, (0, 255, 0))) == 5 * 100 * 100


@pytest.mark.parametrize("size", [(512, 512), (300, 100), (20, 200), (1, 1)])
def test_any_picture_size_fits_its_cell(size: tuple[int, int]) -> None:
    picture = grid(
        [Panel("before", "note", [Image.new("RGB", size, (0, 255, 0))])], ["x"], cell=90, title="T", footer="F"
    )
    rows, columns = where(picture, (0, 255, 0)).T
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 90


def test_a_word_wider_than_the_cell_stays_inside() -> None:
    picture = grid([Panel("before", "", [Image.new("RGB", (8, 8))])], ["w" * 200], cell=90)
    assert where(picture, INK)[:, 1].max() < picture.width - 20


def test_the_same_input_gives_the_same_picture() -> None:
    panels = [Panel("before", "n", [Image.new("RGB", (9, 9))], [box(1, 1, 5, 5)])]
    assert grid(panels, ["c"]).tobytes() == grid(panels, ["c"]).tobytes()


@pytest.mark.parametrize(("images", "detections", "captions"), [(1, 0, 2), (2, 1, 2), (0, 0, 0)])
def test_lengths_must_agree(images: int, detections: int, captions: int) -> None:
    panel = Panel("before", "", [Image.new("RGB", (8, 8))] * images, [Detections.empty()] * detections)
    with pytest.raises(ConceptlibError):
        grid([panel], ["c"] * captions)
    with pytest.raises(ConceptlibError):
        grid([], ["c"])


def test_a_legend_tells_labels_apart_in_place_of_tags() -> None:
    green = Image.new("RGB", (64, 64), (0, 255, 0))
    two = Detections(
        boxes=np.array([[4, 8, 20, 24], [30, 30, 60, 60]], np.float32),
        scores=np.ones(2, np.float32),
        labels=("text", "qr-code"),
    )
    tagged = grid([Panel("", "", [green], [two])], ["c"], cell=128)
    told = grid([Panel("", "", [green], [two])], ["c"], cell=128, legend=["qr-code", "text"])
    assert len(where(told, FRAMES[0])) > 300 and len(where(told, FRAMES[1])) > 200
    assert len(where(tagged, FRAMES[1])) == 0
    assert len(where(told, (0, 255, 0))) > len(where(tagged, (0, 255, 0)))
    narrow = grid([Panel("", "", [green])], ["c"], cell=128, legend=[f"concept {k}" for k in range(9)])
    assert narrow.height > told.height + 100 and where(narrow, INK)[:, 1].max() < narrow.width - 20
