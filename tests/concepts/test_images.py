"""Decoding whatever a folder may hold."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from conceptlib.concepts.images import Reject, decode, encode
from conceptlib.concepts.resizing import default_buckets, nearest_bucket, resize_to


def save(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def halves(size: tuple[int, int] = (40, 24)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, (250, 10, 20))
    image.paste((20, 10, 250), (size[0] // 2, 0, *size))
    return image


def colour(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    pixel = image.getpixel((int(x * image.width), int(y * image.height)))
    assert isinstance(pixel, tuple)
    return pixel


def near(a: tuple[int, ...], b: tuple[int, ...], tolerance: int = 12) -> bool:
    return all(abs(x - y) <= tolerance for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "TGA", "JPEG2000"])
def test_common_formats(form: str) -> None:
    image = decode(save(halves(), form))
    assert (image.mode, image.size) == ("RGB", (40, 24))
    assert near(colour(image, 0.2, 0.5), (250, 10, 20), 20) and near(colour(image, 0.8, 0.5), (20, 10, 250), 20)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"])
def test_every_mode_of_a_decoded_picture_becomes_rgb(mode: str) -> None:
    grey = Image.new("L", (20, 20), 255)
    image = (
        grey.convert("I").convert("I;16")
        if mode == "I;16"
        else halves((20, 20)).convert(mode)
        if mode != "LAB"
        else None
    )
    if image is None:
        image = ImageCms.profileToProfile(
            halves((20, 20)), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    assert decode(image).mode == "RGB"


def test_cmyk_jpeg_keeps_its_colours() -> None:
    image = decode(save(halves().convert("CMYK"), "JPEG", quality=95))
    assert near(colour(image, 0.2, 0.5), (250, 10, 20), 20) and near(colour(image, 0.8, 0.5), (20, 10, 250), 20)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled(form: str) -> None:
    values = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    image = decode(save(Image.fromarray(values), form))
    expected = np.rint(values.astype(np.float64) / 257)
    assert np.abs(np.asarray(image)[..., 0] - expected).max() <= 1
    assert np.asarray(image).max() == 255


def test_floating_point_greys() -> None:
    ramp = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    assert np.asarray(decode(save(Image.fromarray(ramp), "TIFF"))).max() == 255
    assert np.asarray(decode(save(Image.fromarray(ramp * 200), "TIFF"))).max() == 200
    bad = ramp.copy()
    bad[0, 0] = np.nan
    with pytest.raises(Reject) as caught:
        decode(save(Image.fromarray(bad), "TIFF"))
    assert caught.value.reason == "unsupported"


def test_transparency_lies_over_white() -> None:
    rgba = halves().convert("RGBA")
    rgba.putalpha(0)
    assert colour(decode(save(rgba, "PNG")), 0.2, 0.5) == (255, 255, 255)
    palette = halves().quantize(4)
    index = palette.getpixel((2, 2))
    image = decode(save(palette, "PNG", transparency=index))
    assert colour(image, 0.1, 0.5) == (255, 255, 255) and near(colour(image, 0.9, 0.5), (20, 10, 250))
    grey = Image.new("LA", (20, 20), (0, 128))
    assert near(colour(decode(save(grey, "PNG")), 0.5, 0.5), (127, 127, 127), 1)


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (20, 20), c) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    for form in ("GIF", "WEBP", "PNG"):
        data = save(frames[0], form, save_all=True, append_images=frames[1:], duration=50)
        assert near(colour(decode(data), 0.5, 0.5), (255, 0, 0), 10), form


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 24)), (3, (40, 24)), (6, (24, 40)), (8, (24, 40))])
def test_exif_rotation(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(save(halves(), "JPEG", exif=exif, quality=95))
    assert image.size == size
    x, y = {1: (0.2, 0.5), 3: (0.8, 0.5), 6: (0.5, 0.2), 8: (0.5, 0.8)}[orientation]
    assert near(colour(image, x, y), (250, 10, 20), 20)


def test_a_broken_exif_block_turns_nothing() -> None:
    data = save(halves(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff" + b"\xff" * 20)
    assert decode(data).size == (40, 24)


def test_colour_profiles_are_converted_and_bad_ones_ignored() -> None:
    # A profile whose red is the sRGB green: the picture must change, and in that direction.
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {
        profile[132 + 12 * i : 136 + 12 * i].decode(): 132 + 12 * i
        for i in range(struct.unpack(">I", profile[128:132])[0])
    }
    red, green = (struct.unpack(">I", profile[tags[t] + 4 : tags[t] + 8])[0] for t in ("rXYZ", "gXYZ"))
    profile[red : red + 20], profile[green : green + 20] = profile[green : green + 20], profile[red : red + 20]
    description = struct.unpack(">II", profile[tags["desc"] + 4 : tags["desc"] + 12])
    text = bytes(profile[description[0] : sum(description)])
    profile[description[0] : sum(description)] = text.replace("sRGB".encode("utf-16-be"), "odd!".encode("utf-16-be"))
    swapped = decode(save(Image.new("RGB", (20, 20), (255, 0, 0)), "PNG", icc_profile=bytes(profile)))
    assert near(colour(swapped, 0.5, 0.5), (0, 255, 0), 40)
    assert decode(save(halves(), "PNG", icc_profile=b"no profile")).tobytes() == halves().tobytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unreadable"),
        (b"hello", "unreadable"),
        (b"\x89PNG\r\n\x1a\n", "unreadable"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "unreadable"),
        (save(halves((200, 200)), "JPEG")[:900], "truncated"),
        (save(Image.effect_noise((200, 200), 50), "PNG")[:9000], "truncated"),
        (save(halves((15, 200)), "PNG"), "tiny"),
        (save(halves((1, 1)), "GIF"), "tiny"),
    ],
)
def test_what_cannot_be_used_is_rejected_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Reject) as caught:
        decode(data)
    assert caught.value.reason == reason
    assert caught.value.reason in Reject.REASONS and caught.value.detail


def test_truncated_files_are_rejected_whatever_other_libraries_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(Reject):
        decode(save(halves((200, 200)), "JPEG")[:900])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_a_missing_file_and_a_folder_are_rejected(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.png", "missing-file"), (tmp_path, "refused")):
        with pytest.raises(Reject) as caught:
            decode(path)
        assert caught.value.reason == reason


def png_header(width: int, height: int) -> bytes:
    """A PNG of this size by its header, with no pixels to speak of."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_by_their_headers(size: tuple[int, int]) -> None:
    with pytest.raises(Reject) as caught:
        decode(png_header(*size), resolution=64, resize="fit")
    assert caught.value.reason == "too-large"


