"""Run a function over work items on threads, or a function beside other work."""

from __future__ import annotations

import contextvars
import functools
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
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


def run_beside(function: Callable[[], Result]) -> Future[Result]:
    """Start a function on a thread of its own, and return its future result.

    It sees the same `available_cores`. The thread does not keep the process from ending, so an
    interrupt or an error in other work need not wait for it.
    """
    future: Future[Result] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            future.set_result(context.run(function))
        except BaseException as error:  # raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def run_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` for every item, in order; up to ``workers`` run at once.

    As with `run_beside`, an interrupt or an error does not wait for items that are running. Those
    that have yet to begin are left out then.
    """
    free, stop = threading.Semaphore(workers), threading.Event()

    def work(item: Item) -> Result | None:
        with free:
            return None if stop.is_set() else function(item)

    futures = [run_beside(functools.partial(work, item)) for item in items]
    try:
        for future in futures:
            yield future.result()  # type: ignore[misc]  # None only once nobody asks
    finally:
        stop.set()


@dataclass
class _Ended:
    """The end of a thread, with its error if any."""

    error: BaseException | None


_END = object()
