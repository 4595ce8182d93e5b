"""Child processes for files that cannot be trusted, with limits of time and memory.

HDF5, protobuf and image decoders are parsers in C, and an ONNX graph computes what it likes: a
damaged or hostile file can loop, crash or take all memory. The kernel limits the child's processor
time, so a slow disk or a busy machine refuses nothing, and its memory.

`call` starts a process for one file; a `Worker` answers one request after another. Neither child
looks for modules in the current folder unless its parent does.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from headstart.core.errors import HeadstartError, StoreError, one_line

SECONDS = 30  # of processor time, besides a second for each 10 MB
BYTES = 4 << 30  # of memory, besides the file's size four times
_SPEED = 10_000_000

_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from headstart.core import sandbox; sandbox.{}()"
)
_REQUEST = struct.Struct("<QI")  # bytes of the data, bytes of the options
_ANSWER = struct.Struct("<?I")  # whether it is a result, not a message; its bytes
_READY = b"\1"


@dataclass(frozen=True)
class Kind:
    """What a file should be, and the limits for reading it.

    Attributes:
        name: what it is called in messages.
        error: the class of errors.
        seconds: of processor time, besides a second for each 10 MB; None takes `SECONDS`.
        memory: bytes, besides ``copies`` times the file's size; None takes `BYTES`.
        copies: how often the file's content may be in memory.
    """

    name: str
    error: type[HeadstartError]
    seconds: int | None = None
    memory: int | None = None
    copies: int = 4


STORE = Kind("feature store", StoreError)


def call(
    function: str,
    path: Path,
    *rest: Path,
    kind: Kind = STORE,
    options: Any = None,  # noqa: ANN401 - JSON
) -> Any:  # noqa: ANN401 - what it returns, as JSON
    """Call ``module:function`` with paths, in a process of its own.

    Args:
        function: returns what JSON can hold; raises `HeadstartError` with a line for the user.
        path: the file to read; its size decides the limits.
        rest: further paths for the function.
        kind: what the file should be.
        options: JSON that the function gets after the paths; nothing if None.

    Raises:
        HeadstartError: of the kind's own class: the function raised it, or the process died or
            reached a limit.
    """
    size = path.stat().st_size
    seconds = SECONDS if kind.seconds is None else kind.seconds
    memory = BYTES if kind.memory is None else kind.memory
    limits = map(str, (seconds + size // _SPEED, memory + kind.copies * size))
    process = subprocess.run(
        _command("main", function, *limits, *map(os.fspath, (path, *rest))),
        capture_output=True,
        check=False,
        input=json.dumps(options).encode(),
        env=_environment(),
    )
    try:
        answer = json.loads(process.stdout)
    except ValueError:
        raise kind.error(
            f"{one_line(path)} is not a readable {kind.name}: it is damaged so that reading it "
            f"{_ending(process)}"
        ) from None
    if "error" in answer:
        raise kind.error(answer["error"])
    return answer["result"]


def main() -> None:
    """Be the child of `call`: apply the limits, call the function, print one JSON document."""
    function, seconds, memory, *paths = sys.argv[2:]
    _limit(resource.RLIMIT_CPU, int(seconds))
    _limit(resource.RLIMIT_AS, int(memory))
    _limit(resource.RLIMIT_CORE, 0)
    try:
        options = json.load(sys.stdin)
        rest = [] if options is None else [options]
        answer = {"result": _function(function)(*map(Path, paths), *rest)}
    except HeadstartError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"{one_line(paths[0])} claims more data than it can hold"}
    print(json.dumps(answer))  # noqa: T201 - the answer


class Ended(Exception):
    """A worker has ended instead of answering; its message is one of the reasons below."""

    TIME = "the limit of processor time was reached"
    CRASH = "the process crashed"
    SILENCE = "there was no answer in time"
    START = "the process could not be started"


class Worker:
    """A process that answers one request after another; it ends with this object.

    What it prints to stderr is dropped, and interrupts of the terminal do not reach it.

    Args:
        function: ``module:function`` of (bytes, options as JSON) that returns bytes, or raises
            `HeadstartError` with a message.
        seconds: limit of processor time for each request.
        memory: limit of address space, in bytes.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, function: str, seconds: int, memory: int) -> None:
        self.seconds = seconds
        self._process = subprocess.Popen(
            _command("serve", function, str(seconds), str(memory)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,
        )
        weakref.finalize(self, _stop, self._process)
        self._ready = False

    def ask(self, data: bytes, options: Any, wait: float) -> tuple[bool, bytes]:  # noqa: ANN401
        """Return whether the function has a result, and the result or its message.

        Args:
            data: for the function.
            options: JSON for the function.
            wait: seconds of the clock, should the process be stopped or starved.

        Raises:
            Ended: the process is gone; ask another one.
        """
        deadline = time.monotonic() + wait
        if not self._ready:
            try:
                self._read(1, deadline)
            except Ended:
                raise Ended(Ended.START) from None
            self._ready = True
        rules = json.dumps(options).encode()
        assert self._process.stdin is not None
        try:
            for part in (_REQUEST.pack(len(data), len(rules)), rules, data):
                self._process.stdin.write(part)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        success, length = _ANSWER.unpack(self._read(_ANSWER.size, deadline))
        return success, self._read(length, deadline)

    def _read(self, count: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        parts = bytearray()
        while len(parts) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([handle], [], [], left)[0]:
                _stop(self._process)
                raise Ended(Ended.SILENCE)
            part = os.read(handle, count - len(parts))
            if not part:
                raise self._ended()
            parts += part
        return bytes(parts)

    def _ended(self) -> Ended:
        return Ended(Ended.TIME if self._process.wait() == -signal.SIGXCPU else Ended.CRASH)


def serve() -> None:
    """Be the child of a `Worker`: answer until stdin closes."""
    name, seconds, memory = sys.argv[2:]
    function = _function(name)
    _limit(resource.RLIMIT_CORE, 0)
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(_READY)
    sink.flush()
    while header := source.read(_REQUEST.size):
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + int(seconds))
        success, answer = _answer(function, source, *_REQUEST.unpack(header))
        sink.write(_ANSWER.pack(success, len(answer)) + answer)
        sink.flush()


def _answer(
    function: Callable[[bytes, Any], bytes], source: BinaryIO, size: int, rules: int
) -> tuple[bool, bytes]:
    options = json.loads(source.read(rules))
    try:
        return True, function(source.read(size), options)
    except HeadstartError as error:
        return False, str(error).encode()


def _command(entry: str, *arguments: str) -> list[str]:
    # -P: the current folder may have modules of the user's with any name.
    return [sys.executable, "-P", "-c", _CHILD.format(entry), json.dumps(sys.path), *arguments]


def _environment() -> dict[str, str]:
    # One thread: others would each reserve memory that counts as used.
    return os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function


def _ending(process: subprocess.CompletedProcess[bytes]) -> str:
    if process.returncode == -signal.SIGXCPU:
        return "does not end"
    last = process.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return f"ended the process ({one_line(last)[:200] or f'signal {-process.returncode}'})"


def _limit(resource_: int, value: int) -> None:
    hard = resource.getrlimit(resource_)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # The soft limit alone: reaching a hard limit of processor time would be an anonymous SIGKILL.
    resource.setrlimit(resource_, (value, hard))


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # it has bytes that nobody will read
