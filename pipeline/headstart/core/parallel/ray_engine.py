"""Run a function over work items on Ray, with one actor per worker and one item at a time.

Ray starts and watches the processes. Items are assigned here, because only the driver knows which
item to repeat when a worker dies. Items and results cross the network, so both should be small. A
worker must run the same code as the driver before it gets an item.
"""

from __future__ import annotations

import hashlib
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
from functools import cache
from pathlib import Path
from typing import Any

import headstart
from headstart.core.errors import HeadstartError, missing_extra, one_line
from headstart.core.parallel import Item, Result, Start

LOCAL = "local"
_CLIENT = "ray://"
_TICK = 0.5  # seconds to wait for a result before checking the workers
_LOOK = 5.0  # seconds between counts of the nodes
_CONNECT = 5.0  # seconds to wait for a connection
_OBJECTS = 80 << 20  # bytes, Ray's minimum: the object store holds nothing large


@cache
def code_digest() -> str:
    """Return the SHA-256 of this package's source, because edits do not change the version."""
    root = Path(headstart.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


class Actor:
    """A worker process on the cluster."""

    def identity(self) -> dict[str, str]:
        """Return the version and digest of the code, and the host."""
        return {
            "version": headstart.__version__,
            "code": code_digest(),
            "host": socket.gethostname(),
        }

    def begin(self, start: Start[Any, Any]) -> None:
        """Prepare the work. This process is killed, not asked to stop."""
        self._work = start(lambda: False)

    def work(self, item: Any) -> Any:  # noqa: ANN401 - whatever the work takes and gives
        """Work on one item."""
        return self._work(item)


@dataclass
class RayEngine:
    """Runs work on a Ray cluster.

    Attributes:
        address: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; if empty, ``RAY_ADDRESS`` or a
            local cluster that ends with the run.
        count: number of workers; None for as many as fit while nodes come and go.
        gpus: GPUs per worker; workers can share one by fractions.
        tries: how many workers may die on one item before the run fails.
        patience: seconds without any worker before the run fails.
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
        """Return how many workers fit on the cluster now; a `HeadstartError` if none fits."""
        ray = self._connected()
        room = self.room(ray)
        if not room:
            need = f"{self.cpus} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")
            raise HeadstartError(
                f"no node of the Ray cluster has {need} for a worker; ask for less, or add nodes"
            )
        return room

    def run(
        self, start: Start[Item, Result], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        """Yield the result of every item; see `headstart.core.parallel`."""
        self.workers()
        run = _Run(self, self._ray, start, iter(items))
        try:
            yield from run.results()
        finally:
            run.end()

    def close(self) -> None:
        """Leave the cluster, and stop it if it was started here."""
        ray, self._ray = self._ray, None
        if ray is not None and self._ours:
            with _signals_kept():
                ray.shutdown()

    def room(self, ray: Any) -> int:  # noqa: ANN401 - Ray's types are loaded late
        """Count the workers that fit on each node, because no worker can span two."""
        room = 0
        for node in ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            fits = int(has.get("CPU", 0) // self.cpus)
            if self.gpus:
                gpus = has.get("GPU", 0)
                # A share of a GPU cannot span two GPUs.
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
    """The state of one run: starting actors, working actors and waiting items."""

    def __init__(
        self,
        engine: RayEngine,
        ray: Any,  # noqa: ANN401
        start: Start[Any, Any],
        items: Iterator[Any],
    ) -> None:
        self._engine, self._ray, self._start = engine, ray, start
        self._source = items
        self._again: deque[tuple[int, Any]] = deque()  # items to repeat: their worker died
        self._tries: Counter[int] = Counter()
        self._next = 0
        self._waiting: tuple[int, Any] | None = None  # number and next item
        self._starting: dict[Any, Any] = {}  # actors by the reference to wait for
        self._working: dict[Any, tuple[Any, int, Any]] = {}  # likewise: actor, number, item
        self._counted = self._alive = time.monotonic()
        self._target = engine.workers()
        self._actor = ray.remote(Actor).options(
            num_cpus=engine.cpus, num_gpus=engine.gpus or None, max_restarts=0
        )

    def results(self) -> Iterator[Any]:
        """Yield the results of all items."""
        self._waiting = self._take()
        while self._waiting is not None or self._working:
            self._start_workers()
            refs = [*self._working, *self._starting]
            ready, _ = self._ray.wait(refs, timeout=_TICK) if refs else ([], [])
            for ref in ready:
                if ref in self._starting:
                    self._give_or_kill(self._started(ref))
                    continue
                actor, number, item = self._working.pop(ref)
                finished, result = self._result(ref, number)
                if finished:
                    self._give_or_kill(actor)
                    yield result
                else:
                    self._again.append((number, item))
                    self._waiting = self._waiting or self._take()
            self._watch(idle=not ready)

    def end(self) -> None:
        """Kill the remaining actors."""
        with suppress(self._ray.exceptions.RayError, ConnectionError):
            actors = [work[0] for work in self._working.values()]
            for actor in [*self._starting.values(), *actors]:
                self._ray.kill(actor)

    def _give_or_kill(self, actor: Any) -> None:  # noqa: ANN401
        """Give a free actor the next item, or kill it if there is none; None is not ready yet."""
        if actor is not None and self._waiting is not None:
            self._working[actor.work.remote(self._waiting[1])] = (actor, *self._waiting)
            self._waiting = self._take()
        elif actor is not None:
            self._ray.kill(actor)

    def _take(self) -> tuple[int, Any] | None:
        if self._again:
            return self._again.popleft()
        for item in self._source:
            self._next += 1
            return self._next - 1, item
        return None

    def _start_workers(self) -> None:
        if time.monotonic() - self._counted > _LOOK:
            self._counted, self._target = time.monotonic(), self._engine.room(self._ray)
        if self._waiting is None:
            return
        while len(self._starting) + len(self._working) < self._target:
            actor = self._actor.remote()
            self._starting[actor.identity.remote()] = actor
            if len(self._starting) > len(self._working) + 1:
                break  # start them gradually; the next round continues

    def _started(self, ref: Any) -> Any | None:  # noqa: ANN401
        """Advance a starting actor by a step; return it once it is ready to work."""
        actor = self._starting.pop(ref)
        errors = self._ray.exceptions
        try:
            identity = self._ray.get(ref)
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
            return None  # it or its node died; another actor is started
        if identity is None:
            self._alive = time.monotonic()
            return actor
        _check(identity)
        self._starting[actor.begin.remote(self._start)] = actor
        return None

    def _result(self, ref: Any, number: int) -> tuple[bool, Any]:  # noqa: ANN401
        """Return whether the item is finished, and its result."""
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
                    f"{self._tries[number]} workers died while working on item {number + 1}, the "
                    f"last one with: {one_line(error)[:300]}; look at its node's memory and logs"
                ) from None
            self._engine.notice("a worker died; its item is given to another worker")
            return False, None
        self._alive = time.monotonic()
        return True, result

    def _watch(self, idle: bool) -> None:
        """Raise an error after too long without any worker."""
        if self._working or not idle:
            self._alive = max(self._alive, time.monotonic() if self._working else 0)
        elif time.monotonic() - self._alive > self._engine.patience:
            raise HeadstartError(
                f"no worker could be started in {self._engine.patience:.0f} s; the cluster is busy "
                "or its nodes are gone; completed work is saved: run the same command to resume"
            )


def _check(identity: dict[str, str]) -> None:
    """Raise an error for a worker that runs other code."""
    if identity["code"] != code_digest():
        raise HeadstartError(
            f"the worker on {one_line(identity['host'])} runs a different Headstart (version "
            f"{one_line(identity['version'])}, code {identity['code'][:12]}) than this one "
            f"({headstart.__version__}, {code_digest()[:12]}); install the same on every node"
        )


def cause_of(error: Any) -> Exception:  # noqa: ANN401
    """Return the error that the work raised in another process."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, HeadstartError):
        return cause
    return HeadstartError(f"a worker failed: {type(cause).__name__}: {one_line(cause)[:500]}")


def _reach(address: str) -> None:
    """Check within seconds that a cluster answers; Ray itself would try for minutes."""
    if address in (LOCAL, "auto"):
        return
    host, colon, port = address.removeprefix(_CLIENT).rpartition(":")
    if not colon or not host or not port.isdigit():
        raise HeadstartError(
            f"{one_line(address)} is not an address of a Ray cluster; give auto, HOST:PORT or "
            "ray://HOST:10001"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from None


def _check_token(ray: Any, address: str) -> None:  # noqa: ANN401
    """Raise an error for a cluster that requires a token if none is configured.

    Ray finds a local cluster's token itself; elsewhere it would warn for twenty seconds.
    """
    refused = getattr(ray.exceptions, "AuthenticationError", ())
    if address in (LOCAL, "auto") or address.startswith(_CLIENT) or not refused:
        return
    try:
        with _no_stderr():
            ray._raylet.GcsClient(address=address)  # there is no public way to ask
    except refused:
        raise HeadstartError(
            f"the Ray cluster at {one_line(address)} requires an authentication token; set "
            "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what this prints there: ray get-auth-token"
        ) from None
    except Exception:  # `_connect` will report it
        return


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Hide what native code prints."""
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _connect(ray: Any, address: str, cpus: int) -> None:  # noqa: ANN401
    # Ray prints messages even on stdout when workers die.
    logging.getLogger("ray").setLevel(logging.ERROR)
    with suppress(AttributeError):  # there is no public setting
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        options |= {"include_dashboard": False, "object_store_memory": _OBJECTS}
        options |= {"num_cpus": cpus} if cpus else {}
    if not address.startswith(_CLIENT):
        options["configure_logging"] = False
    try:
        with _signals_kept():
            ray.init(address=address, namespace="headstart", **options)
    except Exception as error:  # Ray raises nearly anything, and Exception itself for time-outs
        raise _unreachable(address, error) from None


def _unreachable(address: str, error: Exception) -> HeadstartError:
    why = getattr(error, "strerror", None) or str(error)
    what = "started" if address == LOCAL else "joined"
    return HeadstartError(
        f"no Ray cluster could be {what} at {one_line(address)}: {one_line(why)[:200]}; start one "
        "with: ray start --head, or omit --address to use this machine"
    )


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Restore our signal handlers, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
