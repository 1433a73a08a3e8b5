"""A CLIP judges: is an image nearer to what its caption names than to an anchor? (Kumari et al., ICCV 2023)

- *recognised*: cos(image, "A photo depicts {concept}") is more than with the anchor in the concept's place;
- *similarity*: that cosine, of which `target_clip_score` and `retain_clip_score` are made.

Any CLIP of `transformers` will do: a Hub id with an optional `@revision`, or a folder. A figure depends on the network,
so the lock names it and its weights' hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image
from pydantic import model_validator

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.base import Prompts, Reading
from conceptlib.evaluators.features import BATCH, batched, pretrained_folder
from conceptlib.evaluators.job import Job
from conceptlib.specs.params import Params as BaseParams

GIVES = ("recognised", "similarity")
PROMPT = "A photo depicts {}"


class Params(BaseParams):
    """network: the CLIP (a Hub id or a folder); null for no CLIP. anchor: what the target is to become."""

    network: str | None = None
    anchor: str | None = None

    @model_validator(mode="after")
    def _both(self) -> Params:
        if bool(self.network) != bool(self.anchor):
            raise ValueError("a CLIP judges against an anchor: name both the network (clip=) and the `anchor`")
        return self


def reads(params: Params, prompts: Prompts) -> bool:
    """Whether it can judge these: any captions that name something."""
    return bool(params.network) and bool(prompts.values)


def load(params: Params, job: Job, prompts: Prompts) -> ClipJudge:
    """The judge. Raises ConceptlibError: there is no such CLIP."""
    return ClipJudge(load_clip(str(params.network), job.device), str(params.anchor), prompts.values)


@dataclass(frozen=True)
class ClipJudge:
    """Compares with each of the values and with the anchor."""

    clip: Clip
    anchor: str
    values: tuple[str, ...]

    def lock(self) -> dict[str, str]:
        return self.clip.lock()

    @cached_property
    def texts(self) -> np.ndarray:
        return self.clip.concepts([*self.values, self.anchor])

    def read(self, images: Sequence[Image.Image], rows: Sequence[Mapping[str, Any]]) -> Reading:
        """Whether each image is nearer to its row's value than to the anchor."""
        cosines = self.clip.embed(images) @ self.texts.T
        own = cosines[np.arange(len(rows)), [self.values.index(row["value"]) for row in rows]]
        return Reading(recognised=own > cosines[:, -1], similarity=own)


@dataclass(frozen=True)
class Clip:
    """A CLIP that compares pictures with concepts.

    Args:
        name: as it was asked for.
        sha256: of its weights.
        pictures, texts: RGB pictures, or texts, to unit vectors, float32 (n, d).
    """

    name: str
    sha256: str
    pictures: Callable[[list[Image.Image]], np.ndarray]
    texts: Callable[[Sequence[str]], np.ndarray]

    def lock(self) -> dict[str, str]:
        """What a score must say about the network it rests on."""
        return {"clip": self.name, "clip_sha256": self.sha256}

    def embed(self, pictures: Iterable[Image.Image]) -> np.ndarray:
        """Unit vectors of any number of pictures, float32 (n, d); memory for one batch of pictures.

        Raises:
            ConceptlibError: no pictures.
        """
        parts = [self.pictures(batch) for batch in batched(pictures, BATCH)]
        if not parts:
            raise ConceptlibError("there are no pictures to compare with a concept")
        return np.concatenate(parts)

    def concepts(self, names: Sequence[str]) -> np.ndarray:
        """Unit vectors of "A photo depicts {name}": float32 (names, d)."""
        return self.texts([PROMPT.format(name) for name in names])


def load_clip(name: str, device: str | None = None) -> Clip:
    """The CLIP of that name, for `device` (the CPU if None).

    Raises:
        ConceptlibError: no such network here or on the Hub, or it is no CLIP with safetensors weights.
    """
    import torch
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

    from conceptlib.store.hashing import digest, sha256_file

    folder = pretrained_folder(name)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ConceptlibError(
            "this CLIP has no safetensors weights", where=name, hint="laion/CLIP-ViT-B-32-laion2B-s34B-b79K has"
        )
    try:
        image_loader: Any = CLIPImageProcessor  # untyped in transformers
        text_loader: Any = AutoTokenizer
        processor, tokenizer = image_loader.from_pretrained(folder), text_loader.from_pretrained(folder)
        model: Any = CLIPModel.from_pretrained(folder, use_safetensors=True).eval().to(device or "cpu")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ConceptlibError(
            f"this is no CLIP that transformers can load: {str(error).splitlines()[0]}", where=name
        ) from error

    def unit(vectors: torch.Tensor) -> np.ndarray:
        return np.asarray(torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy(), np.float32)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def pictures(batch: list[Image.Image]) -> np.ndarray:
        pixels = processor(images=batch, return_tensors="pt").pixel_values.to(model.device)
        return unit(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def texts(prompts: Sequence[str]) -> np.ndarray:
        length = model.config.text_config.max_position_embeddings
        inputs = tokenizer(list(prompts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        return unit(model.text_projection(model.text_model(**inputs.to(model.device)).pooler_output))

    return Clip(name, digest({path.name: sha256_file(path) for path in weights}), pictures, texts)
