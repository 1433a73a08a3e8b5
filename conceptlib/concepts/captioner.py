"""Captions for pictures that have none, by an image-to-text model of `transformers` (BLIP, BLIP-2, GIT, ...).

    conceptlib build icd-qr-photos source=photos missing_captions=Salesforce/blip-image-captioning-base

The model is pinned: a Hub id by its commit, and in either case by the sha256 of its files; both are in the dataset's
lock. Decoding is greedy, in float32 and one picture at a time, so that a caption depends on its picture alone. Only
safetensors are loaded, and no code of a repository is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from conceptlib import hubfiles
from conceptlib.concepts.builders import Outcome
from conceptlib.concepts.images import Reject, decode
from conceptlib.concepts.rejects import first_line
from conceptlib.concepts.sources.base import Item
from conceptlib.errors import ConceptlibError
from conceptlib.huberrors import HubError
from conceptlib.store.hashing import digest, sha256_file

MAX_NEW_TOKENS = 40
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


class Captioner:
    """A model that captions pictures; its weights are loaded when the first picture needs it.

    Args:
        ref: a folder that `save_pretrained` wrote, or a Hub id with an optional `@revision`.
        max_pixels: see `images.decode`.

    Raises:
        ConceptlibError: no such model, or one without safetensors.
    """

    def __init__(self, ref: str, max_pixels: int = 50_000_000) -> None:
        self.ref, self.max_pixels = ref, max_pixels
        folder = Path(ref).expanduser()
        self.folder = folder if folder.is_dir() else self._download()
        if not any(self.folder.glob("*.safetensors")):
            hint = "only safetensors are loaded; give a model, or a revision of it, that has them"
            raise ConceptlibError("the captioner has no safetensors weights", where=ref, hint=hint)

    def lock(self) -> dict[str, Any]:
        """`model`, `revision` (None for a folder), `sha256` of its files, `max_new_tokens`."""
        files = sorted({path for pattern in _FILES for path in self.folder.glob(pattern)})
        hub = not Path(self.ref).expanduser().is_dir()
        return {
            "model": self.ref.partition("@")[0] if hub else self.folder.resolve().name,
            "revision": self.folder.name if hub else None,
            "sha256": digest({path.name: sha256_file(path) for path in files}),
            "max_new_tokens": MAX_NEW_TOKENS,
        }

    def rows(self, rows: Iterable[Item | Outcome]) -> Iterator[Item | Outcome]:
        """The rows, with a caption where there was none; what is no picture passes as it is."""
        last: Item | None = None  # variants of one picture follow each other
        for row in rows:
            if isinstance(row, Outcome) or row.caption or isinstance(row.data, Reject):
                yield row
                continue
            if last is not None and row.data is last.data:
                yield replace(row, caption=last.caption, machine_caption=last.machine_caption)
                continue
            try:
                image = decode(row.load(512), resolution=512, resize="max-side", min_side=1, max_pixels=self.max_pixels)
            except Reject:
                yield row  # whoever draws it says why
                continue
            caption = self.caption(image)
            last = replace(row, caption=caption or None, machine_caption=bool(caption))
            yield last

    def caption(self, image: Any) -> str:
        """The model's caption of an RGB picture."""
        import torch

        processor, model = self._loaded
        inputs = processor(images=image, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, num_beams=1)
        return str(processor.batch_decode(tokens, skip_special_tokens=True)[0]).strip()

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        from conceptlib.models.devices import choose
        from conceptlib.models.loading import quiet

        placement = choose(dtype="float32")
        try:
            with quiet():
                processor = AutoProcessor.from_pretrained(str(self.folder), trust_remote_code=False)
                model = AutoModelForImageTextToText.from_pretrained(
                    str(self.folder), trust_remote_code=False, use_safetensors=True, dtype=placement.dtype
                )
        except Exception as error:  # the library raises many kinds
            raise ConceptlibError(
                f"the captioner cannot be loaded: {first_line(error)}",
                where=self.ref,
                hint="give an image-to-text model, such as Salesforce/blip-image-captioning-base",
            ) from error
        return processor, model.to(placement.device).eval()

    def _download(self) -> Path:
        """The files in the Hub's cache; their folder is named by the commit."""
        name, _, revision = self.ref.partition("@")
        try:
            return hubfiles.snapshot(name, _FILES, revision or None).folder
        except HubError as error:
            hint = "missing_captions is skip, keep, a folder or a Hub id (org/name)"
            raise error.about("there is no such captioner", hint) from None
