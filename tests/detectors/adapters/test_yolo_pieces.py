"""Pieces of pictures: boxes stay on what they are around, and nobody is asked to find a sliver."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.detectors.adapters import _yolo_train, yolo
from conceptlib.detectors.adapters._yolo_pieces import LEAST, piece, tint
from tests.detectors.adapters.test_yolo import training_set


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 150),
    st.integers(0, 150),
    st.integers(12, 40),
    st.sampled_from([(0.25, 0.5), (0.5, 1.0), (1.0, 1.0), (1.0, 2.0)]),
)
def test_boxes_move_with_the_picture(seed: int, x: int, y: int, size: int, zoom: tuple[float, float]) -> None:
    """A white square on black: its box in the piece is the white of the piece."""
    image = np.zeros((192, 192, 3), np.uint8)
    image[y : y + size, x : x + size] = 255
    box = np.array([[x, y, min(x + size, 192), min(y + size, 192)]], np.float32)
    cut, boxes, classes = piece(image, box, np.array([3]), 96, zoom, np.random.default_rng(seed))
    assert cut.shape == (96, 96, 3) and cut.dtype == np.uint8
    rows, columns = np.nonzero(cut[..., 0] > 127)
    if len(boxes):
        assert classes.tolist() == [3] and (boxes >= 0).all() and (boxes <= 96).all()
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(boxes[0] - seen).max() < 2.1
    else:
        whole = ((box[0, 2:] - box[0, :2]).prod() * zoom[1] ** 2) + 1
        assert len(rows) <= 1.3 * LEAST * whole + 40


def test_a_piece_of_the_least_zoom_is_the_whole_picture() -> None:
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    box, kinds = np.array([[8, 16, 40, 64]], np.float32), np.zeros(1, np.int64)
    cut, boxes, _ = piece(image, box, kinds, 64, (0.1, 0.1), np.random.default_rng(0))
    assert np.allclose(boxes, box / 2) and cut.mean() == pytest.approx(image.mean(), abs=1)
    same, boxes, _ = piece(image, box, kinds, 128, (1.0, 1.0), np.random.default_rng(0))
    assert np.array_equal(same, image) and np.array_equal(boxes, box)


def test_half_of_the_pieces_are_cut_around_a_box() -> None:
    image, box = np.zeros((512, 512, 3), np.uint8), np.array([[480, 480, 500, 500]], np.float32)
    rng = np.random.default_rng(0)
    seen = sum(len(piece(image, box, np.zeros(1, np.int64), 64, (1.0, 1.0), rng)[1]) for _ in range(200))
    assert 60 < seen < 130  # by chance alone a corner would be in one piece of a hundred
    assert len(piece(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 64, (1.0, 1.0), rng)[1]) == 0


def test_tint_changes_colours_only() -> None:
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    tinted = [tint(image, np.random.default_rng(seed)) for seed in range(60)]
    grey = [one for one in tinted if (one == one[..., :1]).all()]
    assert 1 <= len(grey) <= 15
    for one in tinted:
        assert one.shape == image.shape and one.dtype == np.uint8 and not np.array_equal(one, image)
    coloured = next(one for one in tinted if not (one == one[..., :1]).all())
    ratio = coloured[image > 150].astype(float) / image[image > 150]
    assert ratio.min() > 0.74 and ratio.max() < 1.26


def test_batches_of_pieces() -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    image[40:60, 30:70] = 255
    cached = _yolo_train.Cached(image[None], [np.array([[30, 40, 70, 60]], np.float32)], [np.ones(1, np.int64)])
    params = yolo.Params(batch_size=8, degrade=0.0, window=64, zoom=(0.5, 0.5))
    images, targets = _yolo_train._batch(cached, params, np.random.default_rng(0))
    assert images.shape == (8, 3, 64, 64) and targets["cls"].tolist() == [1] * 8
    for row in range(8):
        ys, xs = (images[row, 0] > 0.5).nonzero(as_tuple=True)
        cx, cy, w, h = (targets["bboxes"][row] * 64).tolist()
        seen = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        assert np.abs(seen - [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]).max() < 1.1


def test_it_is_run_at_the_full_side(tmp_path: Path) -> None:
    """`imgsz` is what the pictures are found at, whatever the pieces' side was."""
    folder = tmp_path / "weights"
    given_ = yolo.Params(steps=2, batch_size=2, imgsz=96, window=32, zoom=(0.4, 0.8), tint=True)
    spec = SimpleNamespace(name="small", seed=3, params=given_)
    assert yolo.train(spec, training_set(12), folder, device="cpu")["imgsz"] == 96
    assert yolo.load(spec, weights=folder, device="cpu").imgsz == 96
