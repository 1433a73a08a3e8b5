"""The public Implicit Concept Dataset: the archive `ICD.zip` of https://huggingface.co/datasets/zhili-liu/implicit-concept-dataset.

Of "Implicit Concept Removal of Diffusion Models" (Liu et al., ECCV 2024, arXiv:2310.05873). The archive is not
downloaded here: its page states no licence, so whoever has it decides. It is accepted by its size and sha256, read
member by member without being unpacked (`concepts.sources.archive`), and may be laid out in any way: a picture's
concept is that of the nearest folder above it that is called like one (`QR/`, `text/`). Where in a picture the concept
lies is not known, so there is no annotation set `truth`; run a detector instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from conceptlib.concepts.builders import Job, Outcome
from conceptlib.concepts.builders.icd import Artist, Side
from conceptlib.concepts.builders.icd import Params as IcdParams
from conceptlib.specs.params import Fraction, PositiveInt
from conceptlib.specs.params import Params as BaseParams

if TYPE_CHECKING:
    from conceptlib.concepts.sources import Item
    from conceptlib.specs.schema import DatasetSpec

SIZE = 238_492_093
SHA256 = "0c29b4baa289e3713d40f15f67a8ee18b592cbb74bba0c01801f578ece493803"


class Params(BaseParams):
    """An import of `ICD.zip`.

    file: where it is.
    size, sha256: what it must be; those of the published file. Another archive of the same kind has its own.
    rows: how many pictures at most. test_share: share of the test split, by hash of the path.
    resolution, resize: as in `icd`; by default pictures keep their size. quality: of the JPEGs that are stored.
    missing_captions: the archive has no captions: `keep` gives none, `skip` leaves such pictures out.
    duplicates, max_distance: as in `icd`.
    """

    file: Annotated[str, Field(min_length=1)] = "ICD.zip"
    size: PositiveInt = SIZE
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = SHA256
    rows: PositiveInt | None = None
    test_share: Fraction = 0.2
    resolution: Side = 512
    resize: Literal["fit", "crop", "pad", "max-side", "buckets", "none"] = "none"
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    missing_captions: Literal["keep", "skip"] = "keep"
    duplicates: Literal["off", "report", "train", "drop"] = "train"
    max_distance: Annotated[int, Field(ge=0, le=10)] = 4
    min_side: PositiveInt = 16
    max_pixels: PositiveInt = 50_000_000
    shard_rows: Annotated[int, Field(ge=1, le=100_000)] = 1000


@dataclass(frozen=True)
class Importer:
    """Stores a picture as it is, with its folder's concept. Can be pickled.

    Args:
        artist: decodes, resizes and encodes; has no overlays.
        names: concept by what a folder may be called (letters and digits).
    """

    artist: Artist
    names: Mapping[str, str]

    def __call__(self, item: Item) -> Outcome:
        outcome = self.artist(item)
        concept = concept_of(item.key, self.names)
        return replace(outcome, truth=None, concepts=(concept,) if concept and outcome.row else ())


def concept_of(path: str, names: Mapping[str, str]) -> str | None:
    """The concept of the nearest folder above a picture that is called like one, or begins or is begun by such a name;
    None if there is none.

    >>> concept_of("ICD/QR_codes/1.png", {"qrcode": "qr-code"}), concept_of("ICD/QR/1.png", {"qrcode": "qr-code"})
    ('qr-code', 'qr-code')
    """
    for folder in reversed(path.split("/")[:-1]):
        called = _plain(folder)
        for name, concept in names.items():
            if len(called) >= 2 and (called.startswith(name) or name.startswith(called)):
                return concept
    return None


def prepare(spec: DatasetSpec) -> Job:
    """The job of a spec: checks the archive.

    Raises:
        ConceptlibError: no such file, another size or sha256, or an archive that is refused.
    """
    from pathlib import Path

    from conceptlib.concepts.sources import Reading
    from conceptlib.concepts.sources.archive import Limits, ZipSource, check_download
    from conceptlib.specs import BUILDERS, load_concepts

    params = spec.params
    if not isinstance(params, Params):
        raise TypeError(f"icd_zip.Params expected, not {type(params).__name__}")
    path = Path(params.file).expanduser()
    check_download(path, params.size, params.sha256)
    limits = Limits(files=100_000, bytes=20 << 30)
    reading = Reading(params.rows, params.test_share, missing_captions=params.missing_captions)
    source = ZipSource(path, reading, limits, params.sha256)
    drawing = IcdParams(
        resolution=params.resolution,
        resize=params.resize,
        rate=0,
        quality=(params.quality, params.quality),
        min_side=params.min_side,
        max_pixels=params.max_pixels,
    )
    artist = BUILDERS.version_lock("icd")
    names = {_plain(text): one.name for one in load_concepts(spec.concepts) for text in (one.name, *one.phrases)}
    return Job(
        source,
        Importer(Artist(drawing, spec.seed, (), params.resolution), names),
        params.shard_rows,
        {"names": names} | ({"artist": artist} if artist else {}),
        exact=False,
        duplicates=params.duplicates,
        max_distance=params.max_distance,
    )


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
