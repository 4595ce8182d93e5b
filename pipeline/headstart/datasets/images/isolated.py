"""Decode a file in a process that can be stopped: for whatever `header.is_ordinary` doubts.

Threads cannot be stopped, and a native decoder that crashes takes its process with it. So a
doubtful file goes to a process of its own (started with the first one, one for each thread that
meets any), which the kernel ends when it has computed for `MAX_SECONDS` and which cannot take
more than `MAX_MEMORY`. Time is counted in processor seconds: a busy machine refuses nothing that
an idle one takes. The process hears of nothing but bytes, and what decoders print to stderr goes
nowhere.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import ImageError, one_line
from headstart.core.records import Preprocess
from headstart.datasets.images import pixels

MAX_SECONDS = 30
MAX_MEMORY = 6 << 30  # address space; 178 million pixels with alpha need 4 GiB
MAX_WAIT = 20 * MAX_SECONDS  # of the clock, should the process be stopped or starved

_HEADER = struct.Struct("<QI")  # bytes of the file, bytes of the preprocessing
_ANSWER = struct.Struct("<?I")  # whether it is pixels; its bytes
_READY = b"\1"
_local = threading.local()


def decode(data: bytes, preprocess: Preprocess, seconds: int | None = None) -> NDArray[np.uint8]:
    """Do what `headstart.datasets.images.decode` does, within limits of time and memory.

    Args:
        data: the whole file.
        preprocess: sizes and interpolation.
        seconds: of processor time; None means `MAX_SECONDS`.

    Raises:
        ImageError: also if a limit is reached or the decoder crashes.
    """
    seconds = MAX_SECONDS if seconds is None else seconds
    worker: _Worker | None = getattr(_local, "worker", None)
    if worker is None or worker.seconds != seconds:
        worker = _local.worker = _Worker(seconds)
    try:
        ok, answer = worker.ask(data, preprocess)
    except _Ended as ended:
        _local.worker = None
        raise ImageError(str(ended)) from None
    if not ok:
        raise ImageError(answer.decode())
    return np.frombuffer(answer, np.uint8).reshape(*preprocess.size, 3)


class _Ended(Exception):
    """The process is gone; says why in the words of an `ImageError`."""


class _Worker:
    """A process that decodes one file after another, each within so many seconds."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)  # noqa: PTH109
        call = f"from {__name__} import serve; serve({seconds}, {MAX_MEMORY})"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", call],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # an interrupt is for us, not for it
            )
        except OSError as error:
            raise ImageError(f"no process to decode it in: {one_line(error.strerror)}") from None
        weakref.finalize(self, _stop, self._process)
        self._ready = False

    def ask(self, data: bytes, preprocess: Preprocess) -> tuple[bool, bytes]:
        """Return whether it could be decoded, and the pixels' bytes or the reason."""
        deadline = time.monotonic() + MAX_WAIT
        if not self._ready:
            try:
                self._read(1, deadline)
            except _Ended:
                raise _Ended("no process to decode it in") from None
            self._ready = True
        rules = json.dumps(dataclasses.asdict(preprocess)).encode()
        assert self._process.stdin is not None
        try:
            for part in (_HEADER.pack(len(data), len(rules)), rules, data):
                self._process.stdin.write(part)
            self._process.stdin.flush()
        except BrokenPipeError:
            self._raise_ended()
        ok, length = _ANSWER.unpack(self._read(_ANSWER.size, deadline))
        return ok, self._read(length, deadline)

    def _read(self, count: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        parts = bytearray()
        while len(parts) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([handle], [], [], left)[0]:
                _stop(self._process)
                raise _Ended("gave up decoding it: no answer in time")
            part = os.read(handle, count - len(parts))
            if not part:
                self._raise_ended()
            parts += part
        return bytes(parts)

    def _raise_ended(self) -> None:
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            raise _Ended(f"takes longer than {self.seconds} s to decode")
        raise _Ended("the decoder crashed on it")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # it held bytes that nobody will read


def serve(seconds: int, memory: int) -> None:
    """Decode what comes on stdin until it closes: the other side of `decode`."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    sink.write(_READY)
    sink.flush()
    while header := source.read(_HEADER.size):
        size, rules = _HEADER.unpack(header)
        _set_time(seconds)
        ok, answer = _answer(source, size, rules)
        sink.write(_ANSWER.pack(ok, len(answer)) + answer)
        sink.flush()


def _set_time(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _answer(source: BinaryIO, size: int, rules: int) -> tuple[bool, bytes]:
    preprocess = Preprocess.from_json(json.loads(source.read(rules)))
    try:
        crop = pixels.decode(source.read(size), preprocess)
    except ImageError as error:
        return False, str(error).encode()
    return True, crop.tobytes()
