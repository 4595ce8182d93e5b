"""How many workers: the processors that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

ROOT = Path("/")
_LIMIT: ContextVar[int | None] = ContextVar("_LIMIT", default=None)


def available_cores() -> int:
    """Return how many processors this process may use, at least 1.

    The least of its CPU affinity, the CPU quota of its container (cgroup v1 and v2),
    ``OMP_NUM_THREADS`` and the `limited` number.
    """
    limits = [_affinity(), _quota(), _omp_threads(), _LIMIT.get()]
    return max(1, min(limit for limit in limits if limit is not None))


@contextmanager
def limited(workers: int | None) -> Iterator[None]:
    """Let `available_cores` return at most ``workers`` in this thread; None changes nothing."""
    token = _LIMIT.set(workers or _LIMIT.get())
    try:
        yield
    finally:
        _LIMIT.reset(token)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _omp_threads() -> int | None:
    """Return the first number of ``OMP_NUM_THREADS``, which may list one for each nesting level."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else None


def _quota() -> int | None:
    """Return the processors that the process's control groups allow, rounded up; None if all."""
    shares = []
    for line in lines(ROOT / "proc/self/cgroup"):
        number, controllers, group = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            shares += [_share_v2(folder) for folder in groups("sys/fs/cgroup", group)]
        elif "cpu" in controllers.split(","):
            for mount in ("sys/fs/cgroup/cpu", f"sys/fs/cgroup/{controllers}"):
                shares += [_share_v1(folder) for folder in groups(mount, group)]
    limits = [math.ceil(share) for share in shares if share is not None]
    return min(limits, default=None)


def groups(mount: str, group: str) -> list[Path]:
    """Return the folders of a group and of those above it, up to the mount point.

    In a container the group's path may be the host's, while its own group is mounted at the root.
    """
    root = ROOT / mount
    folder = root / group.strip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _share_v2(folder: Path) -> float | None:
    words = " ".join([*lines(folder / "cpu.max"), "max 0"]).split()
    return _share(words[0], words[1])


def _share_v1(folder: Path) -> float | None:
    quota, period = (
        [*lines(folder / f"cpu.cfs_{name}_us"), "0"][0] for name in ("quota", "period")
    )
    return _share(quota, period)


def _share(quota: str, period: str) -> float | None:
    if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
        return int(quota) / int(period)
    return None  # "max" and -1 mean no limit


def lines(path: Path) -> list[str]:
    """Return the lines of a file; none if it cannot be read."""
    with suppress(OSError, ValueError):
        return path.read_text().splitlines()
    return []