def test_a_huge_jpeg_is_decoded_small() -> None:
    big = Image.new("L", (4000, 3000), 200)
    big.paste(40, (2000, 0, 4000, 3000))
    data = save(big, "JPEG")
    image = decode(data, resolution=64, resize="fit", max_pixels=1_000_000)
    assert image.size == (64, 64)
    assert near(colour(image, 0.1, 0.5), (200,) * 3) and near(colour(image, 0.9, 0.5), (40,) * 3)
    assert decode(data, resolution=64, resize="max-side", max_pixels=1_000_000).size == (64, 48)
    with pytest.raises(Reject) as caught:
        decode(data, max_pixels=1_000_000)
    assert caught.value.reason == "too-large"
    with pytest.raises(Reject):  # progressive: libjpeg would hold all coefficients
        decode(save(big, "JPEG", progressive=True), resolution=64, resize="fit", max_pixels=1_000_000)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"]), st.integers(0, 2**32 - 1))
def test_damaged_bytes_give_a_picture_or_a_reject_and_nothing_else(form: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(save(halves((48, 48)), form))
    for place in rng.integers(0, len(data), 6):
        data[place] = rng.integers(256)
    try:
        assert decode(bytes(data), max_pixels=10_000).mode == "RGB"
    except Reject as reject:
        assert reject.reason in Reject.REASONS


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(16, 128))
def test_sizes(width: int, height: int, resolution: int) -> None:
    image = Image.new("RGB", (width, height))
    assert resize_to(image, resolution, "fit").size == (resolution, resolution)
    limited = resize_to(image, resolution, "max-side")
    assert max(limited.size) == min(max(width, height), resolution)
    assert abs(limited.width * height - limited.height * width) <= max(width, height)
    assert resize_to(image, resolution, "none").size == (width, height)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([16, 50, 64, 128]))
def test_squares_and_buckets(width: int, height: int, resolution: int) -> None:
    image = Image.new("RGB", (width, height), (9, 9, 9))
    for resize in ("crop", "pad"):
        assert resize_to(image, resolution, resize).size == (resolution, resolution)
    buckets = default_buckets(resolution)
    chosen = resize_to(image, resolution, "buckets").size
    assert chosen in buckets

    def off(bucket: tuple[int, int]) -> float:
        ratio = (bucket[0] / bucket[1]) / (width / height)
        return max(ratio, 1 / ratio)

    assert off(chosen) == pytest.approx(min(map(off, buckets)))


