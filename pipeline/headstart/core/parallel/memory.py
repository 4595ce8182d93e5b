"""How much memory this process may still take."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module

from headstart.core.parallel import cores


def available_memory() -> int:
    """Return the bytes that are free for this process; 0 if it is unknown.

    On Linux the least of what the kernel says and of what its control groups (cgroup v2) leave; on
    other systems what psutil says, or else all memory that there is.
    """
    figures = [_of_linux() or _of_psutil() or _all(), *_left_by_groups()]
    return min(filter(None, figures), default=0)


def _of_linux() -> int:
    for line in cores.lines(cores.ROOT / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _of_psutil() -> int:
    with suppress(ImportError, OSError, RuntimeError, ValueError):  # it is no dependency
        return int(import_module("psutil").virtual_memory().available)
    return 0


def _all() -> int:
    with suppress(AttributeError, ValueError, OSError):  # Windows has none of these
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0


def _left_by_groups() -> list[int]:
    free = []
    for line in cores.lines(cores.ROOT / "proc/self/cgroup"):
        if line.startswith("0::"):
            for folder in cores.groups("sys/fs/cgroup", line[3:]):
                most, used = (
                    "".join(cores.lines(folder / f"memory.{name}")) for name in ("max", "current")
                )
                if most.isdecimal() and used.isdecimal():
                    free.append(max(1, int(most) - int(used)))
    return free
