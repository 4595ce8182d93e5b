"""Small real stores: what the tests of `headstart.features.store` build theirs with."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from headstart.core.records import Backbone, Extraction, FeatureSet, Preprocess
from headstart.core.targets import SINGLE_LABEL
from headstart.datasets.images import MINIATURE
from headstart.features.store.columns import Failure, FileState, Row, from_image
from headstart.features.store.journal import Journal, Record
from headstart.features.store.writer import StoreWriter, state_key


class Image(NamedTuple):
    """An image of a listing; equal ``content`` means equal bytes."""

    path: str
    content: int
    label: int = 0
    split: str = "train"
    labels: bytes = b""

    @property
    def state(self) -> FileState:
        return FileState(size=100 + self.content, mtime_ns=10**18 + self.content)


class Ran(NamedTuple):
    """What a run did: how many images it embedded, and what it published, if it came to that."""

    embedded: int
    published: bool | None


class Builder:
    """Makes records, rows, journals and whole stores, and runs the writer as the stage does."""

    dim = 4
    classes = ("bark", "cloth")
    image = Image

    def extraction(self, **changes) -> Extraction:
        backbone = Backbone(
            name="net",
            source="a package",
            weights_sha256="0" * 64,
            licence="Apache-2.0",
            layer="head",
            pool="avg",
            precision="fp32",
            dim=self.dim,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            preprocess=Preprocess(resize=40, crop=32),
        )
        return Extraction(dataclasses.replace(backbone, **changes))

    def journal(self, path: Path, **changes) -> Journal:
        extraction = self.extraction(**changes)
        fields = [(c.name, c.dtype, c.shape(1, self.dim)[1:]) for c in from_image()]
        return Journal(path, extraction.to_json(), extraction.digest, fields)

    def sha256(self, content: int) -> bytes:
        return hashlib.sha256(b"%d" % content).digest()

    def record(self, content: int, key: bytes = bytes(16)) -> Record:
        rng = np.random.default_rng(content)
        return Record(
            sha256=self.sha256(content),
            key=key,
            values={
                "features": rng.normal(size=self.dim).astype(np.float32),
                "pixels": rng.integers(0, 256, (MINIATURE, MINIATURE, 3), np.uint8),
            },
        )

    def listing(self, count: int = 6) -> list[Image]:
        return [
            Image(f"{self.classes[at % 2]}/{at}.jpg", at, at % 2, ("train", "test")[at % 3 == 0])
            for at in range(count)
        ]

    def run(
        self,
        store: Path,
        images: Sequence[Image],
        failures: Sequence[Failure] = (),
        classes: Sequence[str] = classes,
        stop_after: int | None = None,
        target: str = SINGLE_LABEL,
        **changes,
    ) -> Ran:
        """Bring a store up to date, or stop when ``stop_after`` images were embedded."""
        embedded = 0
        rows = []
        with StoreWriter(store, self.extraction(**changes)) as writer:
            for image in images:
                key = state_key(image.path, image.state)
                sha256 = writer.hash_of(key) or self.sha256(image.content)
                if not writer.holds(sha256):
                    if embedded == stop_after:
                        return Ran(embedded, None)
                    writer.append([self.record(image.content, key)])
                    embedded += 1
                row = Row(image.path, image.label, image.split, sha256, image.state, image.labels)
                rows.append(row)
            run = {"source": "photos"}
            published = writer.publish(rows, failures, classes, run, target=target)
            return Ran(embedded, published)

    def matches(self, store: FeatureSet, images: Sequence[Image]) -> bool:
        """Say whether a store holds exactly these images, in this order, with their features."""
        records = [self.record(image.content) for image in images]
        shape = (len(images), self.dim)
        return bool(
            store.path == [image.path for image in images]
            and store.label.tolist() == [image.label for image in images]
            and store.split == [image.split for image in images]
            and store.sha256.tobytes() == b"".join(record.sha256 for record in records)
            and store.features.shape == shape
            and store.features.tobytes()
            == b"".join(r.values["features"].tobytes() for r in records)
            and store.pixels is not None
            and store.pixels.tobytes()
            == b"".join(record.values["pixels"].tobytes() for record in records)
        )


@pytest.fixture(scope="session")
def build() -> Builder:
    return Builder()


@pytest.fixture
def store(tmp_path, build) -> Path:
    """Write a sound store of six images and two failures."""
    path = tmp_path / "s.h5"
    failures = [Failure("bark/bad.jpg", "truncated", bytes(32)), Failure("x.jpg", "empty", b"")]
    build.run(path, build.listing(), failures)
    return path
