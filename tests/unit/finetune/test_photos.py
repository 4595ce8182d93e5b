"""Images of a training are read again only if their bytes are those that were embedded."""

from __future__ import annotations

import hashlib

import pytest
from factories import write_image
from headstart import datasets
from headstart.core.errors import InputError
from headstart.finetune.photos import Photo, read_again


@pytest.fixture
def photo(tmp_path):
    path = write_image(tmp_path / "photos" / "cat" / "a.png", seed=0)
    write_image(tmp_path / "photos" / "dog" / "b.png", seed=1)
    listing = datasets.open_source(str(tmp_path / "photos"))
    ref = next(ref for ref in listing.images if ref.path.endswith("a.png"))
    return Photo(listing, ref, hashlib.sha256(path.read_bytes()).digest(), 1), path


def test_the_bytes_that_were_embedded_are_returned(photo):
    image, path = photo
    assert read_again(image) == path.read_bytes()


def test_an_image_that_has_changed_is_refused(photo):
    image, path = photo
    write_image(path, seed=2)
    with pytest.raises(InputError, match=r"a\.png has changed"):
        read_again(image)


def test_an_image_that_is_gone_is_refused(photo):
    image, path = photo
    path.unlink()
    with pytest.raises(InputError, match=r"a\.png.*run the command again"):
        read_again(image)
