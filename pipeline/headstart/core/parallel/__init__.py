"""Run a function over work items on an engine: local threads, or Ray.

All engines keep one contract. ``start`` is called once per process and returns the function. Each
item is completed once, by the next free worker, and results come in order of completion. The first
exception of ``start``, the function or the iterable ends the run and is raised. Leaving the
iterator early cancels running items, so work must tolerate being stopped and started again. If a
worker dies, another worker takes over its item.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from headstart.core.parallel.cores import available_cores, limited
from headstart.core.parallel.memory import available_memory
from headstart.core.parallel.threads import run_ahead, run_beside, run_threads

__all__ = [
    "Engine",
    "Stopping",
    "ThreadEngine",
    "available_cores",
    "available_memory",
    "limited",
    "run_ahead",
    "run_beside",
    "run_threads",
]

Item = TypeVar("Item")
Result = TypeVar("Result")
Stopping = Callable[[], bool]
"""Tells the work whether to give up."""
Start = Callable[[Stopping], Callable[[Item], Result]]


class Engine(Protocol):
    """Runs work, or raises a `HeadstartError` if it cannot be reached."""

    def workers(self) -> int:
        """Return how many items run at once."""

    def run(
        self, start: Start[Item, Result], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        """Yield the result of every item; a `HeadstartError` if an item's workers keep dying."""

    def close(self) -> None:
        """Release resources; a second call does nothing."""


@dataclass(frozen=True)
class ThreadEngine:
    """Runs work on ``count`` threads of this process, by default one per core."""

    count: int | None = None

    def workers(self) -> int:
        """Return the number of threads."""
        return self.count or available_cores()

    def run(
        self, start: Start[Item, Result], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        """Yield the result of every item; see the module."""
        stop = threading.Event()
        work = start(stop.is_set)
        first: list[Exception] = []

        def guarded(item: Item) -> Result:
            try:
                return work(item)
            except Exception as error:
                if not stop.is_set():
                    first.append(error)  # later errors only come from stopping
                    stop.set()
                raise

        try:
            yield from run_threads(guarded, items, self.workers(), stop)
        except Exception as error:
            raise (first or [error])[0] from None

    def close(self) -> None:
        """Do nothing: threads end with the run."""
