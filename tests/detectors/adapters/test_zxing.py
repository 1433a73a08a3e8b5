"""zxing on real codes made by segno: where they are, what they say, and what it does not see."""

from __future__ import annotations

import numpy as np
import pytest
import segno
import zxingcpp
from PIL import Image

from conceptlib.detectors.adapters.zxing import Params, ZxingDetector
from conceptlib.geometry import iou


def code(text: str, scale: int, border: int = 4) -> Image.Image:
    modules = np.array([list(line) for line in segno.make_qr(text, error="m").matrix], dtype=np.uint8)
    grey = np.where(np.pad(modules, border), 0, 255).astype(np.uint8)
    return Image.fromarray(grey).resize((grey.shape[1] * scale, grey.shape[0] * scale), Image.Resampling.NEAREST)


def scene(
    text: str, scale: int, at: tuple[int, int], size: tuple[int, int] = (240, 200)
) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a code, quiet zone at `at`, and the code's box."""
    image = Image.new("RGB", size, (40, 120, 200))
    tile = code(text, scale)
    image.paste(tile, at)
    box = np.array(
        [at[0] + 4 * scale, at[1] + 4 * scale, at[0] + tile.width - 4 * scale, at[1] + tile.height - 4 * scale]
    )
    return np.asarray(image), box.astype(np.float32)


def detector(**params: object) -> ZxingDetector:
    return ZxingDetector("zxing", Params.model_validate(params))


def test_reads_a_code_at_its_place() -> None:
    image, box = scene("hello world", 4, (60, 40))
    (found,) = detector().detect([image])
    assert found.labels == ("qr-code",) and found.scores.tolist() == [1.0] and found.payloads == ("hello world",)
    assert np.abs(found.boxes[0] - box).max() <= 1.5
    assert np.abs(found.quads[0] - box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)).max() <= 1.5


def test_the_quad_begins_at_the_codes_own_top_left() -> None:
    image, box = scene("which way is up", 4, (60, 30))
    (found,) = detector().detect([np.ascontiguousarray(np.rot90(image, -1))])  # a quarter turn clockwise
    # (x, y) goes to (height - y, x).
    corners = box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)
    turned = np.stack([image.shape[0] - corners[:, 1], corners[:, 0]], 1)
    assert np.abs(found.quads[0] - turned).max() <= 1.5


@pytest.mark.parametrize("angle", [17, 45, 118])
def test_rotated(angle: int) -> None:
    tile = (
        code("turned", 5).convert("RGB").rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255))
    )
    image = Image.new("RGB", (tile.width + 40, tile.height + 40), (255, 255, 255))
    image.paste(tile, (20, 20))
    (found,) = detector().detect([np.asarray(image)])
    assert found.payloads == ("turned",)
    # The code is turned about the picture's middle: its centre stays there.
    assert np.abs(found.quads[0].mean(0) - np.array(image.size) / 2).max() < 2
    side = 21 * 5
    assert np.linalg.norm(found.quads[0][1] - found.quads[0][0]) == pytest.approx(side, abs=4)


@pytest.mark.parametrize("angle", [8, 20, 30])
def test_upscaling_reads_what_is_too_small(angle: int) -> None:
    """1.2 pixels a module, turned: unreadable as it is."""
    tile = (
        code("tiny", 8).convert("RGB").rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255))
    )
    side = round(tile.width * 1.2 / 8)
    image = np.asarray(tile.resize((side, side), Image.Resampling.BOX))
    assert len(detector(upscale=1).detect([image])[0]) == 0
    (found,) = detector(upscale=4).detect([image])
    assert found.payloads == ("tiny",)
    assert np.linalg.norm(found.quads[0][1] - found.quads[0][0]) == pytest.approx(21 * 1.2, abs=1.5)
    assert np.abs(found.quads[0].mean(0) - side / 2).max() < 1


def test_two_codes_once_each_however_many_scales() -> None:
    image = np.full((160, 360, 3), 255, np.uint8)
    image[10:126, 10:126] = np.asarray(code("left", 4).convert("RGB"))
    image[20:136, 200:316] = np.asarray(code("right", 4).convert("RGB"))
    (found,) = detector(upscale=3).detect([image])
    assert sorted(found.payloads) == ["left", "right"] and len(found) == 2


def test_light_on_dark() -> None:
    image, _ = scene("inverted", 4, (50, 30))
    assert len(detector(inverted=True).detect([255 - image])[0]) == 1
    assert len(detector(inverted=False).detect([255 - image])[0]) == 0


def family(name: str) -> np.ndarray:
    """A code of one of the family's formats, far from the picture's edges."""
    tile = np.asarray(zxingcpp.create_barcode("12345", getattr(zxingcpp.BarcodeFormat, name)).to_image(scale=6))
    return np.repeat(np.pad(tile, 30, constant_values=255)[..., None], 3, 2)


@pytest.mark.parametrize("unreadable", [False, True])
@pytest.mark.parametrize("upscale", [1, 2])
@pytest.mark.parametrize(
    ("name", "micro", "count"),
    [
        ("QRCodeModel2", False, 1),
        ("QRCodeModel2", True, 1),
        ("MicroQRCode", False, 0),
        ("MicroQRCode", True, 1),
        ("RMQRCode", False, 0),
        ("RMQRCode", True, 1),
        ("DataMatrix", True, 0),
        ("Aztec", True, 0),
    ],
)
def test_formats_are_what_the_parameter_says(
    name: str, micro: bool, count: int, upscale: int, unreadable: bool
) -> None:
    finder = detector(micro=micro, upscale=upscale, unreadable=unreadable)
    for image in (family(name), 255 - family(name)):
        (found,) = finder.detect([image])
        assert [text for text in found.payloads or () if text] == ["12345"] * count


def test_a_damaged_code_only_on_request() -> None:
    image, box = scene("x" * 40, 4, (30, 20))
    image = image.copy()
    x1, y1, x2, y2 = box.astype(int)
    image[y1 + 40 : y2, x1 + 40 : x2] = np.random.default_rng(0).integers(0, 2, (y2 - y1 - 40, x2 - x1 - 40, 1)) * 255
    assert len(detector(upscale=1).detect([image])[0]) == 0
    (found,) = detector(upscale=1, unreadable=True).detect([image])
    assert found.payloads == ("",) and iou(found.boxes, box[None])[0, 0] > 0.6


def test_nothing_there_and_any_size() -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((1, 1), (3, 200), (64, 64))]
    assert [len(found) for found in detector(upscale=4).detect(images)] == [0, 0, 0]
    assert detector().detect([]) == []
    with pytest.raises(ValueError, match="uint8"):
        detector().detect([np.zeros((8, 8), np.uint8)])


def test_lock_says_what_decides() -> None:
    assert detector(upscale=3).lock() != detector(upscale=2).lock()
    assert detector().lock()["zxing-cpp"]
    assert detector(label="code").labels == ("code",)
