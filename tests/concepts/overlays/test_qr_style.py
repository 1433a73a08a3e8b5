"""QR codes in colours, inverted, round, with a logo, blurred, at an angle: still read, and where the mark says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from conceptlib.concepts.builders.icd import prepare
from conceptlib.concepts.overlays.qr import LATER, WORLD, QrParams, draw_qr
from conceptlib.detectors.adapters.zxing import Params, ZxingDetector
from conceptlib.specs import load_spec

READER = ZxingDetector("zxing", Params(upscale=2, max_side=1024))
ALL = {"perspective": (0, 0.25), "blur": (0, 0.3), "coloured": 0.5, "rounded": 0.5, "logo": 0.5, "inverted": 0.3}
STYLES: dict[str, dict[str, Any]] = {
    "perspective": {"perspective": (0.1, 0.25)},
    "blur": {"blur": (0.1, 0.35)},
    "coloured": {"coloured": 1.0},
    "rounded": {"rounded": 1.0},
    "logo": {"logo": 1.0},
    "inverted": {"inverted": 1.0},
    "all": ALL,
}


def ground(seed: int) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
    return Image.fromarray(levels).resize((320, 300), Image.Resampling.BICUBIC)


def drawn(seed: int, **params: Any) -> tuple[Image.Image, Any]:
    return draw_qr(ground(seed), np.random.default_rng(seed), QrParams(size=(0.4, 0.6), min_module=3, **params))


@pytest.mark.parametrize("style", STYLES)
def test_codes_of_every_style_are_read_where_they_are(style: str) -> None:
    read = 0
    for seed in range(8):
        image, mark = drawn(seed, **STYLES[style])
        (found,) = READER.detect([np.asarray(image)])
        if mark.payload in (found.payloads or ()):
            read += 1
            quad = found.quads[found.payloads.index(mark.payload)]
            assert np.abs(quad - mark.quad).max() < (4 if mark.drawn["rounded"] else 2.5)
    assert read >= 7


@pytest.mark.parametrize("style", STYLES)
def test_a_style_changes_the_looks_alone(style: str) -> None:
    plain, styled = (drawn(3, **given) for given in ({}, STYLES[style]))
    assert plain[1].payload == styled[1].payload and np.asarray(plain[0]).tobytes() != np.asarray(styled[0]).tobytes()
    assert plain[1].drawn.items() <= styled[1].drawn.items()
    same = style not in ("perspective", "all")
    assert np.allclose(plain[1].quad, styled[1].quad, atol=1e-3) == same
    assert styled[1].mask.area <= plain[1].mask.area + 400 and styled[1].visible == pytest.approx(1, abs=0.01)


def test_seen_at_an_angle_a_code_is_no_parallelogram_and_stays_inside() -> None:
    for seed in range(5):
        _, mark = drawn(seed, perspective=(0.25, 0.25))
        a, b, c, d = mark.quad
        assert np.abs((a + c) - (b + d)).max() > 1 and (mark.quad >= 0).all() and (mark.quad <= (320, 300)).all()


def test_a_logo_only_where_it_can_be_read() -> None:
    for level, logo in (("L", False), ("M", False), ("Q", True), ("H", True)):
        assert drawn(1, logo=1.0, error_levels=(level,))[1].drawn["logo"] is logo


def test_without_a_style_nothing_is_as_it_was_not() -> None:
    first, mark = drawn(2)
    assert "rounded" not in mark.drawn and np.asarray(first).tobytes() == np.asarray(drawn(2, blur=(0, 0))[0]).tobytes()
    assert all(getattr(WORLD, name) == getattr(QrParams(), name) for name in LATER)


def test_the_lock_has_what_is_used() -> None:
    plain = prepare(load_spec("dataset", "icd-qr", overrides=["rows=2"])).lock["overlays"]["qr-code"]
    assert not LATER & set(plain["normal"]) and not LATER & set(plain["small"])
    spec = load_spec("dataset", "icd-qr", overrides=["rows=2", "qr.logo=0.5", "qr.blur=[0, 0.2]"])
    assert spec.resolved()["params"]["qr"]["logo"] == 0.5 and "rounded" not in spec.resolved()["params"]["qr"]
    used = prepare(spec).lock["overlays"]["qr-code"]
    assert used["normal"] == plain["normal"] | {"logo": 0.5, "blur": (0, 0.2)}
