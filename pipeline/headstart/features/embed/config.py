"""The settings of an embedding run, its summary, and its hooks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstart.backbones.inference.precision_choice import Budget
from headstart.core.errors import one_line
from headstart.core.records import Choice
from headstart.datasets import DEFAULTS, Options
from headstart.datasets.images import REMARKS


@dataclass(frozen=True)
class Sharding:
    """How the work of a store that is a folder is divided; see `headstart.extract_features`.

    A ``shard_size`` of None keeps the store's, or fits the listing. The ``threads`` of a worker
    share a session.
    """

    engine: str = "threads"
    address: str = ""
    shard_size: int | None = None
    threads: int | None = None
    gpus: float = 0


@dataclass(frozen=True)
class EmbedConfig:
    """How to embed; see `headstart.extract_features`.

    ``backbone`` may be a name or the path of an ONNX file, and ``budget`` limits how far features
    of ``int8`` and ``auto`` are from float32's. Without ``sharding`` the store is one file.
    ``reading`` is how the source is read; ``trainable`` refuses it if `datasets.check_labels` does.
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
    reading: Options = DEFAULTS
    trainable: bool = False
    replace: bool = False


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
        remarks: by one of the keys of `datasets.images.REMARKS`, how many images embedded in this
            run it is true of, and the path of the first.
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
    remarks: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __fspath__(self) -> str:
        """Return the store's path: you can pass a summary where a store is expected."""
        return str(self.store)

    @property
    def images_per_second(self) -> float:
        """Images embedded per second of wall time; 0 if none was."""
        return self.embedded / self.seconds if self.seconds and self.embedded else 0.0

    @property
    def remark_lines(self) -> list[str]:
        """The remarks as sentences."""
        return [
            f"images {what}: {count:,}, such as {one_line(path)}{'; ' if advice else ''}{advice}"
            for remark, (count, path) in self.remarks.items()
            for what, advice in [REMARKS[remark]]
        ]

    @property
    def limit(self) -> str:
        """The kind of work that took most of the workers' time; empty if nothing was embedded."""
        return limit_of(self.shares)


def limit_of(shares: dict[str, float]) -> str:
    """Return the kind of work with the largest share; empty if there is none."""
    return max(shares, key=lambda part: shares[part]) if shares else ""
