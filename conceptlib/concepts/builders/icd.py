"""The Implicit Concept Dataset, synthesised: pictures that carry something which no caption mentions.

After "Implicit Concept Removal of Diffusion Models" (Liu et al., ECCV 2024, arXiv:2310.05873), section 4, whose dataset
holds QR codes, watermarks and text. Here each picture of a source is polluted with a probability, by an overlay drawn
from ranges, and the overlay's geometry is known exactly.

Every row has independent random streams, named after what they decide: the scene (in the source), each overlay, the
encoding. So `rate=0` gives the same pictures without pollution, and a concept more or less changes nothing about the
others.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from conceptlib.concepts.builders import Job, Outcome
from conceptlib.errors import ConceptlibError, did_you_mean
from conceptlib.specs.params import FloatRange, Fraction, IntRange, PositiveFloat, PositiveInt, within
from conceptlib.specs.params import Params as BaseParams
from conceptlib.specs.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from conceptlib.concepts.overlays import Mark
    from conceptlib.concepts.sources import Item
    from conceptlib.specs.schema import DatasetSpec

OVERLAYS = Registry("conceptlib.concepts.overlays")
SMALL_SIDE = 128
"""Pictures with a shorter side than this, in pixels, take an overlay's preset for small pictures (`WORLD` in its
module)."""


class QrRanges(BaseParams):
    """What a QR code is drawn from: each uniformly from its range or list.

    A field left out is a preset's: for pictures below 128 px that of the embedded world (version 1, one pixel a
    module), for others versions 1 to 10 at 16-42 % of the short side. See `overlays.qr.QrParams` for the fields.
    """

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


class Params(BaseParams):
    """A synthesised ICD.

    source: `world`, a folder of pictures, a folder of Parquet files, or a Hub dataset id (with `@revision`).
    rows: how many rows to read; null: all of the source (of the world 3000).
    test_share: share of the test split. resolution: pixels; null: 64 for the world, 512 for others.
    resize: `fit` (square, cropped around the middle), `max-side` (longer side at most `resolution`) or `none`.
    rate: share of pictures that carry a concept, for each concept of the spec by itself.
    formats, quality: how a picture is stored, polluted or not: one of the formats, at a JPEG or WebP quality from the
        range.
    """

    source: Annotated[str, Field(min_length=1)] = "world"
    rows: PositiveInt | None = None
    test_share: Fraction = 0.2
    resolution: Annotated[int, Field(ge=16, le=8192)] | None = None
    resize: Literal["fit", "max-side", "none"] = "fit"
    rate: Fraction = 0.5
    qr: QrRanges = QrRanges()
    formats: Annotated[tuple[Literal["jpeg", "png", "webp"], ...], Field(min_length=1)] = ("jpeg",)
    quality: Annotated[IntRange, within(1, 100)] = (85, 97)
    image_column: str | None = None
    caption_column: str | None = None
    source_split: str = "train"
    source_subset: str | None = None
    missing_captions: Literal["skip", "keep"] = "skip"
    min_side: PositiveInt = 16
    max_pixels: PositiveInt = 50_000_000
    shard_rows: Annotated[int, Field(ge=1, le=100_000)] = 1000


@dataclass(frozen=True)
class Artist:
    """Draws rows: loads a picture, lays the overlays over it, encodes it. Holds no picture; can be pickled.

    Args:
        params: of the spec.
        seed: of the spec.
        overlays: concept name and overlay module's name, in the order in which they are drawn.
        resolution: pixels.
    """

    params: Params
    seed: int
    overlays: tuple[tuple[str, str], ...]
    resolution: int

    def __call__(self, item: Item) -> Outcome:
        from conceptlib.concepts.images import Reject, decode, encode
        from conceptlib.concepts.tables import image_row

        p = self.params
        try:
            image = decode(
                item.load(self.resolution),
                resolution=self.resolution,
                resize=p.resize,
                min_side=p.min_side,
                max_pixels=p.max_pixels,
            )
        except Reject as reject:
            return Outcome(item.key, item.split, None, None, ({"reason": reject.reason, "detail": reject.detail},))
        image, marks, rejects = self._pollute(item.key, image)
        rng = self._stream(item.key, "encoding")
        form = p.formats[int(rng.integers(len(p.formats)))]
        data = encode(image, form, int(rng.integers(p.quality[0], p.quality[1] + 1)))
        row = image_row(item.key, data, caption=item.caption, seed=item.seed, size=image.size, **(item.labels or {}))
        return Outcome(item.key, item.split, row, _detections(marks), tuple(rejects))

    def _pollute(self, key: str, image: Image.Image) -> tuple[Image.Image, list[Mark], list[dict[str, str]]]:
        marks, rejects = [], []
        for concept, name in self.overlays:
            rng = self._stream(key, concept)
            if rng.random() >= self.params.rate:
                continue
            ranges = _ranges(name, getattr(self.params, name), min(image.size) < SMALL_SIDE)
            polluted, mark = getattr(_overlay(name), f"draw_{name}")(image, rng, ranges)
            # Half a percent for rounding. What is cut off beyond the overhang that was asked for is no code any more.
            if mark.visible >= (1 - getattr(ranges, "overhang", 0.5)) ** 2 - 0.005:
                image = polluted
                marks.append(mark)
            else:
                detail = f"{mark.visible:.0%} of it would be inside a picture of {image.width}x{image.height} px"
                rejects.append({"reason": "overlay-does-not-fit", "concept": concept, "detail": detail})
        return image, marks, rejects

    def _stream(self, key: str, purpose: str) -> np.random.Generator:
        """The random stream of one row for one purpose: by the spec's seed, the row's key and the purpose's name."""
        import numpy as np

        from conceptlib.store.hashing import sha256_bytes

        row = int(sha256_bytes(key.encode())[:16], 16)
        return np.random.default_rng(
            np.random.SeedSequence([self.seed, row], spawn_key=(zlib.crc32(purpose.encode()),))
        )


