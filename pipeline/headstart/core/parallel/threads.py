"""Run a function over work items on threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_threads(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    stop: threading.Event | None = None,
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` for every item, in order of completion.

    Each thread takes the next item when it is free; ``items`` is read by one thread at a time. If
    you leave the iterator early or set ``stop``, threads finish their items and start no others.
    The first exception of ``work`` or ``items`` is raised when all threads have stopped.
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
        except BaseException as caught:  # raised in the calling thread
            error = caught
        results.put(_Ended(error))

    threads: list[threading.Thread] = []
    try:
        for _ in range(workers):
            thread = threading.Thread(target=loop, daemon=True)
            threads.append(thread)  # first: an interrupt inside `start` may leave it running
            thread.start()
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
        # One that has yet to begin will see `stop` and take nothing.
        for thread in filter(threading.Thread.is_alive, threads):
            thread.join()


@dataclass
class _Ended:
    """The end of a thread, with its error if any."""

    error: BaseException | None


_END = object()
