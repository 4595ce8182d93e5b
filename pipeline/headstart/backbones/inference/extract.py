"""Read, decode and embed images: the loop that all stages share.

A worker thread reads, decodes and embeds its own images in batches, so pixels never move between
threads. `extract` is the whole loop; `batches` is its inner part, for callers with bookkeeping of
their own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart import datasets
from headstart.core.errors import ImageError
from headstart.core.parallel import run_threads
from headstart.core.records import Backbone, ImageRef, Listing, Preprocess
from headstart.datasets import SourceImage
from headstart.datasets.images import decode

CHUNK = 8  # images a worker takes at once, at most: about a tenth of a second of work

Item = TypeVar("Item")
Output = TypeVar("Output")


def batches(
    decoded: Iterable[tuple[Item, NDArray[np.uint8]]], size: int
) -> Iterator[tuple[list[Item], NDArray[np.uint8]]]:
    """Group decoded images into ``(n, h, w, 3)`` batches of up to ``size``, with their items.

    Images of one batch have the same height and width.
    """
    waiting: dict[tuple[int, ...], tuple[list[Item], list[NDArray[np.uint8]]]] = {}
    for item, crop in decoded:
        items, crops = waiting.setdefault(crop.shape, ([], []))
        items.append(item)
        crops.append(crop)
        if len(crops) == size:
            del waiting[crop.shape]
            yield items, np.stack(crops)
    for items, crops in waiting.values():
        yield items, np.stack(crops)


class Batch(NamedTuple, Generic[Output]):
    """The outputs of networks for some images.

    ``outputs`` has one entry for each network. ``failures`` says by number why other images could
    not be used.
    """

    numbers: list[int]
    outputs: list[Output]
    failures: dict[int, str]


def extract(
    images: Sequence[SourceImage],
    preprocess: Preprocess,
    networks: Sequence[Callable[[NDArray[np.uint8]], Output]],
    workers: int,
    batch: int = 1,
) -> Generator[Batch[Output], None, None]:
    """Yield the outputs of networks with equal preprocessing, in order of completion.

    Images are numbered from 0; each is read and decoded once. A network takes
    ``(n, h, w, 3) uint8``, ``batch`` images at a time.
    """

    def work(numbers: range) -> list[Batch[Output]]:
        failures: dict[int, str] = {}

        def decoded() -> Iterator[tuple[int, NDArray[np.uint8]]]:
            for number in numbers:
                try:
                    yield number, decode(datasets.read(*images[number])[0], preprocess)
                except ImageError as error:
                    failures[number] = str(error)

        results = [
            Batch(rows, [network(crops) for network in networks], {})
            for rows, crops in batches(decoded(), batch)
        ]
        return [*results, Batch([], [], failures)] if failures else results

    # Of few images, each worker gets a share.
    size = max(min(CHUNK, -(-len(images) // workers)), batch)
    chunks = (range(start, min(start + size, len(images))) for start in range(0, len(images), size))
    for results in run_threads(work, chunks, workers):
        yield from results


@dataclass(frozen=True)
class Features:
    """Features of the images that could be used.

    Attributes:
        rows: ``(n,)`` numbers of the images, ascending.
        features: ``(n, d) float32`` for each network.
        failures: why the other images could not be used, by number.
    """

    rows: NDArray[np.intp]
    features: list[NDArray[np.float32]]
    failures: dict[int, str]


class Network(Protocol):
    """What embeds images, such as a `headstart.backbones.inference.runner.Runner`."""

    @property
    def backbone(self) -> Backbone:
        """Its description."""

    @property
    def batch(self) -> int:
        """Images in one inference."""

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the ``(n, d) float32`` features of ``(n, h, w, 3) uint8`` RGB images."""


def features_of(
    images: Sequence[SourceImage],
    runners: Sequence[Network],
    workers: int,
    preprocess: Preprocess | None = None,
) -> Features:
    """Return the features of images by backbones with equal preprocessing, in memory.

    ``preprocess`` replaces theirs, with rules that leave the size as it is.
    """
    first = runners[0]
    rules = preprocess or first.backbone.preprocess
    networks = [runner.embed for runner in runners]
    failures: dict[int, str] = {}
    rows: list[int] = []
    outputs: list[list[NDArray[np.float32]]] = []
    for result in extract(images, rules, networks, workers, first.batch):
        failures |= result.failures
        if result.numbers:
            rows += result.numbers
            outputs.append(result.outputs)
    order = np.argsort(np.array(rows, dtype=np.intp))
    features = [
        np.concatenate([output[number] for output in outputs])[order]
        if rows
        else np.empty((0, runner.backbone.dim), np.float32)
        for number, runner in enumerate(runners)
    ]
    return Features(np.array(rows, dtype=np.intp)[order], features, failures)


def images_of(listing: Listing, refs: Sequence[ImageRef]) -> list[SourceImage]:
    """Return images of a listing in the form that `extract` takes."""
    return [SourceImage(listing, ref) for ref in refs]
