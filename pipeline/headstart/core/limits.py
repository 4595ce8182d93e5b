"""Limits of this process, where its system has them: Windows has none, macOS none of memory."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from types import ModuleType

resource: ModuleType | None
try:
    import resource
except ImportError:
    resource = None

TIME_IS_UP = getattr(signal, "SIGXCPU", None)
"""The signal that ends a process at its limit of processor time; None without such limits."""


def limit_time(seconds: int) -> None:
    """End this process with `TIME_IS_UP` after so many more seconds of processor time."""
    # Only the soft limit: it sends SIGXCPU, the hard limit a SIGKILL that could mean anything.
    if resource is not None:
        _limit("RLIMIT_CPU", round(time.process_time()) + seconds)


def limit_memory(size: int) -> None:
    """Let this process take so many bytes of address space, and dump no core where it dies."""
    if resource is not None:
        _limit("RLIMIT_CORE", 0)
        _limit("RLIMIT_AS", size)


def peak_memory() -> int:
    """Return the most memory that this process has had, in bytes; 0 if it is unknown."""
    if resource is None:
        return 0
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _limit(name: str, value: int) -> None:
    assert resource is not None
    number = getattr(resource, name)
    hard = resource.getrlimit(number)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with suppress(ValueError, OSError):  # macOS refuses limits of memory
        resource.setrlimit(number, (value, hard))
