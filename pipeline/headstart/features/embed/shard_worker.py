"""One worker of a store that is a folder: it gets paths, and leaves a finished store file.

It may be a thread here or a process on another machine; it may be killed at any moment. What it had
embedded by then lies in its file's journal. Beside it lies a note of the images that it had begun:
whoever goes on has these decoded by a process of their own, so that an image that kills its process
ends as one failure.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from headstart import datasets
from headstart.backbones.inference.lazy import LazyRunner
from headstart.core.artifacts import BACKBONE
from headstart.core.errors import HeadstartError, OutputError, StoreError, StoreInUse, one_line
from headstart.core.files import cannot_write, replacing, sha256_of
from headstart.core.reading import ImageReader
from headstart.core.records import ImageRef, Listing
from headstart.features.embed.config import EmbedConfig, EmbedSummary, Hooks, Sharding
from headstart.features.embed.single_file import Facts, fill
from headstart.features.embed.worker import Care
from headstart.features.store import Contents, recorded_hash

Result = TypeVar("Result")

WORK = ".run"  # the folder in the store for what a run needs and nobody else
CONTENTS = "contents"
PROBE = "probe"
_BUSY = 90.0  # seconds to wait for a file whose writer may be about to notice that it is lost
_STEP = 0.5
GPU_THREADS = 4  # that decode for one worker with a GPU, unless the user says how many
_SHOWN = 1000  # failures of a shard that are named to the driver; the file has them all


class Task(NamedTuple):
    """One shard to bring up to date, as plain tuples: these cross the cluster ten times as fast.

    Attributes:
        root: the folder that paths are relative to.
        images: path, label and split of each image.
        classes: the class names that occur.
        name: how the user named the source.
        file: its name in the folder.
        old: the name of the file that held these images before; empty if there was none.
        reader: what holds their content, if they are no files of their own.
    """

    root: Path
    images: tuple[tuple[str, str | None, str], ...]
    classes: tuple[str, ...]
    name: str
    file: str
    old: str
    reader: ImageReader | None

    @property
    def listing(self) -> Listing:
        """The images as a listing."""
        images = tuple(ImageRef(*image) for image in self.images)
        return Listing(self.root, images, self.classes, {}, self.name, self.reader)


@dataclass(frozen=True)
class Done:
    """What became of a shard.

    Attributes:
        task: its file's name, as in the task.
        file: the name of the file that holds it now.
        seal: the SHA-256 in the file's seal.
        summary: as of a store that is this file.
        host: the machine that did it.
        worker: the process or thread there.
        memory: the most bytes that the worker's process has held.
    """

    task: str
    file: str
    seal: str
    summary: EmbedSummary
    host: str
    worker: int
    memory: int


@dataclass(frozen=True)
class Start:
    """What a worker needs to get ready; called once in every process.

    Attributes:
        folder: the store.
        token: what lies in the probe file, to know the folder by.
        model: SHA-256 of the backbone's file.
        facts: what the store says of it.
        config: what the user asked for.
        samples: some images, and the sizes of their files, of which a worker must be able to see
            one: others may have changed since.
        contents: whether there is an index of what the store holds.
    """

    folder: Path
    token: str
    model: str
    facts: Facts
    config: EmbedConfig
    samples: tuple[Listing, tuple[int, ...]]
    contents: bool

    def __call__(self, stopping: Callable[[], bool]) -> Callable[[Task], Done]:
        """Check that this machine sees what the driver sees and computes what it should.

        Raises:
            HeadstartError: it does not.
        """
        work = self.folder / WORK
        self._see(work)
        network = LazyRunner(work / BACKBONE, self.config.device, self.config.batch)
        _ = network.drift  # opened and checked before the first shard
        contents = Contents(work / CONTENTS, self.folder) if self.contents else None
        return _Shards(self, network, contents, stopping)

    def _see(self, work: Path) -> None:
        """Make sure that folder, images and backbone are the driver's.

        Raises:
            HeadstartError: one of them is not.
        """
        host = one_line(socket.gethostname())
        try:
            seen = (work / PROBE).read_text()
        except OSError:
            seen = ""
        if seen != self.token:
            raise HeadstartError(
                f"the worker on {host} does not see the folder {one_line(self.folder)} that this "
                "command writes to; give an --out that every node has mounted at the same path"
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
                f"the worker on {host} does not see {one_line(path)} and others as this machine "
                "does; every node needs the images at the same path"
            )
        if sha256_of(work / BACKBONE) != self.model:
            raise HeadstartError(
                f"the worker on {host} sees another backbone file in {one_line(work)}; is the "
                "folder shared, and is no other run using it?"
            )


class _Shards:
    """Embeds shards, one after the other; threads may share it."""

    def __init__(
        self,
        start: Start,
        network: LazyRunner,
        contents: Contents | None,
        stopping: Callable[[], bool],
    ) -> None:
        self._start, self._network = start, network
        self._contents, self._stopping = contents, stopping
        self._config = dataclasses.replace(start.config, workers=threads_of(start.config))

    def __call__(self, task: Task) -> Done:
        """Bring one shard up to date, and leave its file under its name."""
        folder = self._start.folder
        path = folder / task.file
        begun = _Begun(folder / WORK / f"{task.file}.begun", self._stopping)
        old = folder / task.old
        linked = bool(task.old) and _begin_with(old, path)
        care = Care(
            held=self._contents.find if self._contents else lambda sha256: None,
            suspects=begun.suspects,
            note=begun.note,
        )
        given = (task.listing, path, self._network, self._start.facts, self._config, Hooks(), care)
        try:
            summary = self._patiently(lambda: fill(*given))
        except BaseException as error:
            begun.close(done=False)
            if linked and isinstance(error, StoreError) and path.samefile(old):
                path.unlink()  # it is the old file that cannot be used: that one can be repaired
                told = str(error).replace(one_line(path), one_line(old))
                raise StoreError(told) from error
            raise
        begun.close(done=True)
        file = task.file
        if linked and not summary.changed:
            path.unlink()
            file = task.old
        return Done(
            task.file,
            file,
            recorded_hash(folder / file),
            dataclasses.replace(summary, failed=summary.failed[:_SHOWN]),
            socket.gethostname(),
            threading.get_native_id(),
            _peak_memory(),
        )

    def _patiently(self, call: Callable[[], Result]) -> Result:
        """Call, and wait while another process has the file: it may be one that is given up."""
        deadline = time.monotonic() + _BUSY
        while True:
            try:
                return call()
            except StoreInUse:
                if time.monotonic() > deadline or self._stopping():
                    raise
                time.sleep(_STEP)


class GivenUp(HeadstartError):
    """The run is over; nobody waits for this worker."""


class _Begun:
    """The note of the images that were begun, which a later worker reads if this one dies."""

    def __init__(self, path: Path, stopping: Callable[[], bool]) -> None:
        self._path, self._stopping = path, stopping
        found = ""
        with suppress(OSError):  # none, or none that can be read: nobody is suspected
            found = path.read_text()
        # A line that was cut off was written by somebody who had not begun yet.
        lines = found.split("\n")[:-1]
        self.suspects = frozenset(int(number) for line in lines for number in line.split())
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
            self._handle = os.open(path, flags, 0o644)
        except OSError as error:
            raise cannot_write(path, error) from error

    def note(self, numbers: Sequence[int]) -> None:
        """Write down that these are begun.

        Raises:
            GivenUp: nobody waits for them any more.
        """
        if self._stopping():
            raise GivenUp("the run has ended")
        try:
            os.write(self._handle, (" ".join(map(str, numbers)) + "\n").encode())
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def close(self, *, done: bool) -> None:
        """Let the note go; it stays where something was left undone."""
        os.close(self._handle)
        if done:
            self._path.unlink(missing_ok=True)


def _begin_with(old: Path, path: Path) -> bool:
    """Let a file begin with what an older one holds; says whether it is that file still.

    Nothing is copied where the file system has links: whoever publishes puts a new file there.
    """
    try:
        if not path.exists():
            try:
                os.link(old, path)
            except OSError:
                with replacing(path) as partial:
                    shutil.copyfile(old, partial)
        return path.samefile(old)
    except FileNotFoundError:  # the older one is gone: its images are embedded again
        return False


def threads_of(config: EmbedConfig) -> int:
    """Return how many threads one worker has."""
    sharding = config.sharding or Sharding()
    return sharding.threads or (GPU_THREADS if sharding.gpus else 1)


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
