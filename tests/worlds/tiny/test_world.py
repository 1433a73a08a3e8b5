import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptlib.worlds.tiny import world

POLLUTION = re.compile(r"qr|code|watermark|text|word|letter|logo|sticker|stamp", re.IGNORECASE)


def test_world_is_large_enough():
    assert (len(world.OBJECTS), len(world.COLOURS), len(world.BACKGROUNDS), len(world.STYLES)) == (8, 8, 6, 5)


@given(st.integers(0, 2**32), st.integers(0, 10**9), st.sampled_from(world.SPLITS))
@settings(max_examples=150, deadline=None)
def test_captions_state_the_scene_and_never_the_pollution(seed, index, split):
    row = world.row(seed, index, split)
    assert world.parse(row.caption) == row.labels
    assert ("plain" in row.caption) is False
    assert POLLUTION.search(row.caption) is None
    assert "{" not in row.caption and row.caption == row.caption.strip()
    assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", row.caption)


@given(st.integers(0, 1000), st.integers(0, 50), st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_a_row_depends_on_seed_and_index_alone(seed, start, n):
    taken = list(world.rows(seed, n, start))
    assert [row.index for row in taken] == list(range(start, start + n))
    assert taken == [world.row(seed, index) for index in range(start, start + n)]


def test_pictures_are_deterministic_and_differ():
    first, again = (np.stack([np.asarray(row.image()) for row in world.rows(3, 12)]) for _ in range(2))
    assert np.array_equal(first, again)
    assert len({picture.tobytes() for picture in first}) == 12


def test_held_out_is_another_stream():
    train, held_out = list(world.rows(0, 50)), list(world.rows(0, 50, split="held-out"))
    assert not any(a.scene == b.scene for a, b in zip(train, held_out, strict=True))


@pytest.mark.parametrize("name", world.OBJECTS)
def test_every_object_shows_its_colour_in_the_middle_of_every_background(name):
    for background in world.BACKGROUNDS:
        picture = np.asarray(world.render(world.Scene(name, "purple", background)), dtype=int)
        near = np.abs(picture - world.RGB["purple"]).max(-1) < 12
        assert near.sum() > 150
        ys, xs = np.nonzero(near)
        assert abs(ys.mean() - 32) < 8 and abs(xs.mean() - 32) < 10


@pytest.mark.parametrize("size", [32, 64, 128])
def test_render_at_other_sizes(size):
    picture = world.render(world.row(0, 1).scene, size)
    assert picture.mode == "RGB" and picture.size == (size, size)


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="crimson"):
        world.Scene("star", "crimson", "white")
    with pytest.raises(ValueError, match="split"):
        world.row(0, 0, "test")
