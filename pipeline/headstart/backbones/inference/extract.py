"""The one loop from images to what a network says of them: read, decode, infer.

A worker thread reads and decodes some images and infers them in batches of the network's size, so
pixels never cross from one thread to another. `batches` is the inside of the loop, for callers with
bookkeeping of their own; `extract` is all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart import datasets
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import ImageError
from headstart.core.parallel import run_threads
from headstart.core.records import ImageRef, Listing, Preprocess
from headstart.datasets import SourceImage
from headstart.datasets.images import decode

CHUNK = 8  # images a worker takes at once: about a tenth of a second of work

Item = TypeVar("Item")
Output = TypeVar("Output")


def batches(
    decoded: Iterable[tuple[Item, NDArray[np.uint8]]], size: int
) -> Iterator[tuple[list[Item], NDArray[np.uint8]]]:
    """Yield decoded images some at a time, as ``(n, h, w, 3)`` with what came with each."""
    items: list[Item] = []
    crops: list[NDArray[np.uint8]] = []
    for item, crop in decoded:
        items.append(item)
        crops.append(crop)
        if len(crops) == size:
            yield items, np.stack(crops)
            items, crops = [], []
    if crops:
        yield items, np.stack(crops)


class Batch(NamedTuple, Generic[Output]):
    """What the networks say of some images.

    Attributes:
        numbers: of the images.
        outputs: of each network in turn.
        failures: why other images could not be used, by number.
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
    """Yield what networks of equal preprocessing say of images, in order of completion.

    Args:
        images: numbered from 0; each is read and decoded once.
        preprocess: what comes before the networks.
        networks: from ``(n, h, w, 3) uint8`` to anything.
        workers: threads.
        batch: images in one inference.

    Raises:
        RunnerError: inference failed.
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

    size = max(CHUNK, batch)
    chunks = (range(start, min(start + size, len(images))) for start in range(0, len(images), size))
    for results in run_threads(work, chunks, workers):
        yield from results


@dataclass(frozen=True)
class Features:
    """Features of those images that could be used.

    Attributes:
        rows: ``(n,)`` numbers of the images, ascending.
        features: ``(n, d) float32`` of each network.
        failures: why the others could not be used, by number.
    """

    rows: NDArray[np.intp]
    features: list[NDArray[np.float32]]
    failures: dict[int, str]


def features_of(images: Sequence[SourceImage], runners: Sequence[Runner], workers: int) -> Features:
    """Return the features of images by backbones of equal preprocessing, in memory.

    Raises:
        RunnerError: inference failed.
    """
    first = runners[0]
    networks = [runner.embed for runner in runners]
    failures: dict[int, str] = {}
    rows: list[int] = []
    outputs: list[list[NDArray[np.float32]]] = []
    for result in extract(images, first.backbone.preprocess, networks, workers, first.batch):
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
    """Return images of a listing as `extract` takes them."""
    return [SourceImage(listing, ref) for ref in refs]
