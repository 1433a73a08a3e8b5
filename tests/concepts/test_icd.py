"""The builder `icd`: several concepts and overlays a picture, as often and as large as the spec says; exact truth."""

from __future__ import annotations

import io
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from conceptlib.concepts.build import build, truth_of
from conceptlib.concepts.builders import _icd_ranges, icd
from conceptlib.concepts.drawing.blend import BLENDS
from conceptlib.concepts.drawing.words import SCRIPTS
from conceptlib.concepts.overlays import text, watermark
from conceptlib.concepts.sources import Item
from conceptlib.concepts.tables import AnnotationTable
from conceptlib.errors import ConceptlibError
from conceptlib.specs import DatasetSpec, SpecError, load_spec
from conceptlib.store import Store

THREE = ("watermark", "text", "qr-code")


def artist(*overrides: str, name: str = "icd") -> icd.Artist:
    spec = load_spec("dataset", name, overrides=list(overrides))
    assert isinstance(spec, DatasetSpec)
    job = icd.prepare(spec)
    assert isinstance(job.draw, icd.Artist)
    return job.draw


def items(count: int, size: tuple[int, int] = (48, 48)) -> list[Item]:
    """Rows with one small grey picture."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (120, 120, 120)).save(buffer, "PNG")
    return [Item(f"row-{k}", "train", buffer.getvalue(), "grey") for k in range(count)]


def is_uniform(values: list[float], low: float, high: float) -> bool:
    """Kolmogorov and Smirnov's test against the uniform distribution: D sqrt(n) < 1.95 has p = 0.001."""
    u = np.sort((np.array(values) - low) / (high - low))
    n = len(u)
    distance = max((np.arange(1, n + 1) / n - u).max(), (u - np.arange(n) / n).max())
    return bool(u[0] >= 0 and u[-1] <= 1 and distance * np.sqrt(n) < 1.95)


def test_the_test_of_uniformity_can_fail() -> None:
    rng = np.random.default_rng(0)
    assert is_uniform(list(rng.uniform(2, 3, 1000)), 2, 3)
    assert not is_uniform(list(rng.uniform(2, 2.9, 1000)), 2, 3) and not is_uniform(list(rng.beta(2, 2, 1000)), 0, 1)


def test_rates_and_counts_are_those_of_the_spec() -> None:
    """Thousands of rows: share of polluted pictures by concept within 4 standard deviations; counts likewise."""
    draw = artist(
        "rate={watermark: 0.2, text: 0.5, qr-code: 0.7}", "count={watermark: [1, 1], text: [1, 4], qr-code: [2, 3]}"
    )
    n = 2500
    per_row = [{layer.concept: len(list(draw._streams(f"row-{k}", layer))) for layer in draw.layers} for k in range(n)]
    for concept, rate, least, most in (("watermark", 0.2, 1, 1), ("text", 0.5, 1, 4), ("qr-code", 0.7, 2, 3)):
        counts = Counter(row[concept] for row in per_row)
        polluted = n - counts.pop(0)
        assert abs(polluted - n * rate) < 4 * np.sqrt(n * rate * (1 - rate))
        assert set(counts) == set(range(least, most + 1))
        share = 1 / (most - least + 1)
        for count in counts.values():
            assert abs(count - polluted * share) <= 4 * np.sqrt(polluted * share * (1 - share))
    # Concepts are drawn independently of each other.
    both = sum(bool(row["watermark"] and row["text"]) for row in per_row)
    assert abs(both - n * 0.1) < 4 * np.sqrt(n * 0.1 * 0.9)


