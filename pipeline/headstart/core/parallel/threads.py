"""Run a function over work items on the threads of this machine."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Return how many processors this process may use (affinity is honoured)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_threads(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    stop: threading.Event | None = None,
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` for every item, in order of completion.

    Each worker takes the next item when it is free, so an expensive item delays no other. Leaving
    the iterator early, by an exception or an interrupt, lets each worker finish its item and start
    no other.

    Args:
        work: called from several threads at once.
        items: read from one thread at a time.
        workers: number of threads, at least 1.
        stop: set, by the caller or here, when no other item is to be started.

    Raises:
        Exception: the first one that ``work`` or ``items`` raised, once all workers have stopped.
    """
    source = iter(items)
    taking = threading.Lock()
    stop = stop or threading.Event()
    results: queue.SimpleQueue[Result | _Ended] = queue.SimpleQueue()

    def loop() -> None:
        error: BaseException | None = None
        try:
            while not stop.is_set():
                with taking:
                    item = next(source, _END)
                if item is _END:
                    break
                results.put(work(item))  # type: ignore[arg-type]
        except BaseException as caught:  # handed to the caller, below
            error = caught
        results.put(_Ended(error))

    threads: list[threading.Thread] = []
    try:
        for _ in range(workers):
            thread = threading.Thread(target=loop, daemon=True)
            thread.start()
            threads.append(thread)
        running = workers
        while running:
            result = results.get()
            if not isinstance(result, _Ended):
                yield result
                continue
            running -= 1
            if result.error is not None:
                raise result.error
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def stoppable(
    start: Callable[[Callable[[], bool]], Callable[[Item], Result]],
    items: Iterable[Item],
    workers: int,
) -> Generator[Result, None, None]:
    """Do what `run_threads` does, with work that can ask whether to give up.

    ``start`` is called once, with the function to ask, and returns the work.
    """
    stop = threading.Event()
    work = start(stop.is_set)
    first: list[Exception] = []

    def guarded(item: Item) -> Result:
        try:
            return work(item)
        except Exception as error:
            if not stop.is_set():
                first.append(error)  # later errors come from giving up
                stop.set()
            raise

    try:
        yield from run_threads(guarded, items, workers, stop)
    except Exception as error:
        raise (first or [error])[0] from None


class _Ended:
    """A worker has stopped, and why."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


_END = object()