def prepare(spec: DatasetSpec) -> Job:
    """The job of a spec: opens the source.

    Raises:
        ConceptlibError: a concept without an overlay; a source that is not there, or is empty.
    """
    from conceptlib.concepts.sources import open_source
    from conceptlib.concepts.world import SIZE

    params = spec.params
    if not isinstance(params, Params):
        raise TypeError(f"icd.Params expected, not {type(params).__name__}")
    source = open_source(
        params.source,
        seed=spec.seed,
        rows=params.rows,
        test_share=params.test_share,
        image_column=params.image_column,
        caption_column=params.caption_column,
        split=params.source_split,
        subset=params.source_subset,
        missing_captions=params.missing_captions,
    )
    overlays = tuple((concept, _overlay_of(concept)) for concept in spec.concepts)
    resolution = params.resolution or (SIZE if params.source == "world" else 512)
    drawn = {
        concept: {
            size: dataclasses.asdict(_ranges(name, getattr(params, name), size == "small"))
            for size in ("small", "normal")
        }
        for concept, name in overlays
    }
    return Job(
        source,
        Artist(params, spec.seed, overlays, resolution),
        params.shard_rows,
        {"resolution": resolution, "overlays": drawn},
    )


def drawn(spec: DatasetSpec, key: str, size: tuple[int, int]) -> list[Mark]:
    """What `spec` drew over the row `key`, a picture of `size` (width, height): the marks with their parameters again.

    Random streams decide them, never the pixels, so that a blank picture is enough.
    """
    from PIL import Image

    params = spec.params
    if not isinstance(params, Params):
        raise TypeError(f"icd.Params expected, not {type(params).__name__}")
    overlays = tuple((concept, _overlay_of(concept)) for concept in spec.concepts)
    artist = Artist(params, spec.seed, overlays, min(size))
    return artist._pollute(key, Image.new("RGB", size))[1]


def _overlay_of(concept: str) -> str:
    """The overlay module that draws a concept and has a field in `Params`."""
    known = {_overlay(name).CONCEPT: name for name in OVERLAYS.names() if name in Params.model_fields}
    if concept not in known:
        raise ConceptlibError(
            f"no overlay draws the concept {concept!r}", where="concepts", hint=did_you_mean(concept, known)
        )
    return known[concept]


@functools.cache
def _overlay(name: str) -> ModuleType:
    return OVERLAYS.get(name)


@functools.lru_cache(maxsize=64)
def _ranges(name: str, given: BaseParams, small: bool) -> Any:
    """The overlay's own parameters: the preset of the picture's size, and over it what the spec gives."""
    overlay = _overlay(name)
    preset = overlay.WORLD if small else getattr(overlay, f"{name.capitalize()}Params")()
    return dataclasses.replace(preset, **given.model_dump(exclude_none=True))


def _detections(marks: list[Mark]) -> Any:
    import numpy as np

    from conceptlib.geometry import Detections

    if not marks:
        return Detections.empty()
    return Detections(
        boxes=np.stack([mark.bbox for mark in marks]),
        scores=np.ones(len(marks), np.float32),
        labels=tuple(mark.concept for mark in marks),
        quads=np.stack([mark.quad for mark in marks]),
        payloads=tuple(mark.payload for mark in marks),
        visible=np.array([mark.visible for mark in marks], np.float32),
    )
