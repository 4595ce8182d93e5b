from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from headstart.core.parallel import available_cores, limited
from headstart.core.parallel.threads import run_ahead, run_beside, run_threads
from hypothesis import given
from hypothesis import strategies as st


def settled(before: int) -> bool:
    """Say whether the number of threads is back where it was."""
    return threading.active_count() == before


@given(st.lists(st.integers()), st.integers(1, 8))
def test_every_item_is_worked_on_once(items, workers):
    before = threading.active_count()
    results = run_threads(lambda item: item * 2, iter(items), workers)
    assert Counter(results) == Counter(item * 2 for item in items)
    assert settled(before)


@pytest.mark.parametrize("workers", range(1, 9))
def test_as_many_items_at_once_as_there_are_workers(workers):
    together = threading.Barrier(workers, timeout=10)  # broken if fewer come
    results = run_threads(lambda item: together.wait(), range(workers), workers)
    assert sorted(results) == list(range(workers))


def test_results_come_in_order_of_completion():
    first_may_end = threading.Event()

    def work(item: str) -> str:
        if item == "slow":
            assert first_may_end.wait(10)
        return item

    results = run_threads(work, ["slow", "quick", "quicker"], 2)
    assert [next(results), next(results)] == ["quick", "quicker"]
    first_may_end.set()
    assert list(results) == ["slow"]


def test_items_are_taken_only_when_a_worker_is_free():
    taken = []
    release = threading.Semaphore(0)

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    def work(item: int) -> int:
        assert release.acquire(timeout=10)
        return item

    results = run_threads(work, items(), 3)
    release.release()
    next(results)
    assert len(taken) <= 4  # three in hand and the one that is done
    for _ in range(99):
        release.release()
    assert len(list(results)) == 99


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_in_work_stops_everybody_and_is_raised(workers):
    before = threading.active_count()
    started = []

    def work(item: int) -> int:
        started.append(item)
        if item == 5:
            raise ValueError("five")
        time.sleep(0.001)
        return item

    with pytest.raises(ValueError, match="five"):
        list(run_threads(work, range(10_000), workers))
    assert settled(before)
    assert len(started) < 10_000


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_in_items_is_raised_after_what_came_before_it(workers):
    before = threading.active_count()

    def items():
        yield from range(3)
        raise OSError("the folder is gone")

    done = []
    with pytest.raises(OSError, match="gone"):
        list(run_threads(done.append, items(), workers))
    assert sorted(done) == [0, 1, 2]
    assert settled(before)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("workers", [1, 4])
def test_leaving_early_lets_items_in_hand_finish_and_starts_no_other(kind, workers):
    before = threading.active_count()
    started, finished = [], []

    def work(item: int) -> int:
        started.append(item)
        time.sleep(0.02)
        finished.append(item)
        return item

    def consume() -> None:
        for _ in run_threads(work, range(1000), workers):
            raise kind

    # Nothing else refers to the iterator, so leaving the loop closes it.
    with pytest.raises(kind):
        consume()
    assert settled(before)
    assert sorted(finished) == sorted(started)
    assert len(started) <= 3 * workers


def test_an_interrupt_while_waiting_for_a_result_keeps_what_is_in_hand(tmp_path):
    script = """
import os, signal, sys, threading, time
from headstart.core.parallel import run_threads
done = open(sys.argv[1], "a", buffering=1)
def work(item):
    if item == 0:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    time.sleep(0.6)
    print(item, file=done)
    return item
try:
    for result in run_threads(work, range(100), 2):
        pass
except KeyboardInterrupt:
    sys.exit(130)
"""
    log = tmp_path / "done"
    done = subprocess.run([sys.executable, "-c", script, log], timeout=30, check=False)
    assert done.returncode == 130
    assert sorted(log.read_text().split()) == ["0", "1"]


def test_threads_that_cannot_be_started_leave_none_behind(monkeypatch):
    before = threading.active_count()
    start = threading.Thread.start
    calls = []

    def limited(thread: threading.Thread) -> None:
        calls.append(thread)
        if len(calls) == 3:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="can't start"):
        next(run_threads(lambda item: item, iter(int, 1), 4))
    assert settled(before)


def test_an_interrupt_while_a_thread_starts_leaves_none_behind(monkeypatch):
    before = threading.active_count()
    start = threading.Thread.start
    finished = []

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    def work(item: int) -> None:
        time.sleep(0.05)
        finished.append(item)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(run_threads(work, range(100), 1))
    assert settled(before)
    assert len(finished) <= 1


def test_work_beside_other_work_has_its_limits_and_raises_where_its_result_is_asked_for():
    begin = threading.Event()

    def work() -> int:
        assert begin.wait(10)
        return available_cores()

    with limited(1):
        result = run_beside(work)
    assert not result.done()
    begin.set()
    assert result.result(10) == 1
    with pytest.raises(ZeroDivisionError):
        run_beside(lambda: 1 // 0).result(10)


class TestRunAhead:
    def test_results_come_in_order_whatever_ends_first(self):
        second = threading.Event()

        def work(number: int) -> int:
            if number == 0:
                assert second.wait(10)  # so two run at once
            else:
                second.set()
            return number

        assert list(run_ahead(work, range(5), 2)) == [0, 1, 2, 3, 4]

    def test_no_more_than_the_workers_run_at_once(self):
        running, most, lock = set(), [], threading.Lock()

        def work(number: int) -> None:
            with lock:
                running.add(number)
                most.append(len(running))
            with lock:
                running.remove(number)

        assert len(list(run_ahead(work, range(20), 1))) == 20
        assert max(most) == 1

    def test_an_error_is_raised(self):
        def work(number: int) -> None:
            raise ValueError(number)

        with pytest.raises(ValueError, match="0"):
            list(run_ahead(work, range(2), 1))

    def test_what_has_yet_to_begin_is_left_out(self):
        before, release, called = threading.active_count(), threading.Event(), []

        def work(number: int) -> None:
            called.append(number)
            if number:
                assert release.wait(10)

        results = run_ahead(work, range(9), 1)
        next(results)
        results.close()
        release.set()
        deadline = time.monotonic() + 10
        while not settled(before) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(called) <= 2
