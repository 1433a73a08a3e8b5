"""Networks that images are compared by: each is named, and pinned by the hash of its weights.

A world's judge lends its features under the world's name: `tiny`, the classifier of the embedded world, right for the
world's images and for nothing else. Any other name is a vision model for `transformers.AutoModel`: a Hub id
(`facebook/dinov2-small`, `org/name@revision`) or a folder; its features are the pooled output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from conceptlib import hubfiles
from conceptlib.errors import ConceptlibError
from conceptlib.huberrors import HubError
from conceptlib.worlds import Judge, worlds

BATCH = 64
T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`, the last one shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


@dataclass(frozen=True)
class Extractor:
    """A feature network.

    Args:
        name: as it was asked for.
        sha256: of its weights.
        run: RGB pictures to features, float32 (n, d).
    """

    name: str
    sha256: str
    run: Callable[[list[Image.Image]], np.ndarray]

    def lock(self) -> dict[str, str]:
        """What a score must say about the features it rests on."""
        return {"features": self.name, "features_sha256": self.sha256}

    def features(self, pictures: Iterable[Image.Image]) -> np.ndarray:
        """Features of any number of pictures, float32 (n, d); memory for one batch of pictures."""
        parts = [self.run(batch) for batch in batched(pictures, BATCH)]
        if not parts:
            raise ConceptlibError("there are no pictures to take features of")
        return np.concatenate(parts)


def load_extractor(name: str, device: str | None = None) -> Extractor:
    """The feature network of that name.

    Args:
        name: a world whose judge lends its features (`tiny`), a Hub id with an optional `@revision`, or a folder.
        device: for networks of `transformers`; the CPU if None.

    Raises:
        ConceptlibError: no such network here or on the Hub, or it is no vision model.
    """
    if (judge := _lender(name)) is not None:
        return Extractor(name, judge.sha256, judge.features)
    return _pretrained(name, device or "cpu")


def network_lock(name: str) -> dict[str, str]:
    """`load_extractor(name).lock()`, without loading what is known by its hash alone."""
    if (judge := _lender(name)) is not None:
        return {"features": name, "features_sha256": judge.sha256}
    return load_extractor(name).lock()


def _lender(name: str) -> Judge | None:
    """The judge of the world of that name, if there is one."""
    return next((one.judge() for one in worlds() if one.name == name), None)


def _pretrained(name: str, device: str) -> Extractor:
    import torch
    from transformers import AutoImageProcessor, AutoModel

    from conceptlib.store.hashing import digest, sha256_file

    folder = pretrained_folder(name)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ConceptlibError(
            "this feature network has no safetensors weights", where=name, hint="facebook/dinov2-small is one that has"
        )
    try:
        loader: Any = AutoImageProcessor  # untyped in transformers
        processor = loader.from_pretrained(folder, use_fast=False)
        model: Any = AutoModel.from_pretrained(folder, use_safetensors=True).eval().to(device)
    except (OSError, ValueError, KeyError) as error:
        raise ConceptlibError(
            f"this is no vision model that transformers can load: {str(error).splitlines()[0]}",
            where=name,
            hint="try facebook/dinov2-small",
        ) from error
    tower = getattr(model, "vision_model", model)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def run(pictures: list[Image.Image]) -> np.ndarray:
        pixels = processor(images=pictures, return_tensors="pt").pixel_values.to(device)
        out = tower(pixel_values=pixels)
        pooled = out.pooler_output if getattr(out, "pooler_output", None) is not None else out.last_hidden_state[:, 0]
        return np.asarray(pooled.flatten(1).float().cpu().numpy(), np.float32)

    return Extractor(name, digest({path.name: sha256_file(path) for path in weights}), run)


def pretrained_folder(name: str) -> Path:
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    repo, _, revision = name.partition("@")
    try:
        return hubfiles.snapshot(repo, ["*.json", "*.safetensors"], revision or None).folder
    except HubError as error:
        hint = "a folder here is read as well; features=tiny needs none, for pictures of the embedded world"
        raise error.about("this feature network cannot be fetched", hint) from None
