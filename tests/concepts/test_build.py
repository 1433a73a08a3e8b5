"""Building datasets: the same id however it is made, exact truth, nothing lost, interruptions, nasty folders."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from conceptlib.cli.build import cli
from conceptlib.concepts import build as building
from conceptlib.concepts import shards
from conceptlib.concepts.build import build, truth_of
from conceptlib.concepts.overlays import qr
from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.concepts.workers import CHUNK, outcomes
from conceptlib.errors import ConceptlibError
from conceptlib.specs import SpecError
from conceptlib.store import Artifact, Store
from conceptlib.worlds.tiny import world

SMALL = ["rows=60", "test_share=0.25", "shard_rows=20"]


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def photo(path: Path, seed: int = 0, size: tuple[int, int] = (300, 260)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    noise = rng.integers(60, 200, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Artifact]:
    """60 rows of the world, in three train shards and one test shard."""
    store = Store(tmp_path_factory.mktemp("store"))
    return store, build("icd-qr", overrides=SMALL, store=store, workers=1)


def test_the_same_id_with_one_worker_and_three(small: tuple[Store, Artifact], tmp_path: Path) -> None:
    _, one = small
    other = Store(tmp_path / "other")
    three = build("icd-qr", overrides=SMALL, store=other, workers=3)
    assert three.id == one.id
    assert truth_of(three, other).id == truth_of(one, small[0]).id
    assert [s.read_bytes() for s in ImageTable(three).shards()] == [s.read_bytes() for s in ImageTable(one).shards()]
    changed = build("icd-qr", overrides=[*SMALL, "seed=1"], store=other, workers=1)
    assert changed.id != one.id


def test_the_folder_has_the_documented_shape(small: tuple[Store, Artifact]) -> None:
    store, artifact = small
    assert [n for n in names(artifact.path) if n.endswith(".parquet")] == [
        *(f"data/test-{k:05}-of-00001.parquet" for k in range(1)),
        *(f"data/train-{k:05}-of-00003.parquet" for k in range(3)),
        *(f"inputs/test-{k:05}-of-00001.parquet" for k in range(1)),
        *(f"inputs/train-{k:05}-of-00003.parquet" for k in range(3)),
        *(f"truth/test-{k:05}-of-00001.parquet" for k in range(1)),
        *(f"truth/train-{k:05}-of-00003.parquet" for k in range(3)),
    ]
    info = artifact.info
    assert (info["rows"], info["read"], info["written"], info["rejected"]) == ({"train": 45, "test": 15}, 60, 60, 0)
    table, truth = ImageTable(artifact), AnnotationTable(truth_of(artifact, store))
    assert [s.name for s in table.shards()] == [s.name for s in truth.shards()]
    pairs = list(zip(table.rows(), truth.rows(), strict=True))
    for image, found in pairs:
        assert [image[k] for k in ("image_id", "image_sha256", "width", "height")] == [
            found[k] for k in ("image_id", "image_sha256", "width", "height")
        ]
        assert hashlib.sha256(image["image"]["bytes"]).hexdigest() == image["image_sha256"]
        assert table.decode(image).size == (image["width"], image["height"]) == (64, 64)
    polluted = sum(bool(found["labels"]) for _, found in pairs)
    assert info["polluted"] == {"qr-code": polluted} and info["polluted_share"] == round(polluted / 60, 4)
    assert 15 <= polluted <= 45
    assert store.list(kind="annotations", name="truth", parent=artifact.id) == [truth_of(artifact, store)]
    assert not store.verify()


def test_datasets_opens_the_artifact(small: tuple[Store, Artifact], tmp_path: Path) -> None:
    import datasets

    loaded = datasets.load_dataset(str(small[1].path), cache_dir=str(tmp_path))
    assert {name: split.num_rows for name, split in loaded.items()} == {"train": 45, "test": 15}
    first = loaded["test"][0]
    row = world.row(0, 0, "held-out")
    assert first["image"].size == (64, 64) and first["caption"] == row.caption
    assert {name: first[name] for name in row.labels} == row.labels


def test_the_clean_twin_has_the_same_pictures_without_codes(small: tuple[Store, Artifact]) -> None:
    store, artifact = small
    clean = build("icd-qr", overrides=[*SMALL, "rate=0"], store=store, workers=1)
    assert clean.info["polluted"] == {} and clean.id != artifact.id
    truth = AnnotationTable(truth_of(artifact, store)).by_image()
    table = ImageTable(artifact)
    kept = changed = 0
    for dirty, spotless in zip(table.rows(), ImageTable(clean).rows(), strict=True):
        assert {k: dirty[k] for k in ("image_id", "caption", "seed")} == {
            k: spotless[k] for k in ("image_id", "caption", "seed")
        }
        found = truth[dirty["image_id"]]
        if not len(found):
            assert dirty["image"] == spotless["image"]
            kept += 1
            continue
        changed += 1
        if dirty["image"]["path"].endswith(".png"):  # a JPEG block reaches a few pixels further
            difference = np.abs(np.asarray(table.decode(dirty)).astype(int) - np.asarray(table.decode(spotless))).max(
                -1
            )
            x0, y0, x1, y1 = found.boxes[0]
            margin = 6  # the quiet zone of one module, turned
            rows, columns = np.nonzero(difference)
            assert columns.min() >= x0 - margin and columns.max() < x1 + margin
            assert rows.min() >= y0 - margin and rows.max() < y1 + margin
    assert kept > 10 and changed > 10


def test_more_pollution_keeps_what_was_polluted(small: tuple[Store, Artifact]) -> None:
    store, artifact = small
    more = build("icd-qr", overrides=[*SMALL, "rate=0.9"], store=store, workers=1)
    before, after = (AnnotationTable(truth_of(a, store)).by_image() for a in (artifact, more))
    assert all(after[k] == found for k, found in before.items() if len(found))


def test_truth_is_where_the_code_really_is(tmp_path: Path) -> None:
    """Read back by zxing-cpp, which knows nothing of how it was drawn; and boxes recomputed from the quads."""
    import zxingcpp

    for k in range(12):
        photo(tmp_path / "in" / f"{k}.png", k)
    store = Store()
    artifact = build(
        "icd-qr",
        overrides=[
            f"source={tmp_path / 'in'}",
            "rate=1",
            "missing_captions=keep",
            "resolution=256",
            "qr.version=[1,3]",
        ],
        store=store,
        workers=1,
    )
    table, truth = ImageTable(artifact), AnnotationTable(truth_of(artifact, store)).by_image()
    read = 0
    for row in table.rows():
        found = truth[row["image_id"]]
        assert len(found) == 1 and found.quads is not None and found.payloads is not None and found.visible is not None
        quad = found.quads[0]
        assert np.allclose(found.boxes[0], [*quad.min(0), *quad.max(0)], atol=1e-3) and found.visible[
            0
        ] == pytest.approx(1)
        sides = [math.dist(quad[i], quad[(i + 1) % 4]) for i in range(4)]
        assert max(sides) - min(sides) < 1e-2
        image = np.asarray(table.decode(row).resize((768, 768), Image.Resampling.BICUBIC))
        for code in zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormat.QRCode):
            read += code.text == found.payloads[0]
            p = code.position
            corners = np.array([[q.x, q.y] for q in (p.top_left, p.top_right, p.bottom_right, p.bottom_left)]) / 3
            assert np.abs(corners - quad).max() < 2.5
    assert read >= 10


def test_overhang_clips_the_box_and_tells_the_visible_share(tmp_path: Path) -> None:
    for k in range(14):
        photo(tmp_path / "in" / f"{k}.png", k)
    overrides = [f"source={tmp_path / 'in'}", "rate=1", "missing_captions=keep", "resolution=200", "qr.version=[1,2]"]
    ranges = ["qr.overhang=0.5", "qr.rotation=[0,0]", "qr.quiet_zone=[0,0]"]
    artifact = build("icd-qr", overrides=[*overrides, *ranges], workers=1)
    partly = 0
    for found in AnnotationTable(truth_of(artifact)).by_image().values():
        assert found.quads is not None and found.visible is not None
        low, high = found.quads[0].min(0), found.quads[0].max(0)
        clipped = np.clip([*low, *high], 0, 200)
        assert np.allclose(found.boxes[0], clipped, atol=1e-3)
        area = (clipped[2] - clipped[0]) * (clipped[3] - clipped[1]) / np.prod(high - low)
        assert found.visible[0] == pytest.approx(area, abs=1e-3)
        partly += area < 0.99
    assert partly > 2


def test_a_code_that_does_not_fit_is_left_out_and_counted(tmp_path: Path) -> None:
    for k in range(6):
        photo(tmp_path / "in" / f"{k}.png", k, (40, 40))
    overrides = [f"source={tmp_path / 'in'}", "rate=1", "missing_captions=keep", "resolution=40", "qr.version=[10,10]"]
    artifact = build("icd-qr", overrides=overrides, workers=1)
    assert (artifact.info["written"], artifact.info["overlay_rejects"], artifact.info["polluted"]) == (6, 6, {})
    lines = [json.loads(line) for line in (artifact.path / "rejects.jsonl").read_text().splitlines()]
    assert {line["reason"] for line in lines} == {"overlay-does-not-fit"}


def test_nothing_is_lost_from_a_nasty_folder_and_nothing_in_it_changes(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    good = photo(folder / "good.png")
    photo(folder / "sub" / "good.png", 1)
    photo(folder / "größe 写真.png", 2)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("not a picture")
    (folder / "short.png").write_bytes(good.read_bytes()[:2000])
    photo(folder / "tiny.png", 3, (9, 9))
    photo(folder / "silent.png", 4)
    Image.open(good).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.full((50, 50), 40000, np.uint16)).save(folder / "deep.png")
    (folder / "video.mp4").write_bytes(b"x")
    captioned = ["good.png", "sub/good.png", "größe 写真.png", "empty.jpg", "text.png", "short.png", "tiny.png"]
    rows = [{"file_name": n, "text": f"a picture of {n}"} for n in [*captioned, "cmyk.jpg", "deep.png", "gone.png"]]
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")

    def state() -> dict[str, tuple[str, int]]:
        paths = [p for p in folder.rglob("*") if p.is_file()]
        return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in paths}

    before = state()
    artifact = build("icd-qr", overrides=[f"source={folder}", "resolution=64"], workers=2)
    assert state() == before
    info = artifact.info
    assert info["rejects"] == {"missing-file": 1, "no-caption": 1, "tiny": 1, "truncated": 1, "unreadable": 2}
    assert (info["read"], info["written"], info["rejected"]) == (11, 5, 6)
    assert info["source"]["other_files"] == 1
    lines = {
        r["image_id"]: r["reason"] for r in map(json.loads, (artifact.path / "rejects.jsonl").open(encoding="utf-8"))
    }
    assert lines == {
        "empty.jpg": "unreadable",
        "text.png": "unreadable",
        "short.png": "truncated",
        "tiny.png": "tiny",
        "silent.png": "no-caption",
        "gone.png": "missing-file",
    }
    ids = {row["image_id"]: row["caption"] for row in ImageTable(artifact).rows(columns=["image_id", "caption"])}
    assert set(ids) == {"good.png", "sub/good.png", "größe 写真.png", "cmyk.jpg", "deep.png"}
    assert ids["größe 写真.png"] == "a picture of größe 写真.png"
    assert str(tmp_path) not in json.dumps(artifact.lock)


def test_counts_are_of_the_builds_own_source(tmp_path: Path) -> None:
    """Three sources of the same rows; what was left out of each differs, and each says so."""
    for name, more in (("a", {}), ("b", {"bad.png": b"no picture"}), ("c", {"bad.png": b"", "worse.png": b"x"})):
        for k in range(3):
            photo(tmp_path / name / f"{k}.png", k)
        for file, data in more.items():
            (tmp_path / name / file).write_bytes(data)
    options = ["resolution=64", "missing_captions=keep"]
    built = [build("icd-qr", overrides=[f"source={tmp_path / name}", *options], workers=1) for name in "abcb"]
    assert [one.info["read"] for one in built] == [3, 4, 5, 4] and {one.info["written"] for one in built} == {3}
    assert len({one.id for one in built}) == 3 and built[1].id == built[3].id
    assert len({one.info["geometry"] for one in built}) == 1
    for one in built:
        lines = (one.path / "rejects.jsonl").read_text("utf-8").splitlines()
        assert len(lines) == one.info["rejected"] == one.info["read"] - one.info["written"]


def test_a_folder_where_nothing_can_be_used_is_an_error(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    with pytest.raises(
        ConceptlibError, match=r"1 no-caption.*a.png.*metadata\.jsonl or NAME\.txt files, or say missing_captions=keep"
    ):
        build("icd-qr", overrides=[f"source={tmp_path / 'in'}"], workers=1)
    assert not Store().list(kind="dataset")
    assert (
        build("icd-qr", overrides=[f"source={tmp_path / 'in'}", "missing_captions=keep"], workers=1).info["written"]
        == 1
    )


def test_a_stopped_build_goes_on_and_ends_with_the_same_id(
    small: tuple[Store, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    render = world.render

    def stop_at_30(scene: world.Scene, size: int = 64) -> Image.Image:
        drawn.append(str(scene))
        if len(drawn) == 30:
            raise KeyboardInterrupt
        return render(scene, size)

    store = Store()
    with monkeypatch.context() as patch:
        patch.setattr(world, "render", stop_at_30)
        with pytest.raises(KeyboardInterrupt):
            build("icd-qr", overrides=SMALL, store=store, workers=1)
    assert not store.list(kind="dataset")
    seen: list[tuple[str, int, int]] = []
    artifact = build("icd-qr", overrides=SMALL, store=store, workers=1, progress=lambda *args: seen.append(args))
    assert artifact.id == small[1].id
    assert seen[0] == ("build", 21, 60) and seen[-1] == ("build", 60, 60)  # the first shard of 20 was there already
    assert [n for n in names(artifact.path) if "parts" in n or n.endswith(".tmp")] == []


@pytest.mark.parametrize("moves", [1, 3, 7])
def test_a_build_stopped_while_its_files_move_goes_on(
    small: tuple[Store, Artifact], monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    real, count = shards.os.replace, 0

    def stop(source: Path, target: Path) -> None:
        nonlocal count
        if Path(source).parent.name == "parts":
            count += 1
            if count > moves:
                raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shards.os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            build("icd-qr", overrides=SMALL, workers=1)
    assert build("icd-qr", overrides=SMALL, workers=1).id == small[1].id


def test_a_build_stopped_before_its_truth_makes_it_next_time(
    small: tuple[Store, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "truth_of", stop)
        with pytest.raises(KeyboardInterrupt):
            build("icd-qr", overrides=SMALL, workers=1)
    store = Store()
    (dataset,) = store.list(kind="dataset")
    assert not store.list(kind="annotations")
    build("icd-qr", overrides=SMALL, workers=1)
    (truth,) = store.list(kind="annotations", name="truth", parent=dataset.id)
    assert truth.id == truth_of(small[1], small[0]).id


def test_what_was_built_is_found_and_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = build("icd-qr", overrides=["rows=4"], workers=1)
    monkeypatch.setattr(world, "render", lambda *_: pytest.fail("drawn again"))
    assert build("icd-qr", overrides=["rows=4"], workers=3) == first


def test_shards_are_cut_by_bytes_too_and_resume_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 20_000)
    artifact = build("icd-qr", overrides=["rows=40", "test_share=0"], workers=1)
    table = ImageTable(artifact)
    assert len(table.shards()) >= 3 and len(table) == 40
    assert [row["image_id"] for row in table.rows(columns=["image_id"])] == [f"train-{k:08d}" for k in range(40)]


def test_rows_on_their_way_are_bounded_and_stay_in_order() -> None:
    """The source is read no further ahead of the writer than a few chunks, however long it is."""
    ahead = furthest = 0

    def endless() -> Iterator[str]:
        nonlocal ahead
        for k in range(1000):
            ahead += 1
            yield f"item {k}"

    for k, outcome in enumerate(outcomes(endless(), str.upper, 2)):  # type: ignore[arg-type]
        ahead -= 1
        furthest = max(furthest, ahead)
        assert outcome == f"ITEM {k}"
    assert ahead == 0 and furthest <= CHUNK * 6


def test_no_process_is_started_for_rows_that_are_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("ready", k) for k in range(5 * CHUNK)]
    with monkeypatch.context() as patch:
        patch.setattr("conceptlib.processes._start", None)  # a process that started would break
        assert list(outcomes(iter(rows), str.upper, 2, ready=tuple)) == rows  # type: ignore[arg-type]
    mixed = [row if k % 3 else "draw me" for k, row in enumerate(rows)]
    expected = [row if k % 3 else "DRAW ME" for k, row in enumerate(rows)]
    assert list(outcomes(iter(mixed), str.upper, 2, ready=tuple)) == expected  # type: ignore[arg-type]


def test_every_field_of_the_ranges_is_the_overlays_own() -> None:
    from dataclasses import fields

    from conceptlib.concepts.builders.icd import QrRanges

    assert set(QrRanges.model_fields) == {field.name for field in fields(qr.QrParams)}


@pytest.mark.parametrize(
    "override",
    ["rate=1.5", "qr.version=[0,4]", "qr.version=[4,2]", "qr.colour=red", "formats=[]", "qr.opacity=[0.5,2]"],
)
def test_values_out_of_range_are_refused_before_anything_is_built(override: str) -> None:
    with pytest.raises(SpecError):
        build("icd-qr", overrides=[override])


def test_a_dataset_from_elsewhere_has_no_truth(tmp_path: Path) -> None:
    store = Store()
    with store.draft("dataset", "other", lock={}, parents={}) as draft:
        (draft.path / "x").write_text("x")
        artifact = draft.commit()
    with pytest.raises(ConceptlibError, match="no exact geometry"):
        truth_of(artifact, store)


def test_the_command_prints_what_was_made(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["icd-qr", "rows=8", "--workers", "1", "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["rows"] == {"train": 6, "test": 2} and Path(summary["path"]).is_dir()
    assert summary["id"] == Store().get("icd-qr", kind="dataset").id
    quiet = CliRunner().invoke(cli, ["icd-qr", "rows=8", "--quiet"])
    assert quiet.stdout.strip() == summary["id"]
    people = CliRunner().invoke(cli, ["icd-qr", "rows=8"])
    assert "train 6, test 2" in people.stdout
