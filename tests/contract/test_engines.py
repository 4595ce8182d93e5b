"""The contract of `headstart.core.parallel`: every engine, the same cases, real processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter

import pytest
from headstart.core.errors import HeadstartError, InputError
from headstart.core.parallel import ThreadEngine
from headstart.core.parallel.ray_engine import RayEngine

LIMIT = 30  # seconds that something may take which should not take one


@pytest.fixture(params=["threads", "ray"])
def engine(request):
    if request.param == "threads":
        return ThreadEngine(2)
    request.getfixturevalue("ray_cluster")
    return RayEngine(count=2)


@pytest.fixture
def starting(tmp_path):
    """Give ``starting(work)``: a start whose function calls ``work(folder, item, stopping)``.

    Everything is made inside functions, so that Ray sends it whole: no worker can import a test.
    """

    def make(work, start=lambda: None):
        def begin(stopping):
            start()
            return lambda item: work(tmp_path, item, stopping)

        return begin

    return make


def wait_for(condition) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_every_item_is_worked_on_once(engine, starting):
    def work(folder, item, stopping):
        with (folder / "log").open("a") as log:
            log.write(f"{item}\n")
        return item * 2

    start = starting(work)
    assert Counter(engine.run(start, iter(range(60)))) == Counter(range(0, 120, 2))
    assert Counter(engine.run(start, [])) == Counter()


def test_a_process_gets_ready_once(engine, starting, tmp_path):
    def start():
        (tmp_path / f"{os.getpid()}-{time.monotonic_ns()}").touch()

    results = set(engine.run(starting(lambda *_: os.getpid(), start), range(30)))
    started = Counter(int(path.name.partition("-")[0]) for path in tmp_path.iterdir())
    assert results <= started.keys()
    assert set(started.values()) == {1}


def test_as_many_items_at_once_as_there_are_workers(engine, starting):
    def work(folder, item, stopping):
        (folder / str(item)).touch()
        deadline = time.monotonic() + 30
        while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        return len(list(folder.iterdir()))

    assert engine.workers() == 2
    assert list(engine.run(starting(work), range(2))) == [2, 2]


def test_a_long_item_holds_nobody_up(engine, starting, tmp_path):
    def work(folder, item, stopping):
        deadline = time.monotonic() + 30
        while item == 0 and not (folder / "9").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        (folder / str(item)).touch()
        return item

    results = list(engine.run(starting(work), range(10)))
    assert 0 in results[-2:]  # the last other item ends together with it
    assert sorted(results) == list(range(10))


def test_an_error_in_work_ends_the_run(engine, starting, tmp_path):
    def work(folder, item, stopping):
        (folder / str(item)).touch()
        if item == 5:
            raise InputError("five is no good")
        time.sleep(0.01)
        return item

    with pytest.raises(InputError, match=r"^five is no good$"):
        list(engine.run(starting(work), range(10_000)))
    begun = len(list(tmp_path.iterdir()))
    time.sleep(0.1)
    assert len(list(tmp_path.iterdir())) == begun < 100


def test_an_error_while_getting_ready_ends_the_run(engine, starting):
    def start():
        raise InputError("no network")

    with pytest.raises(InputError, match=r"^no network$"):
        list(engine.run(starting(lambda *_: None, start), range(10)))


def test_an_error_in_the_items_ends_the_run(engine, starting):
    def items():
        yield from range(3)
        raise OSError("the folder is gone")

    with pytest.raises(OSError, match="gone"):
        list(engine.run(starting(lambda *_: None), items()))


def test_leaving_early_starts_no_other_item_and_waits_for_none(engine, starting, tmp_path):
    def work(folder, item, stopping):
        (folder / str(item)).touch()
        deadline = time.monotonic() + (0 if item == 0 else 60)
        while time.monotonic() < deadline and not stopping():
            time.sleep(0.005)
        return item

    before = time.monotonic()
    for _ in engine.run(starting(work), range(1000)):
        wait_for(lambda: len(list(tmp_path.iterdir())) > 1)
        break
    assert time.monotonic() - before < LIMIT
    time.sleep(0.3)  # a process that is killed may take its last breath a moment later
    begun = len(list(tmp_path.iterdir()))
    time.sleep(0.1)
    assert len(list(tmp_path.iterdir())) == begun <= 4


class TestRay:
    @pytest.fixture
    def engine(self, ray_cluster):
        return RayEngine(count=2, tries=4)

    def test_a_dead_workers_item_is_done_by_another_one(self, engine, starting, tmp_path):
        def work(folder, item, stopping):
            mark = folder / str(item)
            if item % 4 == 1 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return item

        assert sorted(engine.run(starting(work), range(12))) == list(range(12))
        assert engine.lost == 3

    def test_an_item_that_ends_every_worker_ends_the_run(self, engine, starting, tmp_path):
        def work(folder, item, stopping):
            if item == 1:
                with (folder / "deaths").open("a") as log:
                    log.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
            return item

        with pytest.raises(HeadstartError, match=r"^4 workers died while working on item 2"):
            list(engine.run(starting(work), range(3)))
        assert (tmp_path / "deaths").read_text() == "xxxx"

    def test_an_error_that_is_no_ours_is_one_line(self, engine, starting):
        def work(folder, item, stopping):
            raise ValueError("a\nb")

        with pytest.raises(HeadstartError, match=r"^a worker failed: ValueError: a\\nb$"):
            list(engine.run(starting(work), range(3)))

    def test_signals_stay_ours(self, engine):
        held = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        assert engine.workers() == 2
        assert held == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    @pytest.mark.parametrize(
        ("need", "told"),
        [
            ({"gpus": 1}, "no node of the Ray cluster has 1 CPU and 1 GPU for a worker"),
            ({"cpus": 500}, "no node of the Ray cluster has 500 CPU for a worker"),
        ],
    )
    def test_what_no_node_has(self, ray_cluster, need, told):
        with pytest.raises(HeadstartError, match=told):
            RayEngine(**need).workers()


def room(*nodes, **need) -> int:
    """Count the workers that nodes with these resources have room for."""

    class Cluster:
        def nodes(self):
            return [{"Alive": alive, "Resources": has} for alive, has in nodes]

    return RayEngine(**need).room(Cluster())


class TestRoom:
    """How many workers fit, from what Ray says of its nodes."""

    def test_processors_are_not_added_up_over_nodes(self):
        assert room((True, {"CPU": 7.0}), (True, {"CPU": 3.0}), cpus=4) == 1

    def test_lost_nodes_do_not_count(self):
        assert room((True, {"CPU": 2.0}), (False, {}), (False, {"CPU": 8.0})) == 2

    def test_no_more_than_wanted(self):
        assert room((True, {"CPU": 64.0}), count=5) == 5

    @pytest.mark.parametrize(
        ("gpus", "workers"), [(1, 8), (2, 4), (3, 2), (0.5, 16), (0.4, 16), (0.25, 16)]
    )
    def test_gpus(self, gpus, workers):
        """A part of a GPU lies on one; 64 processors have room for 16 workers of four threads."""
        assert room((True, {"CPU": 64.0, "GPU": 8.0}), cpus=4, gpus=gpus) == workers

    def test_a_node_without_gpus_has_room_for_none(self):
        assert room((True, {"CPU": 64.0}), (True, {"CPU": 8.0, "GPU": 1.0}), gpus=1) == 1


class TestNoCluster:
    @pytest.fixture(autouse=True)
    def nobody_connected(self, monkeypatch):
        import ray

        monkeypatch.setattr(ray, "is_initialized", lambda: False)

    @pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
    def test_nobody_at_the_address(self, address):
        before = time.monotonic()
        with pytest.raises(HeadstartError, match=f"^no Ray cluster could be joined at {address}: "):
            RayEngine(address).workers()
        assert time.monotonic() - before < LIMIT

    @pytest.mark.parametrize("address", ["nonsense", "ray://", "host:", ":6379", "host:port"])
    def test_no_address(self, address):
        with pytest.raises(HeadstartError, match="is not an address of a Ray cluster; give auto"):
            RayEngine(address).workers()


def test_ray_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(HeadstartError, match=r"extra \[ray\] with: pip install"):
        RayEngine().workers()


def test_the_threads_of_a_run_end_with_it(starting):
    before = threading.active_count()
    assert len(list(ThreadEngine(5).run(starting(lambda *_: 0), range(50)))) == 50
    assert threading.active_count() == before
    assert ThreadEngine().workers() >= 1
    ThreadEngine().close()
