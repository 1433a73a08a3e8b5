from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conceptlib.models.encoding import (
    PromptCache,
    decode_latents,
    encode_ids,
    encode_images,
    fit_boxes,
    fit_image,
    token_ids,
)
from tests.support.models import build_pipeline


@pytest.mark.parametrize("open_clip", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_prompts_are_encoded_as_the_pipeline_does(open_clip: bool, masked: bool) -> None:
    pipe = build_pipeline(open_clip=open_clip)
    pipe.text_encoder.config.use_attention_mask = masked
    prompts = ["a red circle", "", "x" * 200]
    with torch.no_grad():
        ours = encode_ids(pipe.text_encoder, pipe.tokenizer, token_ids(pipe.tokenizer, prompts))
        theirs, _ = pipe.encode_prompt(prompts, "cpu", 1, False)
    assert ours.shape == (3, 77, 32)
    torch.testing.assert_close(ours, theirs)


def test_a_distinct_prompt_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = build_pipeline()
    seen: list[int] = []
    forward = pipe.text_encoder.forward
    monkeypatch.setattr(
        pipe.text_encoder, "forward", lambda ids, **kwargs: seen.append(len(ids)) or forward(ids, **kwargs)
    )
    cache = PromptCache(pipe, size=2)
    first = cache.encode(["a", "b", "a", "a"]).prompt_embeds
    assert torch.equal(first[0], first[2]) and not torch.equal(first[0], first[1])
    cache.encode(["b", "a"])
    assert seen == [2]
    cache.encode(["c", "a"])  # "c" comes in, and the oldest goes
    cache.encode(["c"])
    assert seen == [2, 1]


def test_a_cache_smaller_than_a_batch_still_answers() -> None:
    pipe = build_pipeline()
    assert PromptCache(pipe, size=1).encode(["a", "b", "c"]).prompt_embeds.shape == (3, 77, 32)


def test_latents_are_the_scaled_posterior_mean() -> None:
    pipe = build_pipeline()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    latents = encode_images(pipe.vae, pixels)
    assert latents.shape == (3, 8, 8, 8) and latents.dtype == torch.float32 and latents.is_contiguous()
    with torch.no_grad():
        wanted = (
            pipe.vae.encode(pipe.image_processor.preprocess([Image.fromarray(p) for p in pixels])).latent_dist.mean
            * 0.8
        )
    torch.testing.assert_close(latents, wanted, atol=1e-5, rtol=1e-4)
    assert torch.equal(latents, encode_images(pipe.vae, pixels))


def test_decoding_rounds_as_diffusers_does() -> None:
    pipe = build_pipeline()
    latents = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        decoded = pipe.vae.decode(latents / 0.8).sample
    wanted = np.stack([np.asarray(image) for image in pipe.image_processor.postprocess(decoded, output_type="pil")])
    assert np.array_equal(decode_latents(pipe.vae, latents).numpy(), wanted)


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(fit_image(Image.fromarray(pixels), 32), pixels)


@given(
    width=st.integers(8, 200),
    height=st.integers(8, 200),
    side=st.sampled_from([16, 32, 64]),
    corner=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    extent=st.tuples(st.floats(0.3, 0.5), st.floats(0.3, 0.5)),
)
def test_boxes_go_where_the_pixels_go(
    width: int, height: int, side: int, corner: tuple[float, float], extent: tuple[float, float]
) -> None:
    x1, y1 = int(corner[0] * width), int(corner[1] * height)
    x2, y2 = max(x1 + 1, int((corner[0] + extent[0]) * width)), max(y1 + 1, int((corner[1] + extent[1]) * height))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y1:y2, x1:x2] = 255
    fitted = fit_image(Image.fromarray(pixels), side)
    boxes = fit_boxes(np.array([[x1, y1, x2, y2]]), width, height, side)
    assert fitted.shape == (side, side, 3)
    ys, xs = np.nonzero(fitted[..., 0] > 127)
    if not len(xs):
        return  # cut away, or thinner than a pixel
    assert len(boxes) == 1
    if (boxes[0, 2:] - boxes[0, :2]).min() < 1:
        return  # a sliver at the edge of the cut: which of its pixels are more than half white depends on the filter
    found = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    assert np.abs(found - boxes[0]).max() <= 1.0 + side / min(width, height)


def test_boxes_outside_the_cut_are_gone() -> None:
    assert fit_boxes(np.array([[0, 0, 10, 10], [40, 0, 60, 10]]), 100, 20, 20).tolist() == [[0, 0, 20, 10]]
    assert fit_boxes(np.empty((0, 4)), 100, 20, 20).shape == (0, 4)
