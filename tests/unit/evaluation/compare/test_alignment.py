"""Several stores: the images that all hold, in one order, or a clear word on why not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from headstart.core.errors import InputError
from headstart.core.records import FeatureSet
from headstart.evaluation.compare.alignment import align, backbone_names
from hypothesis import given
from hypothesis import strategies as st


def store_of(images, backbone="a", dim=2, pixels=False, **facts):
    """A store of ``(content, path)`` pairs; a row's first feature is its content."""
    contents = np.array([content for content, _ in images], np.uint8)
    sha256 = np.zeros((len(images), 32), np.uint8)
    sha256[:, 0] = contents
    return FeatureSet(
        features=np.tile(contents.astype(np.float32)[:, None], (1, dim)),
        path=[path for _, path in images],
        label=(contents % 2).astype(np.int32),
        split=["test" if content % 3 == 0 else "train" for content, _ in images],
        sha256=sha256,
        classes=("even", "odd"),
        extraction={"backbone": {"name": backbone, **facts}},
        digest=f"digest of {backbone} {facts}",
        pixels=np.tile(contents[:, None, None, None], (1, 32, 32, 3)) if pixels else None,
        failures=[],
        name="photos",
        model=f"{backbone}.onnx",
    )


def letters(*contents):
    return [(content, f"{content}.jpg") for content in contents]


def test_one_store_is_itself():
    store = store_of(letters(1, 2))
    assert align([store]) == ([store], [])


@pytest.mark.slow
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), unique=True, max_size=14),
        min_size=2,
        max_size=3,
    )
)
def test_rows_of_all_stores_are_the_same_images(kinds):
    """Contents 0 to 6, up to four copies of each; paths agree or not."""
    stores = [
        store_of([(content, f"{content}-{copy}.jpg") for content, copy in images], f"b{i}")
        for i, images in enumerate(kinds)
    ]
    counts = [np.bincount([content for content, _ in images], minlength=7) for images in kinds]
    expected = int(np.min(counts, axis=0).sum())
    if not expected:
        with pytest.raises(InputError, match="no image in common"):
            align(stores)
        return
    aligned, warnings = align(stores)
    assert [len(store.path) for store in aligned] == [expected] * len(stores)
    for store, original in zip(aligned, stores, strict=True):
        assert np.array_equal(store.features[:, 0], store.sha256[:, 0])
        assert store.digest == original.digest
        assert store.model == original.model
        assert store.path == aligned[0].path
        assert np.array_equal(store.label, store.sha256[:, 0] % 2)
    rows = [stores[0].path.index(path) for path in aligned[0].path]
    assert rows == sorted(rows)
    assert bool(warnings) == any(len(images) > expected for images in kinds)


def test_what_is_left_out_is_told_by_store():
    first, second = store_of(letters(1, 2, 3, 4)), store_of(letters(4, 9, 2), "b", dim=5)
    (a, b), (warning,) = align([first, second])
    assert a.features[:, 0].tolist() == b.features[:, 0].tolist() == [2, 4]
    assert b.features.shape == (2, 5)
    assert warning.text == (
        "Compared on the 2 images that all stores share; left out: 2 of a, 1 of b."
    )


def test_images_are_the_same_by_their_bytes_not_by_their_paths():
    moved = [(content, f"elsewhere/{content}.png") for content in (3, 1, 2)]
    (a, b), warnings = align([store_of(letters(1, 2, 3)), store_of(moved, "b")])
    assert b.features[:, 0].tolist() == [1, 2, 3]
    assert b.path == a.path == ["1.jpg", "2.jpg", "3.jpg"]
    assert warnings == []
    changed = [(7, "1.jpg"), (2, "2.jpg")]
    (a, _), _ = align([store_of(letters(1, 2)), store_of(changed, "b")])
    assert a.path == ["2.jpg"]


def test_classes_may_be_in_another_order():
    other = store_of(letters(1, 2, 3), "b")
    other = dataclasses.replace(other, classes=("odd", "even"), label=1 - other.label)
    _, b = align([store_of(letters(1, 2, 3)), other])[0]
    assert b.classes == ("even", "odd")
    assert b.label.tolist() == [1, 0, 1]


def test_miniatures_are_those_of_the_first_store_that_has_them():
    (a, b), _ = align([store_of(letters(1, 2)), store_of(letters(2, 1), "b", pixels=True)])
    assert a.pixels is b.pixels
    assert a.pixels[:, 0, 0, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": np.array([0, 0, 0], np.int32)},
         "stores 1 and 2 disagree about the label of 2 images, for instance 1.jpg: odd and even"
         "; run headstart features again"),
        ({"label": np.array([1, 0, -1], np.int32)},
         "the label of 1 image, for instance 3.jpg: odd and empty"),
        ({"split": ["train"] * 3},
         "the split of 1 image, for instance 3.jpg: test and train"),
    ],
)  # fmt: skip
def test_stores_that_contradict_each_other_are_refused(change, message):
    other = dataclasses.replace(store_of(letters(1, 2, 3), "b"), **change)
    with pytest.raises(InputError, match=message):
        align([store_of(letters(1, 2, 3)), other])


def test_the_same_extraction_twice_is_refused():
    stores = [store_of(letters(1)), store_of(letters(1), "b"), store_of(letters(1, 2))]
    message = r"stores 1 and 3 have the same backbone .* \(a\).*use each backbone once"
    with pytest.raises(InputError, match=message):
        align(stores)


def test_backbones_of_one_name_are_told_apart_by_what_differs():
    stores = [
        store_of(letters(1), "net", layer="conv1", weights_sha256="ab" * 32),
        store_of(letters(1), "net", layer="conv2", weights_sha256="cd" * 32),
        store_of(letters(1), "other", layer="conv1", weights_sha256="ab" * 32),
    ]
    assert backbone_names(stores) == [
        "net (layer=conv1, weights_sha256=abababab…)",
        "net (layer=conv2, weights_sha256=cdcdcdcd…)",
        "other",
    ]
    assert backbone_names(stores[:1]) == ["net"]


def test_names_that_differ_in_what_is_cut_off_are_told_apart_by_digest():
    layers = ["blocks.5.0.conv_pwl, blocks.6", "blocks.5.0.conv_pwl, blocks.7"]
    stores = [
        dataclasses.replace(store_of(letters(1), "net", layer=layer), digest=f"{number}" * 64)
        for number, layer in enumerate(layers)
    ]
    assert backbone_names(stores) == [
        "net (layer=blocks.5…) (digest 00000000)",
        "net (layer=blocks.5…) (digest 11111111)",
    ]
