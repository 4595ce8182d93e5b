"""Embedding into a folder: one worker, which receives paths and leaves a finished store file.

A worker is a thread here or a process on another machine, and may be killed at any moment. The
journal keeps what it had embedded, and a log names the images in progress. The next worker decodes
those in a separate process, so an image that kills its process ends as one failure.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from headstart import datasets
from headstart.backbones.inference.lazy import LazyRunner
from headstart.core import limits
from headstart.core.artifacts import BACKBONE
from headstart.core.errors import HeadstartError, OutputError, StoreError, StoreInUse, one_line
from headstart.core.files import cannot_write, open_handle, replacing, sha256_of
from headstart.core.hooks import Hooks
from headstart.core.reading import ImageReader
from headstart.core.records import ImageRef, LabelSet, Listing
from headstart.core.targets import SINGLE_LABEL
from headstart.features.embed.config import EmbedConfig, EmbedSummary, Sharding
from headstart.features.embed.single_file import Filling, Provenance
from headstart.features.embed.worker import ShardHooks
from headstart.features.store.content_index import Contents
from headstart.features.store.seal import recorded_hash

WORK = ".run"  # the folder in the store for temporary files of a run
CONTENTS = "contents"
PROBE = "probe"
_BUSY = 90.0  # seconds to wait for a file whose writer may have lost its connection
_STEP = 0.5
GPU_THREADS = 4  # that decode for one worker with a GPU, unless the user says how many
_SHOWN = 1000  # failures of a shard that the driver receives; the file has them all


class Task(NamedTuple):
    """One shard to bring up to date, as plain tuples: these cross the cluster ten times as fast.

    Attributes:
        images: path, label, split, labels and origin of each image.
        name: how the user named the source.
        file: its name in the folder.
        old: the name of the file that held these images before; empty if there was none.
        reader: reads the images where they are not files of their own.
    """

    root: Path
    images: tuple[tuple[str, str | None, str, LabelSet | None, str], ...]
    classes: tuple[str, ...]
    name: str
    file: str
    old: str
    reader: ImageReader | None
    target: str = SINGLE_LABEL

    @property
    def listing(self) -> Listing:
        """The images as a listing."""
        images = tuple(ImageRef(*image) for image in self.images)
        return Listing(
            self.root, images, self.classes, {}, self.name, self.reader, target=self.target
        )


@dataclass(frozen=True)
class ShardResult:
    """The outcome of one shard.

    Attributes:
        task: the file's name in the task.
        file: the name of the file that holds the shard now.
        seal: the SHA-256 in the file's seal.
        worker: the process or thread on ``host``.
        memory: peak memory of the worker's process, in bytes.
    """

    task: str
    file: str
    seal: str
    summary: EmbedSummary
    host: str
    worker: int
    memory: int


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs to start; called once in every process.

    Attributes:
        token: the content of the probe file, by which a worker recognises the folder.
        model: SHA-256 of the backbone's file.
        samples: some images and their file sizes; a worker must see at least one unchanged.
        contents: whether there is an index of the store's contents.
    """

    folder: Path
    token: str
    model: str
    provenance: Provenance
    config: EmbedConfig
    samples: tuple[Listing, tuple[int, ...]]
    contents: bool

    def __call__(self, stopping: Callable[[], bool]) -> Callable[[Task], ShardResult]:
        """Check that this machine sees the driver's files and computes the same features."""
        work = self.folder / WORK
        self._check_files(work)
        network = LazyRunner(work / BACKBONE, self.config.device, self.config.batch)
        _ = network.drift  # opened and checked before the first shard
        contents = Contents(work / CONTENTS, self.folder) if self.contents else None
        return _Shards(self, network, contents, stopping)

    def _check_files(self, work: Path) -> None:
        host = one_line(socket.gethostname())
        try:
            token = (work / PROBE).read_text()
        except OSError:
            token = ""
        if token != self.token:
            raise HeadstartError(
                f"the worker on {host} cannot see the folder {one_line(self.folder)} that this "
                "command writes to; choose an --out that every node has mounted at the same path"
            )
        try:
            mark = work / f"{PROBE}-{host}-{os.getpid()}-{threading.get_ident()}"
            mark.write_text(self.token)
            mark.unlink()
        except OSError as error:
            raise OutputError(f"the worker on {host} {cannot_write(self.folder, error)}") from error
        listing, sizes = self.samples
        states = [datasets.state(listing, ref) for ref in listing.images]
        if states and not any(s and s[0] == n for s, n in zip(states, sizes, strict=True)):
            path = datasets.location(listing, listing.images[0])
            raise HeadstartError(
                f"the worker on {host} cannot see {one_line(path)} and other images, or sees "
                "different ones; every node needs the images at the same path"
            )
        if sha256_of(work / BACKBONE) != self.model:
            raise HeadstartError(
                f"the worker on {host} sees a different backbone file in {one_line(work)}; check "
                "that the folder is shared and that no other run is using it"
            )


