"""Threads for scikit-learn's searches: one BLAS thread in each, and no irrelevant warnings."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

from headstart.core.parallel.threads import run_beside

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_parallel(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    *,
    numpy_alone: bool = False,
) -> list[Result]:
    """Return ``function(task)`` for each task, in order, computed in threads.

    The function should release the interpreter lock, as BLAS and libsvm do. joblib is not used,
    because it polls its threads every 10 ms, which is longer than many tasks. A function that calls
    nothing but ``numpy_alone`` need not wait for `load`.
    """
    with one_numpy_thread() if numpy_alone else one_thread_each():
        if workers == 1:
            return list(map(function, tasks))
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(function, tasks))


@contextmanager
def one_thread_each(workers: int = 1) -> Iterator[None]:
    """Use threads in joblib, with one BLAS and OpenMP thread in each, and silence scikit-learn.

    Nested threads compete for the cores: on two cores, logistic regression took ten times as long.
    The last digits of a matrix product depend on BLAS's threads too, so with one of them the same
    inputs give the same bytes on any number of cores.
    """
    from joblib import parallel_config

    openmp = _thread_pools().select(user_api="openmp").limit(limits=1)  # each thread has its own
    settings = _PROCESS.entered(_one_blas_thread, hushed)
    with parallel_config(backend="threading", n_jobs=workers), openmp, settings:
        yield


@contextmanager
def one_numpy_thread() -> Iterator[None]:
    """Use one thread in numpy's BLAS; scikit-learn and SciPy need not be loaded for this."""
    with _PROCESS.entered(_one_numpy_thread):
        yield


def load() -> None:
    """Begin to load the libraries of `one_thread_each` beside other work: they take a second."""
    run_beside(_thread_pools)


class _Process:
    """What all threads of the process share: the number of BLAS threads, and warning filters.

    Each is set for the first thread that needs it, and all are reset after the last one. If each
    thread restored what it found, threads that overlap would leave the settings of another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settings = ExitStack()
        self._entered: set[Callable[[], AbstractContextManager[None]]] = set()
        self._users = 0

    @contextmanager
    def entered(self, *settings: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
        with self._lock:
            if not self._users:
                _take_control()
            for setting in settings:
                if setting not in self._entered:
                    self._settings.enter_context(setting())
                    self._entered.add(setting)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    _take_control()
                    self._entered.clear()
                    self._settings.close()


_PROCESS = _Process()


@functools.cache
def _thread_pools() -> ThreadpoolController:
    """Find the libraries with thread pools; cached, because the search takes 10 ms."""
    import scipy.linalg  # noqa: F401 - brings a BLAS
    import sklearn.svm  # noqa: F401 - brings OpenMP
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@functools.cache
def _numpy_pools() -> ThreadpoolController:
    """Find the thread pools of numpy, and of what else happens to be loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _take_control() -> None:
    """Let this thread set the threads of OpenBLAS.

    threadpoolctl 3.8 ignores every thread but the one that set them last, while that lives. Here
    the first to come and the last to go may be different ones.
    """
    import threadpoolctl

    openblas = getattr(threadpoolctl, "OpenBLASController", None)
    clear = getattr(openblas, "clear_controlling_thread", None)  # former versions have none
    if clear is not None:
        clear(force=True)


def _one_blas_thread() -> AbstractContextManager[None]:
    return _thread_pools().select(user_api="blas").limit(limits=1)  # type: ignore[no-any-return]


def _one_numpy_thread() -> AbstractContextManager[None]:
    return _numpy_pools().select(user_api="blas").limit(limits=1)  # type: ignore[no-any-return]


@contextmanager
def hushed() -> Iterator[None]:
    """Silence two warnings that users cannot act on.

    A solver that stops early is scored like any other. Few images of many classes look like
    regression targets.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
        yield
