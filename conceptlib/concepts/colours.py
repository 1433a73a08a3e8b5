"""Pictures of any mode and colour profile as 8-bit sRGB."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageCms

from conceptlib.concepts.rejects import Reject


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit sRGB over white."""
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        return _grey_to_rgb(image)
    alpha = None
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    elif mode in ("1", "P", "HSV", "YCbCr", "RGBX"):
        image = image.convert("RGB")
    if profile := image.info.get("icc_profile"):
        image = _to_srgb(image, profile)
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if alpha is not None and np.asarray(alpha).min() < 255:
        white = Image.new("RGB", rgb.size, (255, 255, 255))
        white.paste(rgb, mask=alpha)
        rgb = white
    rgb.info = {}
    return rgb


def _grey_to_rgb(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point greys: 0 to 65535, 0 to 255 or 0 to 1, told by the largest value."""
    values: np.ndarray = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise Reject("unsupported", f"grey levels from {values.min():g} to {values.max():g}; 0 to 65535 are read")
    if image.mode == "F" and values.max() <= 1:
        values = values * 255
    elif image.mode.startswith("I;16") or values.max() > 255:
        values = values / 257
    return Image.fromarray(np.rint(values).astype(np.uint8)).convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Through the embedded profile; one that does not fit the picture is ignored, as browsers do."""
    source = image.convert("RGB") if image.mode == "RGBA" else image
    try:
        transform = _transform(profile, source.mode)
        return source if transform is None else (ImageCms.applyTransform(source, transform) or source)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return source


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """To sRGB; None for a profile that is sRGB already. Cached: a camera's pictures share one profile, and building
    takes ms."""
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(opened).lower():
        return None
    return ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB")
