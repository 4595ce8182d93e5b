"""Measuring contenders fairly: each in a process of its own, one running at a time, in turn.

A contender is a script that answers requests, one JSON document a line, through `serve`. What it
loads before the first answer is off the clock; each later request is timed by itself. Only the
standard library is used here, because the scripts run in other people's environments too.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
PACKAGES = (
    "headstart", "torch", "torchvision", "timm", "onnxruntime", "Pillow", "numpy", "scikit-learn",
)  # fmt: skip


class ContenderError(Exception):
    """A contender cannot take part; the message says why."""


class Contender:
    """A script that runs as a process of its own and answers requests.

    Args:
        script: the file to run.
        request: handed to it on its start; its answer is `opened`.
        python: the interpreter, for an environment of its own.
        env: environment variables on top of this process's.

    Raises:
        ContenderError: it cannot start.
    """

    def __init__(
        self,
        script: Path,
        request: dict[str, Any],
        python: str | Path = sys.executable,
        env: Mapping[str, str] | None = None,
    ) -> None:
        path = os.pathsep.join([str(ROOT / "pipeline"), str(ROOT / "benchmarks")])
        self._process = subprocess.Popen(
            [str(python), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": path} | dict(env or {}),
        )
        self.opened = self.ask(request)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            self.close()
            raise ContenderError(f"its process ended with exit code {code}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self.close()
            raise ContenderError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer requests until the other side goes; an exception is an answer too."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not look like an answer
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # the other side prints it in its table
            reply = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        out.write(json.dumps(reply) + "\n")
        out.flush()


def rounds(contenders: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """Call every contender once a round, in an order that is reversed from round to round."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(count):
        names = list(contenders)
        for name in names if number % 2 == 0 else reversed(names):
            values[name].append(contenders[name]())
    return values


def paired(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the ratio of each round."""
    return [a / b for a, b in zip(ours, others, strict=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, min and max."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def show(values: Sequence[float], digits: int = 1) -> str:
    """Write a median with its range."""
    middle, low, high = (f"{v:.{digits}f}" for v in spread(values).values())
    return f"{middle} ({low}–{high})"


def machine() -> dict[str, Any]:
    """Describe this machine: processor, what of its instruction sets matters, memory, versions."""
    facts: dict[str, str] = {}
    info = Path("/proc/cpuinfo")
    if info.exists():  # elsewhere than on Linux the platform module must do
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": facts.get("model name", platform.processor()),
        "family": f"{facts.get('cpu family', '?')} model {facts.get('model', '?')}",
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in FLAGS if flag in facts.get("flags", "").split()],
        "memory_gib": round(pages / 2**30, 1),
        "system": _system(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _system() -> str:
    """Return the operating system and its kernel's version, without what an owner added."""
    with contextlib.suppress(OSError, AttributeError):  # a file of Linux distributions only
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
        kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
        return f"{name}, Linux {kernel}, {platform.machine()}"
    return f"{platform.system()} {platform.release()}, {platform.machine()}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
