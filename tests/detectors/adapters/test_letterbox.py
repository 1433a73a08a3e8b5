"""Boxes into the square and back, against an independent computation."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.detectors.adapters._letterbox import GREY, Letterbox, letterbox

sides = st.integers(1, 900)


@given(sides, sides, st.sampled_from([32, 64, 96, 640]))
def test_round_trip(width: int, height: int, side: int) -> None:
    frame = Letterbox(width, height, side)
    boxes = np.array([[0, 0, width, height], [width * 0.2, height * 0.3, width * 0.7, height * 0.9]], np.float32)
    placed = frame.place(boxes)
    assert placed.min() >= 0 and placed.max() <= side
    assert np.allclose(frame.restore(placed), boxes, atol=1e-3 * max(width, height, side) / min(frame.size))


def test_known_values() -> None:
    frame = Letterbox(200, 100, 64)  # scaled by 0.32 to 64 x 32, 16 rows of grey above and below
    assert frame.size == (64, 32) and frame.offset == (0, 16)
    assert frame.place([[50, 25, 100, 75]]).tolist() == [[16, 24, 32, 40]]
    assert frame.restore([[-5, 16, 80, 99]]).tolist() == [[0, 0, 200, 100]]  # clipped to the picture


def test_pixels_land_where_boxes_say() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[20:60, 100:180] = 255
    (square,), (frame,) = letterbox([image], 64)
    x1, y1, x2, y2 = np.rint(frame.place([[100, 20, 180, 60]])[0]).astype(int)
    bright = np.argwhere(square[..., 0] > 127)
    inside = (square[..., 0] != GREY).any(1)
    assert inside.nonzero()[0].tolist() == list(range(16, 48))
    grey = np.zeros_like(square[..., 0], bool)
    grey[:16], grey[48:] = True, True
    bright = bright[~grey[tuple(bright.T)]]
    assert np.abs(bright.min(0) - [y1, x1]).max() <= 1 and np.abs(bright.max(0) + 1 - [y2, x2]).max() <= 1


def test_a_picture_that_fits_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    squares, _ = letterbox([image], 64)
    assert np.array_equal(squares[0], image)
