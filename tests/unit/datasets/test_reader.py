"""What every reader does: pickle, threads, descriptors."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headstart import datasets as sources
from headstart.datasets import open_source
from image_files import (
    PHOTOS,
    arrow,
    contents,
    folder,
    photo,
    tar,
    zipped,
)


def test_a_part_can_be_sent_to_another_process(tmp_path: Path):
    made = [
        zipped(tmp_path / "x.zip", PHOTOS),
        tar(tmp_path / "x.tar", PHOTOS),
        folder(tmp_path / "plain"),
    ]
    pq.write_table(arrow(), tmp_path / "x.parquet")
    for source in (*made, tmp_path / "x.parquet"):
        listing = open_source(str(source))
        some = pickle.loads(pickle.dumps(sources.subset(listing, [5, 1])))
        assert some.images == (listing.images[5], listing.images[1])
        assert some.classes == listing.classes
        assert contents(some) == {ref.path: sources.read(listing, ref)[0] for ref in some.images}


@pytest.mark.slow
def test_members_are_read_by_many_threads_at_once(tmp_path: Path):
    from concurrent.futures import ThreadPoolExecutor

    many = {f"{k % 7}/{k}.png": photo(k, 6) for k in range(300)}
    pq.write_table(pa.table({"png": [*many.values()]}), tmp_path / "x.parquet", row_group_size=50)
    for source in (
        zipped(tmp_path / "x.zip", many),
        tar(tmp_path / "x.tar", many),
        tmp_path / "x.parquet",
    ):
        listing = open_source(str(source))
        with ThreadPoolExecutor(8) as pool:
            read = [*pool.map(lambda ref: sources.read(listing, ref)[0], listing.images)]  # noqa: B023
        hashes = sorted(hashlib.sha256(data).hexdigest() for data in read)
        assert hashes == sorted(hashlib.sha256(data).hexdigest() for data in many.values())


def test_descriptors_are_not_spent(tmp_path: Path):
    for k in range(80):
        tar(tmp_path / f"{k}.tar", {"a/0.png": photo(k, 4)})
    listing = open_source(str(tmp_path))
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(2):
        assert len(contents(listing)) == 80
    assert len([*Path("/proc/self/fd").iterdir()]) - before <= 66
