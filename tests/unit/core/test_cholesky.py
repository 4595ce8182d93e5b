"""Cholesky factors: LAPACK's own bits, with and without the interpreter lock."""

import threading
import time

import numpy as np
import pytest
from headstart.core import cholesky
from headstart.core.cholesky import Cholesky
from scipy.linalg import cho_factor, cho_solve

KINDS = pytest.mark.parametrize("kind", [np.float32, np.float64])


@pytest.fixture(params=["without the lock", "with the lock"])
def way(request, monkeypatch):
    """Call LAPACK directly, or as in a build of SciPy that publishes no addresses."""
    if request.param == "with the lock":
        monkeypatch.setattr(cholesky, "_function", lambda name: None)
    else:
        assert cholesky._function("spotrf")
    return request.param


def positive(n, kind):
    rows = np.random.default_rng(n).normal(size=(n, n + 9))
    matrix = rows @ rows.T / max(n, 1) + np.eye(n)
    return ((matrix + matrix.T) / 2).astype(kind)


@KINDS
@pytest.mark.parametrize("n", [1, 255, 600])
def test_an_inverse_is_whole_and_symmetric(n, kind, way):
    matrix = positive(n, kind)
    inverse = Cholesky(matrix.copy()).inverse()
    assert inverse.dtype == kind
    assert np.array_equal(inverse, inverse.T)
    assert np.allclose(matrix @ inverse, np.eye(n), atol=1e-3 if kind is np.float32 else 1e-10)


@KINDS
def test_solutions_are_those_of_scipy(kind, way):
    matrix, right = positive(300, kind), np.random.default_rng(0).normal(size=(300, 7))
    factor, kept = Cholesky(matrix.copy()), right.copy()
    expected = cho_solve(cho_factor(matrix, lower=True), right.astype(kind))
    for _ in range(2):  # the factor serves again
        solution = factor.solve(right)
        assert solution.dtype == kind
        assert np.array_equal(solution, expected)
    assert np.array_equal(right, kept)


def test_nothing_has_a_solution_too(way):
    assert Cholesky(np.zeros((0, 0))).solve(np.zeros((0, 3))).shape == (0, 3)
    assert Cholesky(np.eye(3)).solve(np.zeros((3, 0))).shape == (3, 0)


def test_a_matrix_that_is_not_positive_definite_is_an_error(way):
    with pytest.raises(np.linalg.LinAlgError, match="positive definite"):
        Cholesky(-np.eye(3))


@pytest.mark.parametrize("matrix", [np.eye(4)[::2, ::2], np.eye(3, dtype=int)])
def test_what_lapack_cannot_read_in_place_is_refused(matrix):
    with pytest.raises(ValueError, match="rows in one piece"):
        Cholesky(matrix)


def test_other_threads_run_meanwhile():
    matrix, ticks = positive(2500, np.float32), []
    stop = threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    started = time.perf_counter()
    Cholesky(matrix).inverse()
    ended = time.perf_counter()
    stop.set()
    thread.join()
    inside = [at for at in ticks if started < at < ended]
    gaps = np.diff([started, *inside, ended])
    assert gaps.max() < 0.5 * (ended - started)  # with the lock, one gap is nearly all of it
