"""The settings of an embedding run, its summary, and its hooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstart import datasets
from headstart.backbones.inference.precision_choice import Budget
from headstart.core.records import Choice, Listing


@dataclass(frozen=True)
class Sharding:
    """How the work of a store that is a folder is divided, and who does it.

    Attributes:
        address: of a Ray cluster, see `headstart.core.parallel.ray_engine.RayEngine`.
        shard_size: approximate images a shard; None keeps the store's, or fits the listing.
        threads: threads of one worker, which share a session; None means one, or four with GPUs.
        gpus: GPUs that a worker of Ray occupies; a fraction lets several share one.
    """

    engine: str = "threads"
    address: str = ""
    shard_size: int | None = None
    threads: int | None = None
    gpus: float = 0


@dataclass(frozen=True)
class EmbedConfig:
    """How to embed.

    Attributes:
        backbone: a choice of network, weights and layer; or a name, or the path of an ONNX file.
        workers: threads, or workers of the engine; None means one per core.
        on_error: ``skip`` turns a bad image into a failure row, ``fail`` ends the run.
        precision: one of `headstart.core.records.PRECISIONS`; part of the features' identity.
        batch: images in one inference; None uses what suits the device.
        rehash: read files again although their size and modification time are unchanged.
        max_failures: share of failed images above which the run fails, once the others are saved.
        budget: how far the features of ``int8`` and ``auto`` may be from float32's.
        sharding: None writes one file; else a folder of files is written.
        labels: whether to read labels.
        trainable: refuse a source of only one class, or without labels where some seem meant, see
            `datasets.check_labels`.
        label_column: the column with the labels; empty to find it by its name.
        path_column: the column with the images' paths, likewise.
        replace: drop the rows of other images, however many there are.
    """

    backbone: Choice | str
    workers: int | None = None
    on_error: str = "skip"
    device: str = "cpu"
    precision: str = "fp32"
    batch: int | None = None
    rehash: bool = False
    max_failures: float = 0.2
    budget: Budget = field(default_factory=Budget)
    sharding: Sharding | None = None
    labels: bool = True
    trainable: bool = False
    label_column: str = ""
    path_column: str = ""
    replace: bool = False

    def listing(self, data: str) -> Listing:
        """List the images of a source as these settings say, see `datasets.open_source`."""
        return datasets.open_source(
            data,
            labels=self.labels,
            label_column=self.label_column,
            path_column=self.path_column,
        )


@dataclass(frozen=True)
class EmbedSummary:
    """What a run did.

    Attributes:
        changed: False if the store was already up to date.
        embedded: images that went through the network in this run.
        reused: rows whose features existed, from an earlier run or another file of the same bytes.
        failures: failed images by reason.
        failed: ``(path, reason)`` of each.
        seconds: wall time of reading, decoding, inference and writing.
        shares: fractions of the workers' time spent on ``read`` (and hashing), ``decode`` (and
            resizing), ``infer`` and ``write`` (to the journal); empty if nothing was embedded.
        provider: the onnxruntime provider that ran.
        source: the listing in one line.
        precision: the measurements behind ``int8`` or ``auto``; empty for others.
        shards: files of a store that is a folder; 0 if it is one file.
        lost: workers that died during the run.
        dropped: rows of the store before, whose images are not in the source any more.
    """

    store: Path
    changed: bool
    rows: int
    embedded: int
    reused: int
    failures: dict[str, int]
    failed: list[tuple[str, str]]
    seconds: float
    shares: dict[str, float]
    provider: str
    device: str
    batch: int
    workers: int
    source: str
    precision: dict[str, Any] = field(default_factory=dict)
    shards: int = 0
    lost: int = 0
    dropped: int = 0

    def __fspath__(self) -> str:
        """Return the store's path: you can pass a summary where a store is expected."""
        return str(self.store)

    @property
    def images_per_second(self) -> float:
        """Images embedded per second of wall time; 0 if none was."""
        return self.embedded / self.seconds if self.seconds and self.embedded else 0.0

    @property
    def limit(self) -> str:
        """The kind of work that took most of the workers' time; empty if nothing was embedded."""
        return limit_of(self.shares)


def limit_of(shares: dict[str, float]) -> str:
    """Return the kind of work with the largest share; empty if there is none."""
    return max(shares, key=lambda part: shares[part]) if shares else ""


@dataclass(frozen=True)
class Hooks:
    """How a stage reports; the default reports nothing.

    Attributes:
        notice: receives one line at a time.
        progress: receives the numbers of finished images and of all images.
    """

    notice: Callable[[str], None] = field(default=lambda line: None)
    progress: Callable[[int, int], None] = field(default=lambda finished, total: None)