def test_what_is_drawn_has_the_sizes_of_the_spec() -> None:
    """Many small pictures; sizes measured on the truth's quads, not read from the parameters."""
    ranges = ("resolution=48", "text.size=[0.2, 0.3]", "text.words=[HOT, NEW]", "qr.size=[0.5, 0.7]")
    draw = artist("rate={watermark: 0.0, text: 0.6, qr-code: 0.6}", *ranges)
    measured: dict[str, list[float]] = {concept: [] for concept in THREE}
    rows = 1000
    polluted = Counter()
    for item in items(rows):
        outcome = draw(item)
        assert outcome.truth is not None
        polluted.update(set(outcome.truth.labels))
        for mark in outcome.marks:
            side = np.linalg.norm(mark.quad[3] - mark.quad[0])  # a QR code's side, a word's height
            measured[mark.concept].append(float(side) / 48)
    for concept in ("text", "qr-code"):
        assert abs(polluted[concept] - 0.6 * rows) < 4 * np.sqrt(rows * 0.24)
    assert not measured["watermark"]
    assert is_uniform(measured["text"], 0.2, 0.3)
    assert is_uniform(measured["qr-code"], 0.5, 0.7)


@pytest.mark.parametrize(("concept", "module"), [("watermark", watermark), ("text", text)])
def test_every_kind_comes_as_often_as_the_others_and_keeps_its_ranges(concept: str, module: object) -> None:
    draw = artist("rate=1", name=f"icd-{concept}")
    (layer,) = draw.layers
    image = Image.fromarray(np.linspace(0, 255, 72 * 72 * 3, dtype=np.uint8).reshape(72, 72, 3))
    kinds: Counter[str] = Counter()
    sizes: dict[str, list[float]] = {}
    n = 360
    for k in range(n):
        (rng,) = draw._streams(f"row-{k}", layer)
        _, mark = getattr(module, f"draw_{concept}")(image, rng, layer.normal)
        kind = mark.drawn["kind"]
        kinds[kind] += 1
        sizes.setdefault(kind, []).append(mark.drawn["size"])
        for name in ("rotation", "opacity"):
            value = getattr(layer.normal, name)
            low, high = value[kind] if isinstance(value, dict) else value
            assert low <= mark.drawn[name] <= high
    share = 1 / len(module.KINDS)
    assert set(kinds) == set(module.KINDS)
    assert all(abs(count - n * share) < 4 * np.sqrt(n * share) for count in kinds.values())
    for kind, values in sizes.items():
        assert is_uniform(values, *module.SIZES[kind]), kind
    if concept == "watermark":
        assert all(0.08 <= low <= high <= 0.6 for low, high in watermark.OPACITIES.values())


def test_several_concepts_and_several_of_each(tmp_path: Path) -> None:
    store = Store()
    overrides = ["rows=24", "rate=1", "count={watermark: [1, 1], text: [2, 2], qr-code: [1, 1]}"]
    dataset = build("icd", overrides=overrides, store=store, workers=1)
    assert dataset.info["polluted"] == dict.fromkeys(sorted(THREE), 24) and dataset.info["polluted_share"] == 1
    for row in AnnotationTable(truth_of(dataset, store)).rows():
        assert row["labels"] == ["watermark", "text", "text", "qr-code"]
        assert len(row["areas"]) == len(row["parts"]) == 4 and all(area > 0 for area in row["areas"])
        assert row["visible"][-1] > 0.99  # the code is drawn last
    hidden = [row["visible"] for row in AnnotationTable(truth_of(dataset, store)).rows(columns=["visible"])]
    assert min(min(visible) for visible in hidden) < 0.9


def test_truth_says_what_is_still_to_be_seen() -> None:
    """A text under a large opaque code: the visible share is that of its pixels outside the code, counted here."""
    draw = artist(
        "resolution=160", "rate={watermark: 0.0, text: 1.0, qr-code: 1.0}", "text.kinds=[sign]", "qr.size=[0.6, 0.7]"
    )
    covered = 0
    for item in items(12, (160, 160)):
        sign, code = draw(item).marks
        under = np.zeros((160, 160), np.uint8)
        over = np.zeros((160, 160), np.uint8)
        for canvas, mark in ((under, sign), (over, code)):
            m = mark.mask
            canvas[m.top : m.top + m.alpha.shape[0], m.left : m.left + m.alpha.shape[1]] = m.alpha
        seen = 1 - ((under >= 128) & (over * code.opacity > 127.5)).sum() / (under >= 128).sum()
        assert abs(sign.visible - seen) < 0.02 and sign.area == (under >= 128).sum()
        covered += sign.visible < 0.95
    assert covered >= 3


