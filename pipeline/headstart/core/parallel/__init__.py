"""Run a function over work items on an engine: threads of this machine, or Ray. Knows no images.

One contract for every engine, held by one set of tests:

- ``start`` is called once in every process that works, and returns the function that does it;
- every item is completed once, and results are yielded in order of completion;
- a worker takes the next item when it is free;
- the first exception of ``start``, of the function or of the iterable ends the run and is raised;
- leaving the iterator early starts no other item, and cancels those under way as soon as they ask,
  or (in another process) at once: work must tolerate being cut off and started again;
- a worker that dies affects no other: its item is given to another worker.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from headstart.core.parallel.threads import available_cores, run_threads, stoppable

__all__ = ["Engine", "RayEngine", "Stopping", "ThreadEngine", "available_cores", "run_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Stopping = Callable[[], bool]
"""Tells the work whether to give up."""
Start = Callable[[Stopping], Callable[[Item], Result]]


class Engine(Protocol):
    """Something that can run work."""

    def workers(self) -> int:
        """Return how many items are worked on at once.

        Raises:
            HeadstartError: the engine cannot be reached.
        """

    def run(
        self, start: Start[Item, Result], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        """Yield the result of every item; see the module.

        Raises:
            HeadstartError: the engine cannot be reached, or an item's workers keep dying.
        """

    def close(self) -> None:
        """Release resources; a second call does nothing."""


@dataclass(frozen=True)
class ThreadEngine:
    """Threads of this process: ``count`` of them, or one per core."""

    count: int | None = None

    def workers(self) -> int:
        """Return the number of threads."""
        return self.count or available_cores()

    def run(
        self, start: Start[Item, Result], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        """Yield the result of every item; see the module."""
        return stoppable(start, items, self.workers())

    def close(self) -> None:
        """Do nothing: threads end with the run."""


def __getattr__(name: str) -> type:
    """Import Ray's engine on first use."""
    if name == "RayEngine":
        from headstart.core.parallel.ray_engine import RayEngine

        return RayEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
