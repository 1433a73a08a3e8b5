"""CLIP score and the judge by a small random CLIP, as on the Hub, against transformers' own similarity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.judges.clip import Clip, ClipJudge, load_clip
from conceptlib.evaluators.metrics._clip import clip_score
from tests.support.models import save_clip

CONCEPTS = ["van gogh", "painting"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


def pictures(n: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40, 30, 3), np.uint8)) for _ in range(n)]


def test_cosines_are_those_of_the_whole_model(clip: Path) -> None:
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

    judge = load_clip(str(clip))
    found = judge.embed(pictures(3)) @ judge.concepts(CONCEPTS).T
    rows = [{"value": "van gogh"}] * 3
    read = ClipJudge(judge, "painting", ("van gogh",)).read(pictures(3), rows)
    assert read.similarity is not None and read.recognised is not None
    np.testing.assert_array_equal(read.similarity, found[:, 0])
    np.testing.assert_array_equal(read.recognised, found[:, 0] > found[:, 1])
    model = CLIPModel.from_pretrained(clip)
    texts = AutoTokenizer.from_pretrained(clip)(
        [f"A photo depicts {c}" for c in CONCEPTS], padding=True, return_tensors="pt"
    )
    pixels = CLIPImageProcessor.from_pretrained(clip)(images=pictures(3), return_tensors="pt").pixel_values
    logits = model(pixel_values=pixels, **texts).logits_per_image.detach().numpy()
    np.testing.assert_allclose(found, logits / float(model.logit_scale.detach().exp()), rtol=1e-3, atol=1e-5)
    assert found.shape == (3, 2) and found.dtype == np.float32
    assert set(judge.lock()) == {"clip", "clip_sha256"} and len(judge.sha256) == 64


def test_the_batch_changes_nothing(clip: Path) -> None:
    judge = load_clip(str(clip))
    many = judge.embed(pictures(70))
    assert many.shape[0] == 70
    np.testing.assert_allclose(many[66:], judge.embed(pictures(70)[66:]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, rtol=1e-5)


def test_the_scores_are_kumaris() -> None:
    cosines, anchor = np.array([0.3, -0.2, 0.1, 0.25]), np.array([0.1, 0.1, 0.2, 0.25])
    assert clip_score(cosines).value == pytest.approx(2.5 * (0.3 + 0 + 0.1 + 0.25) / 4)
    given = np.stack([cosines, anchor], axis=1)  # as if these were the images, and the texts the axes
    judge = ClipJudge(Clip("x", "", lambda batch: given, lambda texts: np.eye(2)), "painting", ("van gogh",))
    read = judge.read(pictures(4), [{"value": "van gogh"}] * 4)
    assert read.recognised is not None
    assert read.recognised.tolist() == [True, False, False, False]  # as near as the anchor is no hit


def test_what_is_no_clip_is_told(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(ConceptlibError, match="no safetensors"):
        load_clip(str(tmp_path))
    with pytest.raises(ConceptlibError, match="not on this machine"):
        load_clip("nobody/nothing")
    (tmp_path / "model.safetensors").write_bytes((clip / "model.safetensors").read_bytes())
    with pytest.raises(ConceptlibError, match="no CLIP"):
        load_clip(str(tmp_path))
    with pytest.raises(ConceptlibError, match="no pictures"):
        load_clip(str(clip)).embed([])
