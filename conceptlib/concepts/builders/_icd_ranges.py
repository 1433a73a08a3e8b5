"""What a spec of the builder `icd` may say about each overlay; a field left out takes the overlay's own preset."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from conceptlib.specs.params import FloatRange, Fraction, IntRange, PositiveFloat, within
from conceptlib.specs.params import Params as BaseParams

Blend = Literal["normal", "screen", "multiply", "overlay"]
Script = Literal["latin", "cyrillic", "greek", "han", "kana", "hangul", "arabic", "hebrew", "devanagari", "thai"]
Level = Annotated[int, Field(ge=0, le=255)]
Size = Annotated[FloatRange, within(0.005, 2)]
Angle = Annotated[FloatRange, within(-360, 360)]
Share = Annotated[FloatRange, within(0, 1)]
WatermarkKind = Literal["logo", "agency", "outline", "tiling", "band", "signature", "date", "plain"]
TextKind = Literal[
    "word", "caption", "subtitle", "meme", "paragraph", "price", "sign", "handwriting", "vertical", "plain"
]


def _says_something(words: tuple[str, ...]) -> tuple[str, ...]:
    if blank := [word for word in words if not word.split()]:
        raise ValueError(f"{len(blank)} of the words are blank")
    return words


Words = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_says_something)]


class QrRanges(BaseParams):
    """What a QR code is drawn from: each uniformly from its range or list.

    A field left out is a preset's: for pictures below 128 px that of the embedded world (version 1, one pixel a
    module), for others versions 1 to 10 at 16-42 % of the short side. See `overlays.qr.QrParams` for the fields.
    """

    later: ClassVar[frozenset[str]] = frozenset({"perspective", "blur", "coloured", "rounded", "logo", "inverted"})

    modes: Annotated[tuple[Literal["numeric", "alphanumeric", "byte", "kanji"], ...] | None, Field(min_length=1)] = None
    error_levels: Annotated[tuple[Literal["L", "M", "Q", "H"], ...] | None, Field(min_length=1)] = None
    version: Annotated[IntRange, within(1, 10)] | None = None
    size: Annotated[FloatRange, within(0.01, 2)] | None = None
    min_module: PositiveFloat | None = None
    quiet_zone: Annotated[IntRange, within(0, 16)] | None = None
    rotation: Annotated[FloatRange, within(-360, 360)] | None = None
    opacity: Annotated[FloatRange, within(0, 1)] | None = None
    dark: Annotated[IntRange, within(0, 255)] | None = None
    light: Annotated[IntRange, within(0, 255)] | None = None
    overhang: Fraction | None = None
    place: Literal["anywhere", "corners"] | None = None
    jitter: Fraction | None = None
    perspective: Annotated[FloatRange, within(0, 0.5)] | None = None
    blur: Annotated[FloatRange, within(0, 1)] | None = None
    coloured: Fraction | None = None
    rounded: Fraction | None = None
    logo: Fraction | None = None
    inverted: Fraction | None = None


class WatermarkRanges(BaseParams):
    """What a watermark is drawn from: each uniformly from its range or list; `size`, `rotation` and `opacity` may be
    one range or one a kind.

    A field left out is a preset's: for pictures below 128 px the kind `plain`, for others the seven kinds that occur.
    See `overlays.watermark.WatermarkParams` for the fields.
    """

    kinds: Annotated[tuple[WatermarkKind, ...] | None, Field(min_length=1)] = None
    words: Words | None = None
    scripts: Annotated[tuple[Script, ...] | None, Field(min_length=1)] = None
    random: Fraction | None = None
    grey: Annotated[IntRange, within(0, 255)] | None = None
    dark: Fraction | None = None
    coloured: Fraction | None = None
    size: Size | dict[WatermarkKind, Size] | None = None
    rotation: Angle | dict[WatermarkKind, Angle] | None = None
    opacity: Share | dict[WatermarkKind, Share] | None = None
    blends: Annotated[tuple[Blend, ...] | None, Field(min_length=1)] = None
    shadow: Fraction | None = None
    overhang: Fraction | None = None


class TextRanges(BaseParams):
    """What a text is drawn from: each uniformly from its range or list; `size`, `rotation` and `opacity` may be one
    range or one a kind.

    A field left out is a preset's: for pictures below 128 px the kind `plain`, for others the nine kinds that occur.
    See `overlays.text.TextParams` for the fields.
    """

    kinds: Annotated[tuple[TextKind, ...] | None, Field(min_length=1)] = None
    words: Words | None = None
    scripts: Annotated[tuple[Script, ...] | None, Field(min_length=1)] = None
    random: Fraction | None = None
    inks: Annotated[tuple[tuple[Level, Level, Level], ...] | None, Field(min_length=1)] = None
    size: Size | dict[TextKind, Size] | None = None
    rotation: Angle | dict[TextKind, Angle] | None = None
    opacity: Share | dict[TextKind, Share] | None = None
    blends: Annotated[tuple[Blend, ...] | None, Field(min_length=1)] = None
    shadow: Fraction | None = None
    overhang: Fraction | None = None
