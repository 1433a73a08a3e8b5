"""CLIP score and CLIP accuracy (Kumari et al., ICCV 2023): does a picture show a concept, to a CLIP?

- CLIP score: 2.5 max(cos(picture, "A photo depicts {concept}"), 0), mean over pictures (Hessel et al., EMNLP 2021).
- CLIP accuracy: share of pictures nearer to the concept than to the anchor. Low is good of what was erased, high of
  its neighbours.

Any CLIP of `transformers` will do: a Hub id with an optional `@revision`, or a folder. A figure depends on the network,
so a score names it and its weights' hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from conceptlib.detectors.batches import batches
from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.features import BATCH, pretrained_folder
from conceptlib.evaluators.stats import Estimate, mean, wilson

PROMPT = "A photo depicts {}"
WEIGHT = 2.5


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
        parts = [self.pictures(batch) for batch in batches(pictures, BATCH)]
        if not parts:
            raise ConceptlibError("there are no pictures to compare with a concept")
        return np.concatenate(parts)

    def cosines(self, pictures: np.ndarray, concepts: Sequence[str]) -> np.ndarray:
        """Cosines of embedded pictures (n, d) and "A photo depicts {concept}": float32 (n, concepts)."""
        return pictures @ self.texts([PROMPT.format(concept) for concept in concepts]).T


def clip_score(cosines: np.ndarray) -> Estimate:
    """Mean of 2.5 max(cos, 0) over pictures, with its normal 95 % interval.

    Args:
        cosines: (n,), in [-1, 1].

    Raises:
        ConceptlibError: no pictures.
    """
    return mean(WEIGHT * np.maximum(cosines, 0))


def clip_accuracy(cosines: np.ndarray, anchor: np.ndarray) -> Estimate:
    """Share of pictures that are nearer to the concept than to the anchor, with its Wilson 95 % interval.

    Args:
        cosines, anchor: (n,), of each picture with the concept and with the anchor.

    Raises:
        ConceptlibError: no pictures.
    """
    return wilson(int(np.sum(cosines > anchor)), len(cosines))


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

    @torch.no_grad()
    def pictures(batch: list[Image.Image]) -> np.ndarray:
        pixels = processor(images=batch, return_tensors="pt").pixel_values.to(model.device)
        return unit(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output))

    @torch.no_grad()
    def texts(prompts: Sequence[str]) -> np.ndarray:
        length = model.config.text_config.max_position_embeddings
        inputs = tokenizer(list(prompts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        return unit(model.text_projection(model.text_model(**inputs.to(model.device)).pooler_output))

    return Clip(name, digest({path.name: sha256_file(path) for path in weights}), pictures, texts)
