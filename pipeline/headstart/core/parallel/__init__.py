"""Run a function over work items on an engine: threads of this machine, or Ray. Knows no images.

One contract for every engine, held by one set of tests:

- ``start`` is called once in every process that works, and returns the function that does it;
- every item is worked on to its end once, and its result is yielded in order of completion;
- a worker takes the next item when it is free;
- the first exception of ``start``, of the function or of the iterable ends the run and is raised;
- leaving the iterator early starts no other item, and has those in hand given up as soon as they
  ask, or (another process) at once: work must bear to be cut off and begun again;
- a worker that dies costs nobody else anything: its item is given to another one.
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
"""Says whether whoever asks should give its work up."""
Start = Callable[[Stopping], Callable[[Item], Result]]


class Engine(Protocol):
    """Something that can run work."""

    def workers(self) -> int:
        """Return how many items are worked on at once.

        Raises:
            HeadstartError: the engine is not there.
        """

    def run(
        self, start: Start[Item, Result], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        """Yield the result of every item, as the module says.

        Raises:
            HeadstartError: the engine is not there, or an item's workers die again and again.
        """

    def close(self) -> None:
        """Give back what the engine holds; a second call does nothing."""


@dataclass(frozen=True)
class ThreadEngine:
    """Threads of this process.

    Attributes:
        count: how many; None is one per core.
    """

    count: int | None = None

    def workers(self) -> int:
        """Return the number of threads."""
        return self.count or available_cores()

    def run(
        self, start: Start[Item, Result], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        """Yield the result of every item, as the module says."""
        return stoppable(start, items, self.workers())

    def close(self) -> None:
        """Do nothing: threads end with the run."""


def __getattr__(name: str) -> type:
    """Load what needs Ray when somebody asks for it."""
    if name == "RayEngine":
        from headstart.core.parallel.ray_engine import RayEngine

        return RayEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
