"""The one loop: read, decode, infer."""

from __future__ import annotations

import numpy as np
import pytest
from factories import write_image
from headstart import datasets
from headstart.backbones.inference import extract as extract_module
from headstart.backbones.inference.extract import batches, extract, features_of, images_of
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import RunnerError
from headstart.datasets.images import decode
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Give 21 images as `extract` takes them; the fifth is damaged."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(21):
        write_image(root / "ab"[number % 2] / f"{number:02}.png", number)
    (root / "a" / "04.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    listing = datasets.open_source(root)
    return images_of(listing, listing.images)


@pytest.mark.slow
@given(st.integers(0, 30), st.integers(1, 9))
def test_batches_are_full_but_the_last_and_in_order(count, size):
    decoded = ((number, np.full((2, 3, 3), number, np.uint8)) for number in range(count))
    found = list(batches(decoded, size))
    assert [number for numbers, _ in found for number in numbers] == list(range(count))
    assert all(len(numbers) == size for numbers, _ in found[:-1])
    for numbers, crops in found:
        assert crops.shape == (len(numbers), 2, 3, 3)
        assert (crops[:, 0, 0, 0] == numbers).all()


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("batch", [1, 3, None])
def test_features_are_those_of_single_images_bit_for_bit(photos, tiny_backbone, workers, batch):
    single, runner = Runner(tiny_backbone), Runner(tiny_backbone, batch=batch)
    found = features_of(photos, [single if batch is None else runner, single], workers)
    assert found.rows.tolist() == [
        row for row, image in enumerate(photos) if "04" not in image.path
    ]
    assert len(found.failures) == 1
    for row, *features in zip(found.rows, *found.features, strict=True):
        crop = decode(datasets.read(*photos[row])[0], single.backbone.preprocess)
        for vector in features:
            assert np.array_equal(vector, single.embed(crop[np.newaxis])[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "batch", "sizes"),
    [(1, 1, [8, 8, 5]), (7, 1, [3] * 7), (40, 1, [1] * 21), (7, 4, [4] * 5 + [1])],
)
def test_few_images_are_shared_among_the_workers(
    photos, tiny_backbone, monkeypatch, workers, batch, sizes
):
    chunks = []

    def noted(work, items, count):
        for item in items:
            chunks.append(len(item))
            yield work(item)

    monkeypatch.setattr(extract_module, "run_threads", noted)
    found = features_of(photos, [Runner(tiny_backbone, batch=batch)], workers)
    assert chunks == sizes
    assert len(found.rows) == 20


@pytest.mark.slow
def test_what_cannot_be_used_is_named_with_its_reason(photos, tiny_backbone):
    broken = [image for image in photos if "04" in image.path]
    found = features_of(broken, [Runner(tiny_backbone)], 1)
    assert (found.rows.tolist(), found.features[0].shape) == ([], (0, 12))
    assert found.failures.keys() == {0}
    assert found.failures[0].isprintable()


@pytest.mark.slow
def test_networks_may_return_anything(photos, tiny_backbone):
    preprocess = Runner(tiny_backbone).backbone.preprocess
    seen = extract(photos, preprocess, [len, np.shape], 2, batch=5)
    counts = [(result.numbers, *result.outputs) for result in seen if result.numbers]
    assert sum(count for _, count, _ in counts) == 20
    assert all(shape == (len(numbers), 32, 32, 3) for numbers, _, shape in counts)
    assert max(count for _, count, _ in counts) == 5


def test_an_inference_that_fails_ends_it(photos, tiny_backbone):
    def fail(crops):
        raise RunnerError("inference failed: no memory")

    with pytest.raises(RunnerError, match="no memory"):
        list(extract(photos, Runner(tiny_backbone).backbone.preprocess, [fail], 2))
