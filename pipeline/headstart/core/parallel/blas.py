"""Threads for the searches, with one BLAS thread in each, and without scikit-learn's warnings."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_parallel(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> list[Result]:
    """Return ``function(task)`` for each task, in order, computed in threads.

    joblib polls its threads every 10 ms, which is longer than many tasks. The function should spend
    its time outside the interpreter lock, as BLAS and libsvm do.
    """
    with one_thread_each(), ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, tasks))


@contextmanager
def one_thread_each(workers: int = 1) -> Iterator[None]:
    """Let joblib use threads, and BLAS and OpenMP one thread in each of them; hush scikit-learn.

    Threads of BLAS inside other threads fight for the cores: on two of them, logistic
    regression took ten times as long. The filter of warnings is set here, once, because threads
    share the list of filters.
    """
    from joblib import parallel_config

    threads = parallel_config(backend="threading", n_jobs=workers)
    with _thread_pools().limit(limits=1), threads, hushed():
        yield


@functools.cache
def _thread_pools() -> ThreadpoolController:
    """Find the libraries with threads of their own; once, because looking takes 10 ms."""
    import scipy.linalg  # noqa: F401 - brings a BLAS
    import sklearn.svm  # noqa: F401 - brings OpenMP
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Let BLAS and OpenMP use so many threads, whatever the environment says.

    A matrix product is divided among its threads, and its last digits depend on the division:
    with a fixed number the same inputs give the same bytes.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(count):
        yield


@contextmanager
def hushed() -> Iterator[None]:
    """Silence two warnings that would ask nothing of the user.

    That a solver stopped early: its score is measured like any other, so the choice stays honest.
    That labels look like a regression's: few images of many classes do.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
        yield
