"""Look at a file that cannot be trusted in a process of its own, which may die of it.

HDF5 and protobuf are parsers in C, and an ONNX graph computes what it likes: a damaged or hostile
file can loop, crash or take all memory. The kernel holds the child to limits of processor time and
memory, so a slow disk is no reason to give up and a loop is.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.core.errors import HeadstartError, StoreError, one_line

SECONDS = 30  # of processor time, besides a second for each 10 MB
BYTES = 4 << 30  # of memory, besides the file's size four times
_SPEED = 10_000_000

_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from headstart.core.sandbox import main; main()"
)


@dataclass(frozen=True)
class Kind:
    """What a file should be, and what it may cost to find out.

    Attributes:
        name: what it is called in messages.
        error: what is raised.
        seconds: of processor time, besides a second for each 10 MB; None takes `SECONDS`.
        memory: bytes, besides the file's size times ``copies``; None takes `BYTES`.
        copies: how often the file's content may lie in memory.
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
    given: Any = None,  # noqa: ANN401 - JSON
) -> Any:  # noqa: ANN401 - what it returns, as JSON
    """Call ``module:function`` with paths, in a process of its own.

    Args:
        function: returns what JSON can hold; raises `HeadstartError` with a line for the user.
        path: the file to look at; its size decides the limits.
        rest: further paths for the function.
        kind: what the file should be.
        given: what else the function gets, after the paths; nothing if None.

    Raises:
        HeadstartError: of the kind's own class: it said so, or the process died or reached a limit.
    """
    size = path.stat().st_size
    seconds = SECONDS if kind.seconds is None else kind.seconds
    memory = BYTES if kind.memory is None else kind.memory
    limits = (seconds + size // _SPEED, memory + kind.copies * size)
    command = [sys.executable, "-P", "-c", _CHILD, json.dumps(sys.path), function]
    done = subprocess.run(
        [*command, *map(str, limits), os.fspath(path), *map(os.fspath, rest)],
        capture_output=True,
        check=False,
        input=json.dumps(given).encode(),
        # One thread: others would each reserve memory that counts as used.
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise kind.error(
            f"{one_line(path)} is no readable {kind.name}: it is damaged so that reading it "
            f"{_ending(done)}"
        ) from None
    if "error" in answer:
        raise kind.error(answer["error"])
    return answer["result"]


def _ending(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode == -signal.SIGXCPU:
        return "does not come to an end"
    last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return f"ended the process ({one_line(last)[:200] or f'signal {-done.returncode}'})"


def main() -> None:
    """Be the child: apply the limits, call the function, print one JSON document."""
    function, seconds, memory, *paths = sys.argv[2:]
    _limit(resource.RLIMIT_CPU, int(seconds))
    _limit(resource.RLIMIT_AS, int(memory))
    _limit(resource.RLIMIT_CORE, 0)
    module, _, name = function.partition(":")
    try:
        given = json.load(sys.stdin)
        rest = [] if given is None else [given]
        result = getattr(importlib.import_module(module), name)(*map(Path, paths), *rest)
        answer = {"result": result}
    except HeadstartError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"{one_line(paths[0])} claims more data than it can hold"}
    print(json.dumps(answer))  # noqa: T201 - the answer


def _limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # The soft limit alone: reaching a hard one of processor time would be an anonymous SIGKILL.
    resource.setrlimit(what, (value, hard))
