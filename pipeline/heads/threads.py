"""Threads for the searches: one of BLAS in each of ours, and warnings that ask nothing, hushed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_parallel(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> list[Result]:
    """Return ``function(task)`` for each task, in order, worked out in threads.

    Args:
        function: spends its time outside the interpreter lock, as BLAS and libsvm do.
        tasks: its arguments.
        workers: number of threads.
    """
    from joblib import Parallel, delayed

    with one_thread_each(workers):
        results: list[Result] = Parallel()(delayed(function)(task) for task in tasks)
    return results


@contextmanager
def one_thread_each(workers: int = 1) -> Iterator[None]:
    """Let joblib use threads, and BLAS and OpenMP one thread in each of them; hush scikit-learn.

    Threads of BLAS inside threads of joblib fight for the cores: on two of them, logistic
    regression took ten times as long. The filter of warnings is set here, once, because threads
    share the list of filters.
    """
    from joblib import parallel_config
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), parallel_config(backend="threading", n_jobs=workers), hushed():
        yield


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
