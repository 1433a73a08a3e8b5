"""Reusing rows: only what is new is drawn, and the result is that of a fresh build."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from conceptlib.concepts.build import build, truth_of
from conceptlib.concepts.builders import icd
from conceptlib.concepts.overlays import qr
from conceptlib.concepts.tables import ImageTable
from conceptlib.store import Artifact, Store
from conceptlib.worlds.tiny import world


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was rendered, in order."""
    seen: list[str] = []
    render = world.render

    def count(scene: world.Scene, size: int = 64) -> Image.Image:
        seen.append(str(scene))
        return render(scene, size)

    monkeypatch.setattr(world, "render", count)
    yield seen


def make(store: Store, *overrides: str, workers: int = 1) -> Artifact:
    return build("icd-qr", overrides=["test_share=0.25", "shard_rows=16", *overrides], store=store, workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_more_rows_reuse_those_that_are_there(tmp_path: Path, drawn: list[str], workers: int) -> None:
    fresh = make(Store(tmp_path / "fresh"), "rows=72")
    drawn.clear()
    store = Store(tmp_path / "a")
    make(store, "rows=40")
    assert len(drawn) == 40
    drawn.clear()
    more = make(store, "rows=72", workers=workers)
    assert more.info["reused"] == 40 and (workers > 1 or len(drawn) == 32)
    assert more.id == fresh.id and truth_of(more, store).id == truth_of(fresh, Store(tmp_path / "fresh")).id
    both = zip(ImageTable(more).shards(), ImageTable(fresh).shards(), strict=True)
    assert all(one.read_bytes() == other.read_bytes() for one, other in both)
    assert not store.verify()


def test_fewer_rows_draw_nothing(tmp_path: Path, drawn: list[str]) -> None:
    store = Store(tmp_path / "a")
    make(store, "rows=40")
    drawn.clear()
    few = make(store, "rows=20")
    assert not drawn and few.info["reused"] == 20
    assert few.id == make(Store(tmp_path / "fresh"), "rows=20").id


@pytest.mark.parametrize("change", ["seed=1", "rate=0.9", "qr.rotation=[0,1]", "formats=[png]", "resolution=32"])
def test_another_recipe_reuses_nothing(tmp_path: Path, drawn: list[str], change: str) -> None:
    store = Store(tmp_path / "a")
    make(store, "rows=8")
    drawn.clear()
    assert make(store, "rows=8", change).info["reused"] == 0 and len(drawn) == 8


def test_another_version_reuses_nothing(tmp_path: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "a")
    make(store, "rows=8")
    monkeypatch.setattr("conceptlib.concepts.reuse.__version__", "99")
    assert make(store, "rows=12").info["reused"] == 0


@pytest.mark.parametrize("module", [icd, qr], ids=["builder", "overlay"])
def test_another_version_of_the_code_reuses_nothing(
    tmp_path: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    store = Store(tmp_path / "a")
    make(store, "rows=8")
    with monkeypatch.context() as patch:
        patch.setattr(module, "VERSION", 2, raising=False)
        drawn.clear()
        second = make(store, "rows=12")
        assert second.info["reused"] == 0 and len(drawn) == 12
        overlay = second.lock["builder"]["overlays"]["qr-code"]
        assert (second.lock.get("code_version"), overlay.get("code_version")) == ((2, None), (None, 2))[module is qr]
        assert make(store, "rows=14").info["reused"] == 12
    assert make(store, "rows=10").info["reused"] == 8  # of the first, by the first


def test_the_version_of_an_overlay_is_that_of_its_concept_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "a")
    first = build("icd-watermark", overrides=["rows=2"], store=store, workers=1)
    monkeypatch.setattr(qr, "VERSION", 2, raising=False)
    assert build("icd-watermark", overrides=["rows=2"], store=store, workers=1).created == first.created


def photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(60, 200, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((80, 70), Image.Resampling.BICUBIC).save(path)
    path.with_suffix(".txt").write_text(f"picture {seed}")


def test_a_folder_that_has_grown_and_changed(tmp_path: Path) -> None:
    folder, store = tmp_path / "in", Store(tmp_path / "a")
    options = [f"source={folder}", "resolution=64"]
    for k in range(10):
        photo(folder / f"{k:02}.png", k)
    build("icd-qr", overrides=options, store=store, workers=1)
    photo(folder / "00-first.png", 100)  # in front of the others
    photo(folder / "05.png", 200)  # another picture under an old name
    (folder / "06.txt").write_text("another caption")
    (folder / "07.png").unlink()
    grown = build("icd-qr", overrides=options, store=store, workers=1)
    assert (grown.info["written"], grown.info["reused"]) == (10, 7)
    assert grown.id == build("icd-qr", overrides=options, store=Store(tmp_path / "fresh"), workers=1).id


def test_a_damaged_dataset_is_not_reused(tmp_path: Path, drawn: list[str]) -> None:
    store = Store(tmp_path / "a")
    small = make(store, "rows=8", "formats=[png]")
    shard = ImageTable(small).shards("train")[0]
    raw = bytearray(shard.read_bytes())
    at = raw.index(b"\x89PNG") + 500
    raw[at] ^= 255  # a bit of a picture has turned; Parquet does not notice
    shard.write_bytes(raw)
    more = make(store, "rows=12", "formats=[png]")
    assert more.info["reused"] == 7
    assert more.id == make(Store(tmp_path / "fresh"), "rows=12", "formats=[png]").id
    (small.path / "inputs" / shard.name).unlink()
    shard.write_bytes(b"")
    assert make(store, "rows=10", "formats=[png]").info["reused"] == 10  # of the whole one beside it
