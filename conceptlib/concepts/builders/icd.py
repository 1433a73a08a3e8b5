"""The Implicit Concept Dataset, synthesised: pictures that carry something which no caption mentions.

After "Implicit Concept Removal of Diffusion Models" (Liu et al., ECCV 2024, arXiv:2310.05873), section 4, whose dataset
holds QR codes, watermarks and text. Here each picture of a source is polluted with a probability, by an overlay drawn
from ranges, and the overlay's geometry is known exactly.

Every row has independent random streams, named after what they decide: the scene (in the source), each overlay, the
encoding. So `rate=0` gives the same pictures without pollution, and a concept more or less changes nothing about the
others.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from conceptlib.concepts.builders import Job, Outcome
from conceptlib.concepts.builders._icd_fields import Encoding, Labels
from conceptlib.concepts.builders._icd_layers import Layer, given_params, make_layer, refuse_unused
from conceptlib.concepts.builders._icd_ranges import QrRanges, TextRanges, WatermarkRanges
from conceptlib.concepts.labels import columns_of
from conceptlib.errors import ConceptlibError
from conceptlib.specs.params import FloatRange, Fraction, IntRange, PositiveInt, within
from conceptlib.specs.params import Params as BaseParams

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from conceptlib.concepts.excluding import Exclude
    from conceptlib.concepts.overlays import Mark
    from conceptlib.concepts.rejects import Reject
    from conceptlib.concepts.resizing import Cut
    from conceptlib.concepts.sources import Item, Source
    from conceptlib.specs.schema import DatasetSpec
    from conceptlib.store import Store

SMALL_SIDE = 128
"""Pictures with a shorter side than this, in pixels, take an overlay's preset for small pictures (`WORLD` in its
module)."""

Count = Annotated[IntRange, within(1, 50)]


Side = Annotated[int, Field(ge=16, le=8192)]
Side2 = tuple[Side, Side]

# What chooses the rows, and not what one of them becomes.
_SOURCE = {"source", "rows", "test_share", "image_column", "caption_column", "source_split", "source_subset"}
_SOURCE |= {"splits", "encoding", "schemes", "pictures"}
_CHOICE = _SOURCE | {"variants", "missing_captions", "exclude", "duplicates", "max_distance", "shard_rows"}


class Params(BaseParams):
    """A synthesised ICD.

    source: `world` (`world:NAME` for another than the embedded one), a folder of pictures, of Parquet files or of
        WebDataset tars, one such file, a zip of pictures, or a Hub dataset id (with `@revision`).
    rows: how many rows to read; null: all of the source (of the world 3000).
    variants: how many rows each of them gives, every one with overlays, cut and encoding of its own, all in one split.
    cut: the part of a picture that is used, at random: its side, of the largest that fits; null: all of it. mirror:
        share of rows whose picture is mirrored.
    test_share: share of the test split. resolution: pixels; null: 64 for the world, 512 for others.
    resize: `fit` (a square, filled and cropped around the middle), `crop` (a square cut out at the picture's own
        scale), `pad` (the whole picture in a square, white beside it), `max-side` (longer side at most `resolution`),
        `buckets` (the nearest in shape of `buckets`) or `none`.
    buckets: widths and heights in pixels; null: those of SDXL's training, scaled to `resolution`.
    rate: share of pictures that carry a concept, for each concept of the spec by itself: one number, or one a concept.
    count: how many overlays of a concept such a picture carries, [least, most]: one range, or one a concept.
    qr, watermark, text: what the overlays are drawn from. overlays: the same of other overlays, by their names.
    fonts: `default` (Pillow's own, the same everywhere), `system`, or a folder of fonts. Fonts decide the pictures, so
        the dataset's lock has their hashes.
    formats, quality: how a picture is stored, polluted or not: one of the formats, at a JPEG or WebP quality from the
        range.
    missing_captions: `skip` such pictures, `keep` them without a caption, or a captioner: an image-to-text model's Hub
        id (with `@revision`) or folder.
    duplicates: `report` pictures that are there twice, put the `train` and test copies into train, `drop` all but the
        first, or do not look (`off`); null: `off` for the world, `train` for others. max_distance: bits in which the
        perceptual hashes of such pictures may differ.
    image_column, caption_column: null: the usual ones. source_subset: of a dataset. source_split: the only split of a
        dataset to read; of `train`, see splits.
    splits: `keep` those of the source (folders or files called train, validation, test) or `hash` the keys of its train
        split; null: keep them where the source is laid out in splits, train among them.
    encoding: of captions that are no UTF-8 and carry no mark (`cp1252`, `gb18030`).
    schemes: of addresses (`https`) that may be opened where a table names pictures; none by default.
    exclude: a detector (a spec, a trained one, or weights): pictures of the source in which it finds one of the
        concepts are left out.
    pictures: of a list of pictures in one row the `first`, or `each` as a row.
    labels: columns of the source that are kept beside the caption: names of classes, `[artist, season]`, or names with
        what they hold, `{artist: class, year: number, note: text}`.
    """

    later: ClassVar[frozenset[str]] = frozenset(
        {"splits", "encoding", "schemes", "pictures", "exclude", "overlays", "labels"}
    )

    source: Annotated[str, Field(min_length=1)] = "world"
    rows: PositiveInt | None = None
    variants: Annotated[int, Field(ge=1, le=10_000)] = 1
    cut: Annotated[FloatRange, within(0.05, 1)] | None = None
    mirror: Fraction = 0.0
    test_share: Fraction = 0.2
    resolution: Side | None = None
    resize: Literal["fit", "crop", "pad", "max-side", "buckets", "none"] = "fit"
    buckets: Annotated[tuple[Side2, ...], Field(min_length=1)] | None = None
    rate: Fraction | dict[str, Fraction] = 0.5
    count: Count | dict[str, Count] = (1, 1)
    qr: QrRanges = QrRanges()
    watermark: WatermarkRanges = WatermarkRanges()
    text: TextRanges = TextRanges()
    fonts: Annotated[str, Field(min_length=1)] = "default"
    formats: Annotated[tuple[Literal["jpeg", "png", "webp"], ...], Field(min_length=1)] = ("jpeg",)
    quality: Annotated[IntRange, within(1, 100)] = (85, 97)
    image_column: str | None = None
    caption_column: str | None = None
    source_split: str = "train"
    source_subset: str | None = None
    missing_captions: Annotated[str, Field(min_length=1)] = "skip"
    duplicates: Literal["off", "report", "train", "drop"] | None = None
    max_distance: Annotated[int, Field(ge=0, le=10)] = 4
    min_side: PositiveInt = 16
    max_pixels: PositiveInt = 50_000_000
    shard_rows: Annotated[int, Field(ge=1, le=100_000)] = 1000
    splits: Literal["keep", "hash"] | None = None
    encoding: Encoding | None = None
    schemes: tuple[Literal["http", "https", "hf", "s3", "gs"], ...] = ()
    pictures: Literal["first", "each"] = "first"
    exclude: Annotated[str, Field(min_length=1)] | None = None
    overlays: Annotated[dict[str, SerializeAsAny[BaseParams]], BeforeValidator(given_params)] = Field(default={})
    labels: Labels = ()


@dataclass(frozen=True)
class Artist:
    """Draws rows: loads a picture, lays the overlays over it, encodes it. Can be pickled. Where pictures give several
    rows it holds the last of them.

    Args:
        params: of the spec.
        seed: of the spec.
        layers: in the order in which they are drawn.
        resolution: pixels.
        exclude: tells which pictures are left out for what they show.
    """

    params: Params
    seed: int
    layers: tuple[Layer, ...]
    resolution: int
    exclude: Exclude | None = None
    _last: list[tuple[Any, Image.Image | Reject]] = field(default_factory=list, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_last": []}

    def __call__(self, item: Item) -> Outcome:
        from conceptlib.concepts.images import Reject, encode
        from conceptlib.concepts.tables import image_row

        p = self.params
        try:
            image = self._picture(item)
        except Reject as reject:
            return Outcome(item.key, item.split, None, None, ({"reason": reject.reason, "detail": reject.detail},))
        image, marks, rejects = self._pollute(item.key, image)
        rng = self._stream(item.key, "encoding")
        form = p.formats[int(rng.integers(len(p.formats)))]
        data = encode(image, form, int(rng.integers(p.quality[0], p.quality[1] + 1)))
        row = image_row(item.key, data, caption=item.caption, seed=item.seed, size=image.size) | (item.labels or {})
        return Outcome(item.key, item.split, row, _detections(marks), tuple(rejects), tuple(marks))

    def _picture(self, item: Item) -> Image.Image:
        """The row's picture, or the part of it that is used, brought to size. Raises `Reject`."""
        from PIL import Image

        from conceptlib.concepts.resizing import SQUARE, resize_to

        p = self.params
        whole = self._whole(item)
        cut, mirrored = self._cut(item.key)
        part = whole if cut is None else cut.of(whole, p.resize in SQUARE)
        image = resize_to(part, self.resolution, p.resize, p.buckets or ())
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image

    def _whole(self, item: Item) -> Image.Image:
        """The item's picture, decoded once for variants that follow each other; not to be changed. Raises `Reject`."""
        from conceptlib.concepts.excluding import REASON
        from conceptlib.concepts.images import decode_whole
        from conceptlib.concepts.rejects import Reject

        p = self.params
        if self._last and self._last[0][0] == item.data:
            if isinstance(last := self._last[0][1], Reject):
                raise last
            return last
        whole = decode_whole(
            item.load(self.resolution),
            resolution=self.resolution,
            resize=p.resize,
            buckets=p.buckets or (),
            share=p.cut[0] if p.cut else 1.0,
            min_side=p.min_side,
            max_pixels=p.max_pixels,
            fresh=True,
        )
        found = self.exclude(whole) if self.exclude is not None else []
        reject = Reject(REASON, f"{' and '.join(found)} is found in it") if found else None
        if p.variants > 1:
            self._last[:] = [(item.data, reject or whole)]
        if reject is not None:
            raise reject
        return whole

    def _cut(self, key: str) -> tuple[Cut | None, bool]:
        """The part of the row's picture that is used (None: all of it), and whether it is mirrored."""
        from conceptlib.concepts.resizing import Cut

        p = self.params
        if p.cut is None and not p.mirror:
            return None, False
        rng = self._stream(key, "cut")
        mirrored = bool(rng.random() < p.mirror)
        if p.cut is None:
            return None, mirrored
        return Cut(float(rng.uniform(*p.cut)), float(rng.random()), float(rng.random())), mirrored

    def _pollute(self, key: str, image: Image.Image) -> tuple[Image.Image, list[Mark], list[dict[str, str]]]:
        from conceptlib.concepts.overlays import occlude

        marks: list[Mark] = []
        rejects = []
        for layer in self.layers:
            for rng in self._streams(key, layer):
                polluted, mark, overhang = layer.draw(image, rng, min(image.size) < SMALL_SIDE)
                # Half a percent for rounding. What is cut off beyond the overhang that was asked for is no code any
                # more.
                if mark.visible >= (1 - overhang) ** 2 - 0.005:
                    image = polluted
                    marks.append(mark)
                else:
                    detail = f"{mark.visible:.0%} of it would be inside a picture of {image.width}x{image.height} px"
                    rejects.append({"reason": "overlay-does-not-fit", "concept": layer.concept, "detail": detail})
        return image, occlude(marks), rejects

    def _streams(self, key: str, layer: Layer) -> Iterator[np.random.Generator]:
        """A random stream for each overlay that the row carries: of more, the first are the same."""
        first = self._stream(key, layer.concept)
        if first.random() >= layer.rate:
            return
        least, most = layer.count
        count = least
        if most > least:
            count = int(self._stream(key, f"{layer.concept}/count").integers(least, most + 1))
        for k in range(count):
            yield first if k == 0 else self._stream(key, f"{layer.concept}/{k}")

    def _stream(self, key: str, purpose: str) -> np.random.Generator:
        """The random stream of one row for one purpose: by the spec's seed, the row's key and the purpose's name."""
        import numpy as np

        from conceptlib.store.hashing import sha256_bytes

        row = int(sha256_bytes(key.encode())[:16], 16)
        return np.random.default_rng(
            np.random.SeedSequence([self.seed, row], spawn_key=(zlib.crc32(purpose.encode()),))
        )


def _opened(params: Params, seed: int, source: Iterable[Any] | None, *, hashed: bool) -> Source:
    """The source of a spec, or rows from Python instead of it."""
    from conceptlib.concepts.sources import open_source

    return open_source(
        params.source if source is None else source,
        seed=seed,
        rows=params.rows,
        test_share=params.test_share,
        image_column=params.image_column,
        caption_column=params.caption_column,
        split=None if params.source_split == "train" else params.source_split,
        subset=params.source_subset,
        missing_captions=params.missing_captions,
        hashed=hashed,
        splits=params.splits,
        encoding=params.encoding,
        schemes=params.schemes,
        pictures=params.pictures,
        labels=columns_of(params.labels),
    )


def prepare(spec: DatasetSpec, source: Iterable[Any] | None = None, store: Store | None = None) -> Job:
    """The job of a spec: opens the source.

    Args:
        source: rows from Python instead of the spec's source, see `concepts.sources.python`.
        store: where the detector of `exclude` is looked for.

    Raises:
        ConceptlibError: a concept without an overlay; a source or captioner that is not there, or is empty.
    """
    from conceptlib.concepts.drawing.fonts import find_fonts
    from conceptlib.concepts.drawing.sketch import can_write, unwritable
    from conceptlib.worlds import code_lock, of_source

    params = spec.params
    if not isinstance(params, Params):
        raise TypeError(f"icd.Params expected, not {type(params).__name__}")
    world = of_source(params.source) if source is None else None
    duplicates = params.duplicates or ("off" if world else "train")
    opened = _opened(params, spec.seed, source, hashed=duplicates != "off")
    resolution = params.resolution or (world.size if world else 512)
    for name in ("rate", "count"):
        _check_concepts(name, getattr(params, name), spec.concepts)
    fonts = find_fonts(params.fonts)
    layers = tuple(make_layer(concept, params, fonts.fonts) for concept in spec.concepts)
    refuse_unused(params.overlays, layers)
    lock: dict[str, Any] = {"resolution": resolution, "overlays": {layer.concept: layer.lock() for layer in layers}}
    for layer in layers:
        if layer.fonts:
            lock["fonts"] = fonts.lock()
            if not any(can_write(font, layer.normal.words, layer.normal.scripts) for font in fonts.fonts):
                raise unwritable()
    exclude = None
    if params.exclude is not None:
        from conceptlib.concepts.excluding import exclude_by

        exclude = exclude_by(params.exclude, spec.concepts, resolution, store)
        lock["exclude"] = exclude.lock
    captioner = None
    if params.missing_captions not in ("skip", "keep"):
        from conceptlib.concepts.captioner import Captioner

        captioner = Captioner(params.missing_captions, params.max_pixels)
        lock["captioner"] = captioner.lock()
    how = params.model_dump(mode="json", exclude=_CHOICE)
    return Job(
        opened,
        Artist(params, spec.seed, layers, resolution, exclude),
        params.shard_rows,
        lock,
        recipe=lock | {"seed": spec.seed, "concepts": list(spec.concepts), "params": how} | code_lock(world),
        caption=captioner.rows if captioner else None,
        duplicates=duplicates,
        max_distance=params.max_distance,
        variants=params.variants,
        parents={"detector": exclude.trained} if exclude is not None and exclude.trained else {},
        labels=columns_of(params.labels),
    )


def drawn(spec: DatasetSpec, key: str, size: tuple[int, int]) -> list[Mark]:
    """What `spec` drew over the row `key`, a picture of `size` (width, height): the marks with their parameters again.

    Random streams decide them, never the pixels, so that a blank picture is enough.
    """
    from PIL import Image

    from conceptlib.concepts.drawing.fonts import find_fonts

    params = spec.params
    if not isinstance(params, Params):
        raise TypeError(f"icd.Params expected, not {type(params).__name__}")
    fonts = find_fonts(params.fonts).fonts
    layers = tuple(make_layer(concept, params, fonts) for concept in spec.concepts)
    artist = Artist(params, spec.seed, layers, min(size))
    return artist._pollute(key, Image.new("RGB", size))[1]


def _check_concepts(field: str, value: Any, concepts: Sequence[str]) -> None:
    """Where rates or counts are given one a concept, they are those of the spec's concepts."""
    if isinstance(value, Mapping) and (wrong := set(value) ^ set(concepts)):
        name = min(wrong)
        raise ConceptlibError(
            f"{name!r} is none of the spec's concepts" if name in value else f"{name!r} is missing",
            where=f"params.{field}",
            hint=f"one number for all, or one each: {', '.join(concepts)}",
        )


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
