"""Folders and files behind URLs."""

from __future__ import annotations

from pathlib import Path

import fsspec
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from headstart import datasets as sources
from headstart.core.errors import ImageError
from headstart.datasets import open_source
from image_files import (
    PHOTOS,
    arrow,
    contents,
    photo,
    refused,
    rows,
    tar,
    zipped,
)


class TestUrls:
    @pytest.fixture
    def bucket(self):
        memory = fsspec.filesystem("memory")
        memory.store.clear()
        memory.pseudo_dirs[:] = [""]
        yield memory
        memory.store.clear()

    def test_a_folder_behind_a_url(self, bucket):
        for name, data in PHOTOS.items():
            bucket.pipe(f"/photos/{name}", data)
        bucket.pipe("/photos/readme.md", b"x")
        listing = open_source("memory://photos")
        assert contents(listing) == PHOTOS
        assert listing.classes == ("a", "b")
        assert listing.ignored == {"not an image: .md": 1}
        known = sources.state(listing, listing.images[0])
        assert known == sources.read(listing, listing.images[0])[1]
        bucket.pipe("/photos/a/0.png", photo(77))
        again = open_source("memory://photos")
        assert sources.state(again, again.images[0]) != known

    @pytest.mark.parametrize("name", ["x.tar", "x.zip", "x.parquet", "x.h5"])
    def test_files_that_hold_many(self, bucket, tmp_path: Path, name: str):
        if name == "x.tar":
            tar(tmp_path / name, PHOTOS)
        elif name == "x.zip":
            zipped(tmp_path / name, PHOTOS)
        elif name == "x.parquet":
            pq.write_table(arrow(), tmp_path / name)
        else:
            with h5py.File(tmp_path / name, "w") as file:
                file["images"] = np.zeros((2, 4, 4), np.uint8)
        bucket.pipe(f"/shards/{name}", (tmp_path / name).read_bytes())
        here = open_source(str(tmp_path / name))
        for url in (f"memory://shards/{name}", "memory://shards"):
            there = open_source(url)
            assert rows(there) == rows(here)
            assert contents(there) == contents(here)

    def test_what_is_wrong_with_a_url(self, bucket):
        assert "nothing at" in refused("memory://nowhere")
        assert "nosuch" in refused("nosuch://x/y")
        bucket.pipe("/x/readme.md", b"x")
        assert "no images" in refused("memory://x")

    def test_an_image_that_vanishes_is_one_failure(self, bucket):
        for name, data in PHOTOS.items():
            bucket.pipe(f"/photos/{name}", data)
        listing = open_source("memory://photos")
        bucket.rm("/photos/a/0.png")
        with pytest.raises(ImageError, match="not found"):
            sources.read(listing, listing.images[0])
