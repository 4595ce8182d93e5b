"""Copies: found whether their bytes are equal or not, and never more than there are."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.datasets.images import miniature
from headstart.evaluation import duplicates, neighbours
from headstart.evaluation.duplicates import find
from hypothesis import given
from hypothesis import strategies as st


def images(n=40, d=16, seed=0):
    """Return features, hashes and miniatures of images that have nothing in common."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 4, 4, 3), np.uint8)
    pixels = coarse.repeat(8, axis=1).repeat(8, axis=2)
    features = rng.normal(size=(n, d)).astype(np.float32)
    return features, rng.integers(256, size=(n, 32), dtype=np.uint8), pixels


def copy(data, source, to, noise=0.0, same_bytes=False, mirrored=False):
    features, sha256, pixels = data
    rng = np.random.default_rng(to)
    features[to] = features[source] + noise * rng.normal(size=features.shape[1])
    pixels[to] = pixels[source][:, ::-1] if mirrored else pixels[source]
    sha256[to] = sha256[source] if same_bytes else rng.integers(256, size=32)


def test_images_without_copies_are_left_alone():
    found = find(*images())
    assert found.rows.tolist() == []
    assert found.group.tolist() == list(range(40))
    assert (found.closest == -1).all()
    assert not found.exact.any()
    assert np.isnan(found.cosine).all()
    assert np.isnan(found.correlation).all()


def test_exact_near_and_mirrored_copies_are_one_group_when_connected():
    data = images()
    copy(data, 3, 30, same_bytes=True)
    copy(data, 3, 20, noise=0.05)
    copy(data, 7, 8, noise=0.05, mirrored=True)
    found = find(*data)
    assert found.rows.tolist() == [3, 20, 30, 7, 8]
    assert found.group[[3, 20, 30]].tolist() == [3, 3, 3]
    assert found.group[[7, 8]].tolist() == [6 + 1, 7]
    assert found.closest[[3, 30, 20, 7, 8]].tolist() == [30, 3, 3, 8, 7]
    assert np.flatnonzero(found.exact).tolist() == [3, 30]
    assert found.cosine[[3, 30]].tolist() == [1, 1]
    assert 0.9 < found.cosine[20] < 1
    assert found.correlation[[3, 20, 30, 7]] == pytest.approx([1, 1, 1, 1], abs=1e-5)


def test_features_alone_or_pixels_alone_make_no_copy():
    features, sha256, pixels = images()
    features[1] = features[0]  # two products on the same hanger
    pixels[3] = pixels[2]  # two white shirts on a white wall, at 32 pixels
    assert find(features, sha256, pixels).rows.tolist() == []
    assert find(features, sha256, None).rows.tolist() == [0, 1]  # the cosine is all there is
    assert np.isnan(find(features, sha256, None).correlation).all()


def test_a_tight_class_is_no_group_without_miniatures():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(100, 64)).repeat(2, axis=0)
    features = (centres + 0.1 * rng.normal(size=(200, 64))).astype(np.float32)
    sha256 = rng.integers(256, size=(200, 32), dtype=np.uint8)
    assert find(features, sha256, None).rows.tolist() == []


def test_only_equal_bytes_where_no_more_is_wanted():
    data = images()
    copy(data, 1, 2)
    copy(data, 5, 4, same_bytes=True)
    assert find(*data, near=False).rows.tolist() == [4, 5]


def test_brightness_and_contrast_do_not_hide_a_copy():
    data = images()
    copy(data, 0, 1, noise=0.02)
    data[2][1] = (data[2][1] * 0.5 + 20).astype(np.uint8)
    assert find(*data).rows.tolist() == [0, 1]


def test_flat_images_are_copies_of_flat_ones_with_the_same_features_only():
    features, sha256, pixels = images()
    pixels[:4] = 200
    features[:4] = np.eye(16)[[0, 0, 1, 2]]
    features[3] *= -1
    assert find(features, sha256, pixels).rows.tolist() == [0, 1]


@pytest.mark.parametrize("value", [0, np.nan, np.inf, 1e38])
def test_features_that_have_no_direction_have_no_copies(value):
    data = images()
    copy(data, 0, 1)
    data[0][:2] = value
    if value == 1e38:
        data[0][0, 0] = -1e38
    assert find(*data).rows.tolist() == []


def test_all_images_identical():
    features, sha256, pixels = images(5)
    same = [np.repeat(values[:1], 5, axis=0) for values in (features, sha256, pixels)]
    found = find(*same)
    assert found.group.tolist() == [0] * 5
    assert found.exact.all()
    assert (found.closest != np.arange(5)).all()
    different_bytes = find(same[0], sha256, same[2])
    assert different_bytes.group.tolist() == [0] * 5
    assert not different_bytes.exact.any()