def test_more_overlays_keep_the_first_ones() -> None:
    one, three = artist("rate=0.8", name="icd-text"), artist("rate=0.8", "count=[3, 3]", name="icd-text")
    for item in items(40):
        first, all_three = one(item).marks, three(item).marks
        assert len(all_three) == 3 * len(first)
        if first:
            assert np.array_equal(first[0].quad, all_three[0].quad) and first[0].payload == all_three[0].payload


def test_a_concept_more_changes_nothing_about_the_others() -> None:
    together, alone = artist("rate=0.6"), artist("rate=0.6", name="icd-text")
    for item in items(40):
        marks = [mark for mark in together(item).marks if mark.concept == "text"]
        assert [mark.payload for mark in marks] == [mark.payload for mark in alone(item).marks]


def test_parts_and_areas_are_in_the_table_and_open_everywhere(tmp_path: Path) -> None:
    import datasets

    Image.fromarray(np.random.default_rng(0).integers(60, 200, (200, 200, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    store = Store()
    dataset = build(
        "icd-text-photos",
        overrides=[f"source={tmp_path}", "missing_captions=keep", "rate=1", "text.kinds=[paragraph]", "count=[1,1]"],
        store=store,
        workers=1,
    )
    truth = truth_of(dataset, store)
    (row,) = AnnotationTable(truth).rows()
    ((*parts,),) = AnnotationTable.parts(row)
    words = [part.text for part in parts if part.kind == "word"]
    assert len(words) > 8 and words == row["payloads"][0].split()
    assert [part.text for part in parts if part.kind == "line"] == row["payloads"][0].split("\n")
    assert all(part.quad.shape == (4, 2) and (part.quad > -1).all() and (part.quad < 513).all() for part in parts)
    assert row["areas"][0] > 100
    (split,) = datasets.load_dataset(str(truth.path), cache_dir=str(tmp_path / "cache")).values()
    assert split[0]["parts"][0][0]["text"] == parts[0].text


def test_tables_without_the_new_columns_still_read(tmp_path: Path) -> None:
    dataset = build("icd-qr", overrides=["rows=6", "rate=1"], workers=1)
    truth = truth_of(dataset)
    for path in AnnotationTable(truth).shards():
        old = pq.read_table(path).drop_columns(["areas", "parts"])
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(old, tmp_path / "data" / path.name)
    table = AnnotationTable(tmp_path)
    assert table.by_image() == AnnotationTable(truth).by_image()
    assert all(AnnotationTable.parts(row) == [()] * len(row["labels"]) for row in table.rows())


def test_fonts_are_in_the_lock_by_hash_and_not_by_place(tmp_path: Path) -> None:
    import shutil

    from matplotlib import get_data_path

    folder = tmp_path / "my-fonts"
    folder.mkdir()
    shutil.copy(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSerif-Italic.ttf", folder)
    store = Store()
    overrides = ["rows=8", "rate=1", "resolution=128", f"fonts={folder}", "text.scripts=[greek, cyrillic]"]
    dataset = build("icd-text", overrides=overrides, store=store, workers=1)
    lock = dataset.lock["builder"]["fonts"]
    assert [font["name"] for font in lock["files"]] == ["DejaVu Serif Italic"] and len(lock["files"][0]["sha256"]) == 64
    assert dataset.lock["spec"]["params"]["fonts"] == "my-fonts" and str(tmp_path) not in str(dataset.lock)
    said = "".join(p for row in AnnotationTable(truth_of(dataset, store)).rows() for p in row["payloads"])
    assert any("\u0370" <= letter <= "\u04ff" for letter in said)
    assert "fonts" not in build("icd-qr", overrides=["rows=4"], store=store, workers=1).lock["builder"]


def test_a_worker_draws_what_the_parent_would() -> None:
    draw = artist("resolution=128", "rate=0.9")
    there = pickle.loads(pickle.dumps(draw))
    for item in items(6, (128, 128)):
        assert there(item).row == draw(item).row


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rate={watermark: 0.5}", "missing"),
        ("count={watermark: [1, 1], text: [1, 1], qr-code: [1, 1], qr: [1, 1]}", "'qr' is none of the spec's concepts"),
        ("fonts=/no/such/folder", "no such folder of fonts"),
        ("text.scripts=[han]", "no font has the characters"),
        ("text.words=[出口]", "no font has the characters"),
    ],
)
def test_what_cannot_be_drawn_is_said_before_anything_is(override: str, said: str) -> None:
    with pytest.raises(ConceptlibError, match=said):
        build("icd", overrides=[override, "rows=4"])


@pytest.mark.parametrize(
    "override",
    [
        *(
            "count=[0, 1]",
            "count=[2, 1]",
            "rate={watermark: 2}",
            "watermark.kinds=[sticker]",
            "watermark.opacity=[0, 2]",
        ),
        *("watermark.size={logo: [3, 4]}", "watermark.size={sticker: [0.1, 0.2]}", "text.inks=[[0, 0, 300]]"),
        *("text.words=[]", 'text.words=[" "]', "text.scripts=[klingon]", "text.blends=[dodge]", "text.random=2"),
    ],
)
def test_values_out_of_range_are_refused(override: str) -> None:
    with pytest.raises(SpecError):
        load_spec("dataset", "icd", overrides=[override])


def test_the_ranges_of_a_spec_are_the_overlays_own() -> None:
    from dataclasses import fields
    from typing import get_args

    for ranges, params, module, kinds in (
        (_icd_ranges.WatermarkRanges, watermark.WatermarkParams, watermark, _icd_ranges.WatermarkKind),
        (_icd_ranges.TextRanges, text.TextParams, text, _icd_ranges.TextKind),
    ):
        assert set(ranges.model_fields) == {field.name for field in fields(params)} - {"fonts"}
        assert set(get_args(kinds)) == {*module.KINDS, "plain"}
    assert get_args(_icd_ranges.Blend) == BLENDS and set(get_args(_icd_ranges.Script)) == set(SCRIPTS)


def test_ranges_given_for_some_kinds_leave_the_others() -> None:
    (layer,) = artist("text.size={sign: [0.2, 0.2]}", name="icd-text").layers
    assert layer.normal.size == {**text.SIZES, "sign": (0.2, 0.2)}
    assert layer.small.size == {**dict.fromkeys((*text.KINDS, "plain"), text.WORLD.size), "sign": (0.2, 0.2)}
    assert build("icd-text", overrides=["rows=6", "rate=1", "text.size={sign: [0.2, 0.2]}"], workers=1).info["polluted"]


def test_all_concepts_on_photographs_are_drawn_as_by_the_specs_of_one() -> None:
    together = load_spec("dataset", "icd-photos")
    layers = {concept: icd.make_layer(concept, together.params, ()) for concept in together.concepts}
    assert set(layers) == {"watermark", "text", "qr-code"}
    for concept, layer in layers.items():
        alone = load_spec("dataset", f"icd-{concept.removesuffix('-code')}-photos")
        assert icd.make_layer(concept, alone.params, ()).normal == layer.normal
        shared = ("resolution", "resize", "test_share", "formats", "quality", "missing_captions")
        assert all(getattr(alone.params, name) == getattr(together.params, name) for name in shared)


@pytest.mark.parametrize("name", ["icd-watermark-photos", "icd-text-photos"])
def test_the_specs_for_photographs_write_the_defaults_out(name: str) -> None:
    spec = load_spec("dataset", name)
    assert isinstance(spec.params, icd.Params)
    layer = icd.make_layer(spec.concepts[0], spec.params, ())
    module = {"watermark": watermark, "text": text}[layer.name]
    default = getattr(module, f"{layer.name.capitalize()}Params")()
    for field in ("kinds", "blends", "shadow", "overhang", "size", "rotation", "opacity", "scripts"):
        assert getattr(layer.normal, field) == getattr(default, field), field
