"""Run a function over work items on Ray: one actor a worker, one item in its hands at a time.

Ray places, starts and watches processes. Which item goes where is decided here, because the item of
a worker that died has to be done again, and the driver alone knows it. Items and results are all
that crosses the cluster, so both should be small. A worker gets nothing before it has shown that it
runs the same code as the driver.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import headstart
from headstart.core.errors import HeadstartError, missing_extra, one_line
from headstart.core.parallel.code_digest import code_digest

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL = "local"
_CLIENT = "ray://"
_TICK = 0.5  # seconds between two looks at a cluster that says nothing
_LOOK = 5.0  # seconds between two counts of its nodes
_CONNECT = 5.0  # seconds that a cluster's port may take to answer
_OBJECTS = 80 << 20  # bytes for Ray's object store, its least: nothing of size is put there


class Actor:
    """The process that works, on the other side of the cluster."""

    def identity(self) -> dict[str, str]:
        """Say which code runs here, and where that is."""
        return {
            "version": headstart.__version__,
            "code": code_digest(),
            "host": socket.gethostname(),
        }

    def begin(self, start: Callable[[Callable[[], bool]], Callable[[Any], Any]]) -> None:
        """Get ready to work; nobody asks this process to stop, it is killed."""
        self._work = start(lambda: False)

    def work(self, item: Any) -> Any:  # noqa: ANN401 - whatever the work takes and gives
        """Work on one item."""
        return self._work(item)


@dataclass
class RayEngine:
    """Workers on a Ray cluster.

    Attributes:
        address: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; empty takes ``RAY_ADDRESS``, or
            starts a cluster on this machine that ends with the run.
        count: workers; None is as many as the cluster's processors, or GPUs, allow, and changes
            as nodes come and go.
        cpus: processors that a worker occupies.
        gpus: GPUs that a worker occupies; a part of one lets several share it.
        tries: how many workers an item may cost before the run is given up.
        patience: seconds without any worker, after which the run is given up.
        notice: receives what happens, a line at a time.
    """

    address: str = ""
    count: int | None = None
    cpus: int = 1
    gpus: float = 0
    tries: int = 20
    patience: float = 120
    notice: Callable[[str], None] = field(default=lambda line: None)
    lost: int = field(default=0, init=False)
    """Workers that died while they had an item, so far."""
    _ray: Any = field(default=None, init=False, repr=False)
    _ours: bool = field(default=False, init=False, repr=False)

    def workers(self) -> int:
        """Return how many workers the cluster has room for now.

        Raises:
            HeadstartError: no cluster, Ray is not installed, or no node has what a worker needs.
        """
        ray = self._connected()
        room = self._room(ray)
        if not room:
            need = f"{self.cpus} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")
            raise HeadstartError(
                f"no node of the Ray cluster has {need} for a worker; ask for less, or add nodes"
            )
        return room

    def run(
        self,
        start: Callable[[Callable[[], bool]], Callable[[Item], Result]],
        items: Iterable[Item],
    ) -> Generator[Result, None, None]:
        """Yield the result of every item, as `headstart.core.parallel` says."""
        self.workers()
        run = _Run(self, self._ray, start, iter(items))
        try:
            yield from run.results()
        finally:
            run.end()

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        ray, self._ray = self._ray, None
        if ray is not None and self._ours:
            with _signals_kept():
                ray.shutdown()

    def _room(self, ray: Any) -> int:  # noqa: ANN401 - Ray's types are loaded late
        """Count the workers that fit, node by node: none can be spread over two."""
        room = 0
        for node in ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            fits = int(has.get("CPU", 0) // self.cpus)
            if self.gpus:
                gpus = has.get("GPU", 0)
                # A worker's part of a GPU never lies on two of them.
                share = int(gpus // self.gpus) if self.gpus >= 1 else int(1 / self.gpus) * int(gpus)
                fits = min(fits, share)
            room += fits
        return min(room, self.count) if self.count else room

    def _connected(self) -> Any:  # noqa: ANN401
        if self._ray is not None:
            return self._ray
        try:
            import ray
        except ImportError:
            raise missing_extra("ray", "ray") from None
        address = self.address or os.environ.get("RAY_ADDRESS", "") or LOCAL
        if not ray.is_initialized():  # a program that uses Ray itself keeps its cluster
            _reach(address)
            _check_token(ray, address)
            _connect(ray, address, self.cpus * (self.count or 0))
            self._ours = True
        self._ray = ray
        return ray


class _Run:
    """One run: actors that start, actors that work, items that wait."""

    def __init__(
        self,
        engine: RayEngine,
        ray: Any,  # noqa: ANN401
        start: Callable[[Callable[[], bool]], Callable[[Any], Any]],
        items: Iterator[Any],
    ) -> None:
        self._engine, self._ray, self._start = engine, ray, start
        self._source = items
        self._again: deque[tuple[int, Any]] = deque()  # items whose worker died
        self._tries: Counter[int] = Counter()
        self._next = 0
        self._starting: dict[Any, Any] = {}  # what is waited for: the actor
        self._working: dict[Any, tuple[Any, int, Any]] = {}  # likewise: actor, number, item
        self._counted = self._alive = time.monotonic()
        self._target = engine.workers()
        self._actor = ray.remote(Actor).options(
            num_cpus=engine.cpus, num_gpus=engine.gpus or None, max_restarts=0
        )

    def results(self) -> Iterator[Any]:
        """Yield results until no item is left."""
        waiting = self._take()
        while waiting is not None or self._working:
            self._fill(waiting is not None)
            refs = [*self._working, *self._starting]
            done, _ = self._ray.wait(refs, timeout=_TICK) if refs else ([], [])
            for ref in done:
                if ref in self._starting:
                    actor = self._started(ref)
                    if actor is not None and waiting is not None:
                        self._give(actor, waiting)
                        waiting = self._take()
                    elif actor is not None:
                        self._ray.kill(actor)
                    continue
                actor, number, item = self._working.pop(ref)
                ended, result = self._result(ref, number)
                if not ended:
                    self._again.append((number, item))
                    waiting = self._take() if waiting is None else waiting
                    continue
                if waiting is not None:
                    self._give(actor, waiting)
                    waiting = self._take()
                else:
                    self._ray.kill(actor)
                yield result
            self._watch(idle=not done)

    def end(self) -> None:
        """Kill whatever still works: nobody waits for it any more."""
        with suppress(self._ray.exceptions.RayError, ConnectionError):
            for actor in [*self._starting.values(), *(held[0] for held in self._working.values())]:
                self._ray.kill(actor)

    def _take(self) -> tuple[int, Any] | None:
        if self._again:
            return self._again.popleft()
        for item in self._source:
            self._next += 1
            return self._next - 1, item
        return None

    def _give(self, actor: Any, numbered: tuple[int, Any]) -> None:  # noqa: ANN401
        self._working[actor.work.remote(numbered[1])] = (actor, *numbered)

    def _fill(self, wanted: bool) -> None:
        """Start workers where there is room and work."""
        if time.monotonic() - self._counted > _LOOK:
            self._counted, self._target = time.monotonic(), self._engine._room(self._ray)
        if not wanted:
            return
        while len(self._starting) + len(self._working) < self._target:
            actor = self._actor.remote()
            self._starting[actor.identity.remote()] = actor
            if len(self._starting) > len(self._working) + 1:
                break  # no more than can be given something soon; the next round goes on

    def _started(self, ref: Any) -> Any | None:  # noqa: ANN401
        """Bring an actor one step on; returns it when it is ready to work."""
        actor = self._starting.pop(ref)
        errors = self._ray.exceptions
        try:
            told = self._ray.get(ref)
        except errors.RayTaskError as error:
            raise cause_of(error) from None
        except errors.RuntimeEnvSetupError as error:
            raise HeadstartError(f"a worker cannot start: {one_line(error)}") from None
        except errors.RayActorError as error:
            if "ModuleNotFoundError" in str(error) or "ImportError" in str(error):
                raise HeadstartError(
                    "a worker cannot import Headstart; install the same version with its extra "
                    "[ray] on every node"
                ) from None
            return None  # it died, or its node did: another one is started
        if told is None:
            self._alive = time.monotonic()
            return actor
        _check(told)
        self._starting[actor.begin.remote(self._start)] = actor
        return None

    def _result(self, ref: Any, number: int) -> tuple[bool, Any]:  # noqa: ANN401
        """Return whether a worker lived to the end of its item, and what it gave."""
        errors = self._ray.exceptions
        try:
            result = self._ray.get(ref)
        except errors.RayTaskError as error:
            raise cause_of(error) from None
        except (errors.RayActorError, errors.OutOfMemoryError) as error:
            self._engine.lost += 1
            self._tries[number] += 1
            if self._tries[number] >= self._engine.tries:
                raise HeadstartError(
                    f"item {number + 1} of the work has ended {self._tries[number]} workers, the "
                    f"last one so: {one_line(error)[:300]}; look at its node's memory and logs"
                ) from None
            self._engine.notice("a worker was lost; another one goes on with what it had")
            return False, None
        self._alive = time.monotonic()
        return True, result

    def _watch(self, idle: bool) -> None:
        """Give up when there is work and nobody to do it."""
        if self._working or not idle:
            self._alive = max(self._alive, time.monotonic() if self._working else 0)
        elif time.monotonic() - self._alive > self._engine.patience:
            raise HeadstartError(
                f"no worker could be started in {self._engine.patience:.0f} s; the cluster is busy "
                "or its nodes are gone: what was finished is kept, the same command continues"
            )


def _check(told: dict[str, str]) -> None:
    """Refuse a worker that runs other code.

    Raises:
        HeadstartError: it does.
    """
    if told["code"] != code_digest():
        raise HeadstartError(
            f"the worker on {one_line(told['host'])} runs another Headstart (version "
            f"{one_line(told['version'])}, code {told['code'][:12]}) than this one "
            f"({headstart.__version__}, {code_digest()[:12]}); install the same on every node"
        )


def cause_of(error: Any) -> Exception:  # noqa: ANN401
    """Return the exception that work raised, as if it had been raised here."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, HeadstartError):
        return cause
    return HeadstartError(f"a worker failed: {type(cause).__name__}: {one_line(cause)[:500]}")