def photo(seed, side=96):
    """Return a picture with detail of all sizes, whose parts differ."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((side, side, 3))
    for cells in (4, 8, 16):
        coarse = rng.normal(0, 40, (cells, cells, 3)).mean(axis=2, keepdims=True)
        picture += coarse.repeat(side // cells, axis=0).repeat(side // cells, axis=1)
    return np.clip(picture + rng.uniform(80, 160, 3), 0, 255).astype(np.uint8)


def cropped(picture, keep, offset):
    cut = round(picture.shape[0] * keep)
    return picture[offset : offset + cut, offset : offset + cut]


def framed(picture):
    return np.pad(picture, ((5, 5), (5, 5), (0, 0)), constant_values=255)


COPIES = {
    "cropped by 10 %": lambda picture: cropped(picture, 0.9, 2),
    "cropped by 20 %": lambda picture: cropped(picture, 0.8, 14),
    "cropped and mirrored": lambda picture: cropped(picture, 0.9, 4)[:, ::-1],
    "framed": framed,
    "turned by a quarter": lambda picture: np.rot90(picture),
    "turned by three quarters": lambda picture: np.rot90(picture, 3),
    "darker": lambda picture: (picture * 0.7).astype(np.uint8),
}


@pytest.mark.parametrize("kind", COPIES)
def test_changed_copies_are_near_duplicates(kind):
    features, sha256, _ = images(12)
    pictures = [photo(seed) for seed in range(12)]
    pictures[7] = COPIES[kind](pictures[2])
    features[7] = features[2] + 0.1
    pixels = np.stack([miniature(np.ascontiguousarray(picture)) for picture in pictures])
    found = find(features, sha256, pixels)
    assert found.rows.tolist() == [2, 7]
    assert not found.recoloured.any()


def test_a_copy_of_another_colour_is_marked():
    features, sha256, _ = images(12)
    pictures = [photo(seed) for seed in range(12)]
    pictures[7] = np.roll(pictures[2], 1, axis=2)
    pictures[2], pictures[7] = (
        np.clip(p.astype(int) + tint, 0, 255).astype(np.uint8)
        for p, tint in ((pictures[2], (60, 0, -60)), (pictures[2], (-60, 0, 60)))
    )
    features[7] = features[2]
    pixels = np.stack([miniature(picture) for picture in pictures])
    found = find(features, sha256, pixels)
    assert found.rows.tolist() == [2, 7]
    assert found.recoloured[[2, 7]].all()


def test_other_objects_on_one_background_are_a_session_and_no_copies():
    features, sha256, _ = images(12)
    pictures = [photo(seed) for seed in range(12)]
    table = photo(50)
    for row in (2, 7):
        pictures[row] = table.copy()
        pictures[row][20:76, 20:76] = photo(60 + row)[20:76, 20:76]
        features[row] = features[2]
    pixels = np.stack([miniature(picture) for picture in pictures])
    found = find(features, sha256, pixels)
    assert found.rows.tolist() == []
    assert set(found.session_rows.tolist()) <= {2, 7}


@pytest.mark.slow
def test_many_copies_are_one_group_though_each_has_closer_ones():
    features, sha256, _ = images(90)
    rng = np.random.default_rng(0)
    pictures = [photo(seed) for seed in range(90)]
    for row in range(20, 45):
        pictures[row] = pictures[3]
        features[row] = features[3] + rng.normal(0, 0.05, features.shape[1])
    pixels = np.stack([miniature(picture) for picture in pictures])
    assert find(features, sha256, pixels).rows.tolist() == [3, *range(20, 45)]


def test_no_image_and_one_image():
    assert find(*images(0)).group.tolist() == []
    assert find(*images(1)).group.tolist() == [0]


@pytest.mark.slow
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39), st.booleans()), max_size=12),
    st.sampled_from([1, 3, 7, 40, 100]),
)
def test_tiles_and_order_do_not_matter_and_groups_are_what_copies_connect(seed, copies, block):
    data = images(seed=seed)
    for source, to, same_bytes in copies:
        if source != to:
            copy(data, source, to, same_bytes=same_bytes)
    whole = find(*data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "BLOCK", block)
        patch.setattr(neighbours, "BLOCK", block)
        tiled = find(*data)
    assert np.array_equal(tiled.group, whole.group)
    assert np.array_equal(tiled.exact, whole.exact)
    # Copies here are perfect, so a group is a set of equal miniatures.
    _, content = np.unique(data[2].reshape(40, -1), axis=0, return_inverse=True)
    same = content[:, None] == content
    assert np.array_equal(whole.group[:, None] == whole.group, same)
    has_copy = same.sum(axis=1) > 1
    assert np.array_equal(whole.closest >= 0, has_copy)
    rows = np.flatnonzero(has_copy)
    assert (whole.closest[rows] != rows).all()
    assert np.array_equal(content[whole.closest[rows]], content[rows])
    hashes = [row.tobytes() for row in data[1]]
    for row in rows:
        assert whole.exact[row] == (hashes.count(hashes[row]) > 1)
        assert whole.exact[row] == (hashes[whole.closest[row]] == hashes[row])
