"""What `icd` makes does not change from release to release."""

from __future__ import annotations

import hashlib

from conceptlib.concepts.build import build, truth_of
from conceptlib.concepts.tables import AnnotationTable, ImageTable

SMALL = ["rows=60", "test_share=0.25", "shard_rows=20"]


def test_what_icd_qr_draws_is_pinned() -> None:
    """Ids are quoted in papers: whoever changes this number changes what `conceptlib build icd-qr` means. Of the rows
    stored as PNG the pixels count, so that no codec's version does.
    """
    artifact = build("icd-qr", overrides=SMALL, workers=1)
    table, truth = ImageTable(artifact), AnnotationTable(truth_of(artifact)).by_image()
    hasher = hashlib.sha256()
    for row in table.rows():
        found = truth[row["image_id"]]
        pixels = table.decode(row).tobytes() if row["image"]["path"].endswith(".png") else b""
        hasher.update(f"{row['image_id']} {row['caption']} {found.labels} {found.payloads}".encode() + pixels)
    assert hasher.hexdigest() == "43dae97b85834d72e717946920dac276a88bad90e00c98afa7d8f66d4b6cff84"
