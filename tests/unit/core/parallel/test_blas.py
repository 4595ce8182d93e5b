"""Libraries with one thread each: set once for all threads, and reset after the last of them."""

import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from headstart.core.parallel.blas import one_numpy_thread, one_thread_each, run_parallel
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_info, threadpool_limits


def blas_threads():
    return {info["filepath"]: info["num_threads"] for info in threadpool_info()
            if info["user_api"] == "blas"}  # fmt: skip


@pytest.fixture(autouse=True)
def several():
    """Let libraries have two threads, whatever the machine and the test run say."""
    with threadpool_limits(2):
        yield


def test_each_setting_is_made_once_and_reset_after_the_last_user():
    before = blas_threads()
    assert 2 in before.values()
    with one_numpy_thread():
        with one_thread_each():
            assert set(blas_threads().values()) == {1}
            with one_numpy_thread():
                pass
            assert set(blas_threads().values()) == {1}
        # The filters of the inner one stay until the outer one ends, too: threads may overlap.
        assert set(blas_threads().values()) == {1}
    assert blas_threads() == before


def test_threads_that_overlap_leave_what_was_there():
    before, filters = blas_threads(), list(warnings.filters)
    first_ends, second_is_in = threading.Event(), threading.Event()

    def second():
        with one_thread_each():
            second_is_in.set()
            first_ends.wait(10)
            assert set(blas_threads().values()) == {1}

    thread = threading.Thread(target=second)
    with one_numpy_thread():
        thread.start()
        assert second_is_in.wait(10)
    first_ends.set()
    thread.join()
    assert blas_threads() == before
    assert list(warnings.filters) == filters


def test_a_solver_that_stops_early_is_no_warning():
    with one_thread_each(), warnings.catch_warnings(record=True) as caught:
        warnings.warn("not converged", ConvergenceWarning, stacklevel=1)
    assert caught == []


@pytest.mark.parametrize("numpy_alone", [False, True])
def test_results_come_in_order_with_one_thread_in_each(numpy_alone):
    def work(number):
        return number, max(blas_threads().values()) if not numpy_alone else 1

    tasks = list(range(20))
    assert run_parallel(work, tasks, 2, numpy_alone=numpy_alone) == [(n, 1) for n in tasks]


def test_work_of_numpy_alone_loads_no_other_library():
    code = (
        "import sys; from headstart.core.parallel.blas import run_parallel; import numpy as np;"
        "a = np.ones((3, 3)); run_parallel(lambda b: b @ b, [a] * 4, 2, numpy_alone=True);"
        "assert not {'scipy', 'sklearn'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def test_sums_do_not_depend_on_the_number_of_workers():
    rows = [np.random.default_rng(n).normal(size=(50, 7)).astype(np.float32) for n in range(9)]
    one, three = (run_parallel(lambda r: r.T @ r, rows, workers) for workers in (1, 3))
    assert all(np.array_equal(a, b) for a, b in zip(one, three, strict=True))
