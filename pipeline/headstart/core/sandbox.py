"""Child processes, with limits of time and memory, for files that cannot be trusted.

A damaged or hostile file can make a C parser (HDF5, protobuf, images) or an ONNX graph loop, crash
or take all memory. The kernel limits the child's memory and processor time, so a slow disk or a
busy machine does not matter. `call` starts a process for one file; a `Worker` answers many
requests. Neither imports modules from the current folder unless its parent does.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.core import limits
from headstart.core.errors import HeadstartError, StoreError, one_line

SECONDS = 30  # of processor time, plus a second per 10 MB
BYTES = 4 << 30  # of memory, plus four times the file's size
_SPEED = 10_000_000
_NO_END = "does not end"
_BUSY = 10  # wall time by processor time, at most, where the system has no limit of the latter

_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from headstart.core import sandbox; sandbox.{}()"
)
_REQUEST = struct.Struct("<QI")  # sizes of the data and of the options, in bytes
_ANSWER = struct.Struct("<?I")  # whether it is a result or a message, and its size in bytes
_READY = b"\1"


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name in messages, its class of errors, and the limits for reading it.

    Attributes:
        seconds: of processor time, plus a second per 10 MB; None for `SECONDS`.
        memory: bytes, plus ``copies`` times the file's size; None for `BYTES`.
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
    """Call ``module:function`` with the paths and any JSON options, in a separate process.

    The function returns JSON or raises a `HeadstartError`. The size of ``path`` decides the limits.

    Raises:
        HeadstartError: ``kind.error``, if the function failed, the process died or reached a limit.
    """
    size = path.stat().st_size
    seconds = SECONDS if kind.seconds is None else kind.seconds
    memory = BYTES if kind.memory is None else kind.memory
    seconds += size // _SPEED
    bounds = map(str, (seconds, memory + kind.copies * size))
    try:
        process = subprocess.run(
            _command("main", function, *bounds, *map(os.fspath, (path, *rest))),
            capture_output=True,
            check=False,
            input=json.dumps(options).encode(),
            env=_environment(),
            timeout=None if limits.resource else _BUSY * seconds,
        )
        answer = json.loads(process.stdout)
    except (ValueError, subprocess.TimeoutExpired) as error:
        ending = _NO_END if isinstance(error, subprocess.TimeoutExpired) else _ending(process)
        raise kind.error(
            f"{one_line(path)} is not a readable {kind.name}: it is damaged so that reading it "
            f"{ending}"
        ) from None
    if "error" in answer:
        raise kind.error(answer["error"])
    return answer["result"]


def main() -> None:
    """Run the child process of `call`: set the limits, call the function, print its result."""
    function, seconds, memory, *paths = sys.argv[2:]
    limits.limit_time(int(seconds))
    limits.limit_memory(int(memory))
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
    """A worker ended without an answer, for one of these reasons."""

    TIME = "the limit of processor time was reached"
    CRASH = "the process crashed"
    SILENCE = "there was no answer in time"
    START = "the process could not be started"


class Worker:
    """A child process that answers one request after another, and ends with this object.

    ``function`` is a ``module:function`` that takes bytes and JSON options, and returns bytes or
    raises a `HeadstartError`. ``seconds`` limits the processor time of each request, ``memory`` the
    address space in bytes. Stderr is dropped, and terminal interrupts do not reach the process.
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
        """Call the function; return True and its result, or False and its message.

        ``wait`` is a limit of wall time in seconds, in case the process is stopped or starved.

        Raises:
            Ended: the process is gone; start another worker.
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
            part = self._part(handle, count - len(parts), deadline - time.monotonic())
            if not part:
                raise self._ended()
            parts += part
        return bytes(parts)

    def _part(self, handle: int, size: int, seconds: float) -> bytes:
        """Read what arrives within so many seconds; nothing if the process has ended."""
        if sys.platform == "win32":  # there, select knows sockets only
            timer = threading.Timer(max(0, seconds), self._process.kill)
            timer.start()
            try:
                return os.read(handle, size)
            finally:
                timer.cancel()
        if seconds <= 0 or not select.select([handle], [], [], seconds)[0]:
            _stop(self._process)
            raise Ended(Ended.SILENCE)
        return os.read(handle, size)

    def _ended(self) -> Ended:
        return Ended(Ended.TIME if _timed_out(self._process.wait()) else Ended.CRASH)


def serve() -> None:
    """Run the child process of a `Worker`: answer until stdin closes."""
    name, seconds, memory = sys.argv[2:]
    function = _function(name)
    limits.limit_memory(int(memory))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(_READY)
    sink.flush()
    while header := source.read(_REQUEST.size):
        limits.limit_time(1 + int(seconds))
        size, rules = _REQUEST.unpack(header)
        options = json.loads(source.read(rules))
        try:
            success, answer = True, function(source.read(size), options)
        except HeadstartError as error:
            success, answer = False, str(error).encode()
        sink.write(_ANSWER.pack(success, len(answer)) + answer)
        sink.flush()


def _command(entry: str, *arguments: str) -> list[str]:
    # -P: the current folder may hold user modules of any name.
    return [sys.executable, "-P", "-c", _CHILD.format(entry), json.dumps(sys.path), *arguments]


def _environment() -> dict[str, str]:
    # One thread, because each thread reserves memory that counts towards the limit.
    return os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function


def _ending(process: subprocess.CompletedProcess[bytes]) -> str:
    if _timed_out(process.returncode):
        return _NO_END
    last = process.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return f"ended the process ({one_line(last)[:200] or f'signal {-process.returncode}'})"


def _timed_out(code: int) -> bool:
    return limits.TIME_IS_UP is not None and code == -limits.TIME_IS_UP


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # unsent bytes are dropped
