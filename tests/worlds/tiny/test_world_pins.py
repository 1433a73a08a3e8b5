"""The world's pictures stay as they are: the embedded model was trained on them."""

from __future__ import annotations

import numpy as np
import pytest

from conceptlib.concepts.build import build
from conceptlib.concepts.tables import ImageTable
from conceptlib.store.hashing import sha256_bytes
from conceptlib.worlds.tiny.data import draw_batch

# sha256 of the pixels, before there were other kinds than these.
PINS = {
    "watermark": "34d6e4d85c196793",
    "text": "386918e0868e5180",
    "qr-code": "e67e35b2aa2393bf",
}


@pytest.mark.parametrize("concept", PINS)
def test_polluted_pictures_of_the_world_are_the_same_bytes(concept: str) -> None:
    images, _, _ = draw_batch(range(16), 0, {concept: 1.0})
    assert sha256_bytes(images.tobytes())[:16] == PINS[concept]


def test_several_concepts_in_one_picture_are_the_same_bytes() -> None:
    images, _, _ = draw_batch(range(16), 0, dict.fromkeys(PINS, 0.7))
    assert sha256_bytes(images.tobytes())[:16] == "1623cf732d1928bf"


def test_icd_qr_has_the_same_pictures_and_the_same_geometry() -> None:
    dataset = build("icd-qr", overrides=["rows=16", "formats=[png]"], workers=1)
    table = ImageTable(dataset)
    pixels = b"".join(np.asarray(table.decode(row)).tobytes() for row in table.rows())
    assert sha256_bytes(pixels)[:16] == "761e5354ef310213"
    assert dataset.info["geometry"][:16] == "4502d67b48847218"