def test_default_buckets_are_those_of_sdxl() -> None:
    """Every fourth of the table in appendix I of the paper (arXiv:2307.01952), and the rule behind it."""
    sdxl = [(512, 2048), (640, 1600), (768, 1344), (832, 1216), (896, 1152), (1024, 1024), (1216, 832), (1344, 768)]
    buckets = default_buckets(1024)
    assert set(sdxl) <= set(buckets) and buckets == tuple(sorted(buckets))
    assert all(w % 64 == h % 64 == 0 and 0.9 * 1024**2 < w * h <= 1024**2 for w, h in buckets)
    assert nearest_bucket((3000, 2000), buckets) == (1216, 832)
    assert nearest_bucket((100, 100), ((64, 32), (32, 64))) == (64, 32)  # the first of equals


def test_crop_keeps_the_scale_and_pad_keeps_the_whole() -> None:
    image = Image.new("RGB", (120, 80), (255, 0, 0))
    image.paste((0, 255, 0), (50, 30, 70, 50))
    cropped = np.asarray(resize_to(image, 40, "crop"))
    assert np.array_equal(cropped, np.asarray(image)[20:60, 40:80])
    padded = np.asarray(resize_to(image, 60, "pad"))
    assert (padded[:10] == 255).all() and (padded[50:] == 255).all() and (padded[11:49, 0] == (255, 0, 0)).all()
    assert np.array_equal(np.asarray(resize_to(image, 120, "pad"))[20:100], np.asarray(image))
    assert resize_to(Image.new("RGB", (10, 400)), 40, "crop").size == (40, 40)


@pytest.mark.parametrize(("resize", "size"), [("pad", (64, 64)), ("buckets", (72, 56)), ("crop", (64, 64))])
def test_a_large_jpeg_comes_out_alike_whether_or_not_it_is_decoded_small(resize: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    blobs = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((1200, 900), Image.Resampling.BICUBIC)
    drafted = decode(save(blobs, "JPEG", quality=95), resolution=64, resize=resize)  # type: ignore[arg-type]
    whole = resize_to(blobs, 64, resize)  # type: ignore[arg-type]
    assert drafted.size == whole.size == size
    assert np.abs(np.asarray(drafted).astype(int) - np.asarray(whole)).mean() < 4


def test_fit_crops_around_the_middle() -> None:
    image = Image.new("RGB", (120, 40), (255, 0, 0))
    image.paste((0, 255, 0), (40, 0, 80, 40))
    assert np.asarray(resize_to(image, 32, "fit"))[:, 2:-2].reshape(-1, 3).mean(0).tolist() == [0, 255, 0]


@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
def test_encoding_repeats_and_comes_back(form: str) -> None:
    image = decode(save(halves((64, 64)), "PNG"))
    data = encode(image, form, 95)  # type: ignore[arg-type]
    assert data == encode(image.copy(), form, 95)  # type: ignore[arg-type]
    back = decode(data)
    assert np.abs(np.asarray(back).astype(int) - np.asarray(image)).mean() < (0.001 if form == "png" else 5)


def test_no_metadata_is_carried_over() -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    image = decode(save(halves(), "JPEG", exif=exif, comment=b"secret comment"))
    for form in ("jpeg", "png", "webp"):
        assert b"secret" not in encode(image, form)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (97, 64), (65, 64)])
def test_a_picture_of_the_right_scale_is_cut_as_resampling_would_have_it(size: tuple[int, int]) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    left, top = (size[0] - 64) / 2, (size[1] - 64) / 2
    resampled = image.resize((64, 64), Image.Resampling.LANCZOS, (left, top, left + 64, top + 64), reducing_gap=3.0)
    assert resize_to(image, 64, "fit").tobytes() == resampled.tobytes()


@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_the_callers_picture_is_not_changed(orientation: int | None) -> None:
    image = Image.new("RGB", (40, 20), "red")
    image.info["comment"] = "mine"
    if orientation is not None:
        image.getexif()[0x0112] = orientation
    before = image.tobytes()
    made = decode(image)
    made.paste("blue", (0, 0, 20, 20))
    assert image.tobytes() == before and image.info["comment"] == "mine" and not made.info
    assert made.size == ((20, 40) if orientation == 6 else (40, 20))


def test_a_picture_that_the_caller_opened_stays_as_large_as_it_is() -> None:
    opened = Image.open(io.BytesIO(save(Image.new("RGB", (1600, 1200), "teal"), "JPEG")))
    assert decode(opened, resolution=64, resize="fit").size == (64, 64)
    assert opened.size == (1600, 1200)
    with pytest.raises(Reject, match="too-large"):
        decode(opened, resolution=64, resize="fit", max_pixels=1_000_000)