@dataclass(frozen=True)
class _Shards:
    """Embeds shards, one after the other; threads may share it."""

    setup: WorkerSetup
    network: LazyRunner
    contents: Contents | None
    stopping: Callable[[], bool]

    def __call__(self, task: Task) -> ShardResult:
        folder = self.setup.folder
        path, old = folder / task.file, folder / task.old
        linked = bool(task.old) and _start_from(old, path)
        try:
            summary = self._fill(task, path)
        except StoreError as error:
            if linked and path.samefile(old):
                path.unlink()  # the old file is the one to repair
                raise StoreError(str(error).replace(one_line(path), one_line(old))) from error
            raise
        file = task.file
        if linked and not summary.changed:
            path.unlink()
            file = task.old
        return ShardResult(
            task.file,
            file,
            recorded_hash(folder / file),
            dataclasses.replace(summary, failed=summary.failed[:_SHOWN]),
            socket.gethostname(),
            threading.get_native_id(),
            limits.peak_memory(),
        )

    def _fill(self, task: Task, path: Path) -> EmbedSummary:
        log = _ProgressLog(self.setup.folder / WORK / f"{task.file}.begun", self.stopping)
        shard = ShardHooks(
            stored=self.contents.find if self.contents else lambda sha256: None,
            suspects=log.suspects,
            note=log.note,
        )
        config = dataclasses.replace(self.setup.config, workers=threads_of(self.setup.config))
        filling = Filling(self.network, self.setup.provenance, config, Hooks(), shard)
        finished = False
        deadline = time.monotonic() + _BUSY
        try:
            while True:
                try:
                    summary = filling.fill(task.listing, path)
                except StoreInUse:  # a writer that was given up as lost will stop
                    if time.monotonic() > deadline or self.stopping():
                        raise
                    time.sleep(_STEP)
                else:
                    finished = True
                    return summary
        finally:
            log.close(finished=finished)


class RunEnded(HeadstartError):
    """The run is over; this worker's result is not needed."""


class _ProgressLog:
    def __init__(self, path: Path, stopping: Callable[[], bool]) -> None:
        self._path, self._stopping = path, stopping
        log = ""
        with suppress(OSError):  # without a readable log, no image is suspected
            log = path.read_text()
        # Work had not started on the images of an incomplete last line.
        lines = log.split("\n")[:-1]
        self.suspects = frozenset(int(number) for line in lines for number in line.split())
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            self._handle = open_handle(path, flags)
        except OSError as error:
            raise cannot_write(path, error) from error

    def note(self, numbers: Sequence[int]) -> None:
        """Write down that work on these images starts.

        Raises:
            RunEnded: the result is not needed any more.
        """
        if self._stopping():
            raise RunEnded("the run has ended")
        try:
            os.write(self._handle, (" ".join(map(str, numbers)) + "\n").encode())
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def close(self, *, finished: bool) -> None:
        """Close the log, and delete it if all images are finished."""
        os.close(self._handle)
        if finished:
            self._path.unlink(missing_ok=True)


def _start_from(old: Path, path: Path) -> bool:
    """Let a file start as a link to, or a copy of, an older one; True if it still is that file.

    Links are safe: publishing replaces the file and never changes it.
    """
    try:
        if not path.exists():
            try:
                os.link(old, path)
            except OSError:
                with replacing(path) as partial:
                    shutil.copyfile(old, partial)
        return path.samefile(old)
    except FileNotFoundError:  # the older one was deleted: its images are embedded again
        return False


def threads_of(config: EmbedConfig) -> int:
    """Return how many threads one worker has."""
    sharding = config.sharding or Sharding()
    return sharding.threads or (GPU_THREADS if sharding.gpus else 1)
