"""Any picture file to 8-bit RGB, or a `Reject` that says why not; and back to bytes.

Users' folders hold everything: truncated downloads, CMYK scans, 16-bit and palette PNGs, animations, phone pictures
that lie on their side, 100-megapixel panoramas, files that are no pictures. `decode` gives an upright sRGB picture for
all that can be shown as one and raises `Reject` for the rest, never anything else. Memory is bounded before a pixel is
decoded: by the size in the file's header.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from PIL import ExifTags, Image, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError

from conceptlib.concepts.colours import to_rgb
from conceptlib.concepts.rejects import Reject, first_line
from conceptlib.concepts.resizing import GAP, Buckets, Resize, default_buckets, resize_to
from conceptlib.concepts.safe import read_file

# Formats that Pillow decodes itself. Not EPS (runs Ghostscript) and no exotic container whose only use is an exploit.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO", "DIB")
# What a picture's file name may end in: the rest of a folder is not read.
_ENDINGS = "jpg jpeg jpe jfif mpo png apng webp gif bmp dib tif tiff avif jp2 j2k jpx ppm pgm pbm pnm tga ico"
# HEIC needs the extra `heic`; the others are not read: a line in the rejects rather than silence.
_REFUSED_ENDINGS = "heic heif jxl psd svg"
SUFFIXES = frozenset(f".{ending}" for ending in f"{_ENDINGS} {_REFUSED_ENDINGS}".split())
MAX_PIXELS = 50_000_000
# A baseline JPEG is decoded straight to a fraction of its size, so that its own size costs time and no memory.
MAX_DRAFT_PIXELS = 500_000_000
MAX_SCANS = 100
"""Of a JPEG; progressive ones have about ten."""
MAX_SCAN_PIXELS = 1_000_000_000
"""Pixels times scans of a progressive JPEG: half a minute."""
MAX_PNG_TEXT = 64 << 20
"""Bytes of the texts of a PNG, and of its colour profile, unpacked: image generators write workflows of megabytes."""
MIN_SIDE = 16
_HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

Format = Literal["jpeg", "png", "webp"]


def decode(
    data: bytes | Path | Image.Image,
    *,
    resolution: int | None = None,
    resize: Resize = "none",
    buckets: Buckets = (),
    min_side: int = MIN_SIDE,
    max_pixels: int = MAX_PIXELS,
    reducing_gap: float = GAP,
    fresh: bool = False,
) -> Image.Image:
    """An upright 8-bit sRGB picture of a file, brought to size.

    The first frame of animations; transparency over white; 16-bit and floating-point greys scaled to 8 bits; embedded
    colour profiles (CMYK too) converted to sRGB; turned as EXIF says.

    Args:
        data: the encoded bytes, a file, or a picture that is decoded already.
        resolution, resize, buckets, reducing_gap: as for `resize_to`, which is applied.
        min_side: least width and height in pixels, before resizing.
        max_pixels: most pixels to decode; JPEGs (not progressive ones) count after the reduction that `resize` allows.
        fresh: a decoded picture is nobody else's: it need not be copied, and may be what comes back.

    Raises:
        Reject: it cannot be shown, or is outside the limits.
    """
    limits: dict[str, Any] = {"min_side": min_side, "max_pixels": max_pixels, "fresh": fresh}
    whole = decode_whole(data, resolution=resolution, resize=resize, buckets=buckets, **limits)
    return resize_to(whole, resolution, resize, buckets, reducing_gap)


def decode_whole(
    data: bytes | Path | Image.Image,
    *,
    resolution: int | None,
    resize: Resize,
    buckets: Buckets = (),
    share: float = 1.0,
    min_side: int = MIN_SIDE,
    max_pixels: int = MAX_PIXELS,
    fresh: bool = False,
) -> Image.Image:
    """The picture that `decode` brings to size: as large as the file's, or, of a JPEG, at least twice as large as
    resizing a part of it, of at least `share` of its sides, will need. Arguments and errors as there.
    """
    if isinstance(data, Image.Image):
        _check_size(data, min_side, max_pixels)
        turned = upright(data)
        return to_rgb(turned.copy() if turned is data and not fresh else turned)
    raw = read_file(data) if isinstance(data, Path) else data
    if not raw:
        raise Reject("unreadable", "the file is empty")
    with _careful():
        image = _open(raw)
        with image:
            _check_size(image, min_side)
            _check_scans(image, raw)
            _reduce(image, resolution, resize, buckets, max_pixels, share)
            try:
                image.load()
                return to_rgb(upright(image))
            except Reject:
                raise
            except Exception as error:
                if "MAX_TEXT" in str(error):  # texts may lie behind the pixels, too
                    raise _too_much_text() from error
                text = first_line(error)
                early = "truncated" in text or "end of file" in text.lower() or isinstance(error, EOFError)
                raise Reject("truncated" if early else "damaged", text) from error


def encode(image: Image.Image, form: Format, quality: int = 95) -> bytes:
    """Bytes of an RGB picture: the same ones for the same pixels, with no metadata.

    Args:
        form: "jpeg", "png" or "webp" (lossy).
        quality: 1 to 100; not used by png. JPEGs below 256 px keep full colour resolution: half of it would blur what
            is drawn there.
    """
    buffer = io.BytesIO()
    if form == "png":
        image.save(buffer, "PNG", compress_level=4)
    elif form == "webp":
        image.save(buffer, "WEBP", quality=quality, method=2)
    else:
        image.save(buffer, "JPEG", quality=quality, subsampling="4:4:4" if min(image.size) < 256 else "4:2:0")
    return buffer.getvalue()


def _open(raw: bytes) -> Image.Image:
    """The picture, its header read. Raises `Reject`."""
    try:
        return Image.open(io.BytesIO(raw), formats=_formats())
    except Image.DecompressionBombError as error:
        raise Reject("too-large", str(error)) from error
    except UnidentifiedImageError as error:
        raise Reject("unreadable", _unknown(raw)) from error
    except Exception as error:  # decoders raise nearly everything on hostile bytes
        if "MAX_TEXT" in str(error):
            raise _too_much_text() from error
        raise Reject("unreadable", first_line(error)) from error


def _too_much_text() -> Reject:
    return Reject("too-large", f"a text of the PNG has more than {MAX_PNG_TEXT >> 20} MiB, unpacked")


def _unknown(raw: bytes) -> str:
    """Why bytes are no picture that is read."""
    if raw[4:8] == b"ftyp" and raw[8:12] in _HEIF:
        return "a HEIC picture: `pip install 'conceptlib[heic]'` reads it"
    if raw.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "a JPEG XL picture, which is not read"
    return "no picture that is read, or a damaged one"


def _check_scans(image: Image.Image, raw: bytes) -> None:
    """Every scan of a JPEG goes over all its pixels: a small file of thousands would take hours."""
    if image.format not in ("JPEG", "MPO"):
        return
    scans = raw.count(b"\xff\xda")
    most = MAX_SCANS
    if _is_progressive(image):
        most = min(most, MAX_SCAN_PIXELS // (image.width * image.height))
    if scans > most:
        raise Reject(
            "too-large", f"a JPEG of {scans} scans; at most {most} are read of {image.width}x{image.height} px"
        )


def _is_progressive(image: Image.Image) -> bool:
    return bool(image.info.get("progressive") or image.info.get("progression"))


def _check_size(image: Image.Image, min_side: int, max_pixels: int | None = None) -> None:
    if min(image.size) < min_side:
        raise Reject("tiny", f"{image.width}x{image.height} px; a side is below {min_side} px")
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise Reject(
            "too-large", f"{image.width}x{image.height} px; at most {max_pixels / 1e6:g} megapixels are decoded"
        )


def _reduce(
    image: Image.Image, resolution: int | None, resize: Resize, buckets: Buckets, max_pixels: int, share: float
) -> None:
    """Let a JPEG decode to no more than twice the size that is wanted, and refuse what would still be too large.

    share: of the picture's side that is used.
    """
    pixels = image.width * image.height
    drafts = image.format in ("JPEG", "MPO") and not _is_progressive(image) and pixels <= MAX_DRAFT_PIXELS
    if drafts and resize not in ("none", "crop") and resolution is not None:
        wanted, side = resolution, max(image.size) if resize in ("pad", "max-side") else min(image.size)
        if resize == "buckets":  # which one is known when the picture is upright; the longest side is enough for any
            wanted = max(max(bucket) for bucket in buckets or default_buckets(resolution))
        scale = min(1.0, 2 * wanted / (share * side))
        image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
    _check_size(image, 1, max_pixels)


def upright(image: Image.Image) -> Image.Image:
    """Turned as EXIF says, `image` itself where it says nothing; a broken EXIF block turns nothing."""
    try:
        image.load()
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image  # of which Pillow would make a copy
        return ImageOps.exif_transpose(image)
    except Exception:  # the block is free-form bytes; the pixels are fine
        return image


@functools.cache
def _formats() -> tuple[str, ...]:
    """Of `FORMATS`, those that this build of Pillow has; HEIF where the extra `heic` is installed."""
    Image.init()
    if reads_heic():
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    return tuple(name for name in (*FORMATS, "HEIF") if name in Image.OPEN)


@functools.cache
def reads_heic() -> bool:
    """Whether HEIC pictures can be read here: the extra `heic`."""
    return importlib.util.find_spec("pillow_heif") is not None


@contextmanager
def _careful() -> Iterator[None]:
    """Pillow's global switches as `decode` needs them: other libraries set them to their liking (ultralytics accepts
    truncated files).

    The limits of `decode` replace Pillow's own bomb check, which warns of pictures that a draft makes small.
    """
    png = PngImagePlugin
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, png.MAX_TEXT_CHUNK, png.MAX_TEXT_MEMORY
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, MAX_DRAFT_PIXELS
    png.MAX_TEXT_CHUNK = png.MAX_TEXT_MEMORY = MAX_PNG_TEXT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, png.MAX_TEXT_CHUNK, png.MAX_TEXT_MEMORY = before
