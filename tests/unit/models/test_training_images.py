"""Hashes of training images in a model's metadata."""

import hashlib

import numpy as np
import pytest
from headstart.models import training_images


def digests(n, start=0):
    parts = [hashlib.sha256(str(row).encode()).digest() for row in range(start, start + n)]
    return np.frombuffer(b"".join(parts), np.uint8).reshape(n, 32)


def test_an_image_is_known_by_its_hash():
    listed = training_images.read({training_images.KEY: training_images.encode(digests(100))})
    assert len(listed) == 100
    assert all(row.tobytes() in listed for row in digests(100))
    assert not any(row.tobytes() in listed for row in digests(1000, 100))


def test_an_image_costs_eight_characters_and_copies_cost_none():
    assert len(training_images.encode(digests(10_000))) == 80_000
    twice = np.concatenate([digests(10), digests(10)])
    assert training_images.encode(twice) == training_images.encode(digests(10))


def test_a_model_without_the_list_has_none():
    assert training_images.read({}) is None
    assert len(training_images.read({training_images.KEY: ""})) == 0


@pytest.mark.parametrize("text", ["no base64!", "AAAA"])
def test_another_text_is_refused(text):
    with pytest.raises(ValueError, match="hash"):
        training_images.read({training_images.KEY: text})