def _reach(address: str) -> None:
    """Find out in seconds whether anybody is at an address; Ray itself would try for minutes.

    Raises:
        HeadstartError: nobody is, or it is no address.
    """
    if address in (LOCAL, "auto"):
        return
    host, colon, port = address.removeprefix(_CLIENT).rpartition(":")
    if not colon or not host or not port.isdigit():
        raise HeadstartError(
            f"{one_line(address)} is no address of a Ray cluster; give auto, HOST:PORT or "
            "ray://HOST:10001"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT).close()
    except (OSError, OverflowError) as error:
        raise _nobody(address, error) from None


def _check_token(ray: Any, address: str) -> None:  # noqa: ANN401
    """Find out whether a cluster asks for a token that it is not shown.

    Ray itself finds the token for a cluster of this machine. To an address that somebody gave it
    shows one only if told to, and otherwise tries for twenty seconds, a line of warning in each.

    Raises:
        HeadstartError: it does.
    """
    refused = getattr(ray.exceptions, "AuthenticationError", ())
    if address in (LOCAL, "auto") or address.startswith(_CLIENT) or not refused:
        return
    try:
        with _no_stderr():
            ray._raylet.GcsClient(address=address)
    except refused:
        raise HeadstartError(
            f"the Ray cluster at {one_line(address)} wants to see its token; set "
            "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what this prints there: ray get-auth-token"
        ) from None
    except Exception:  # no public function does this; joining it will say what is wrong
        return


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Keep what native code prints off the terminal."""
    sys.stderr.flush()
    held = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(held, 2)
        os.close(held)


def _connect(ray: Any, address: str, cpus: int) -> None:  # noqa: ANN401
    """Join a cluster, or start one.

    Raises:
        HeadstartError: there is none, or it does not let us in.
    """
    _hush(ray)
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        options |= {"include_dashboard": False, "object_store_memory": _OBJECTS}
        options |= {"num_cpus": cpus} if cpus else {}
    if not address.startswith(_CLIENT):
        options["configure_logging"] = False
    try:
        with _signals_kept():
            ray.init(address=address, namespace="headstart", **options)
    except Exception as error:  # Ray raises whatever it meets, and plain Exception for time-outs
        raise _nobody(address, error) from None


def _hush(ray: Any) -> None:  # noqa: ANN401
    """Keep Ray's remarks off the terminal: it prints the deaths of workers on stdout, even."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    with suppress(AttributeError):  # no public setting does this
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _nobody(address: str, error: Exception) -> HeadstartError:
    why = getattr(error, "strerror", None) or str(error)
    what = "started" if address == LOCAL else "joined"
    return HeadstartError(
        f"no Ray cluster could be {what} at {one_line(address)}: {one_line(why)[:200]}; start one "
        "with: ray start --head, or leave --address out to use this machine"
    )


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep our own way of being interrupted, which Ray would replace by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
