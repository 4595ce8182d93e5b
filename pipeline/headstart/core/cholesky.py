"""Cholesky factors of symmetric positive definite matrices, computed while other threads run.

The functions of `scipy.linalg` keep the interpreter lock while LAPACK computes, so every other
thread waits for them. SciPy also publishes the addresses of LAPACK's functions, in
`scipy.linalg.cython_lapack`; called through ctypes they give the same bits without the lock.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LETTERS = {"f": "s", "d": "d"}  # numpy's of a type, and LAPACK's
_MIRRORED = 256  # rows of a triangle at once


class Cholesky:
    """The factor of a square matrix, ``(n, n)``, of float32 or float64.

    Args:
        matrix: symmetric, with its rows in one piece; the factor takes its place.

    Raises:
        numpy.linalg.LinAlgError: the matrix is not positive definite.
    """

    def __init__(self, matrix: NDArray[Any]) -> None:
        if matrix.dtype.char not in _LETTERS or not matrix.flags.c_contiguous:
            raise ValueError("the matrix must be of floats, with its rows in one piece")
        self._factor = matrix
        self._call("potrf")

    def solve(self, right: NDArray[Any]) -> NDArray[Any]:
        """Return ``x`` of ``matrix @ x = right``, ``(n, m)`` both."""
        solution: NDArray[Any] = np.array(right, self._factor.dtype, order="F")
        self._call("potrs", solution)
        return solution

    def inverse(self) -> NDArray[Any]:
        """Return the inverse, which takes the factor's place: call nothing else afterwards."""
        self._call("potri")
        whole = self._factor
        for start in range(0, len(whole), _MIRRORED):  # one triangle is filled, now the other
            end = start + _MIRRORED
            square = whole[start:end, start:end]
            square[:] = np.triu(square) + np.triu(square, 1).T
            whole[end:, start:end] = whole[start:end, end:].T
        return whole

    def _call(self, name: str, right: NDArray[Any] | None = None) -> None:
        """Let LAPACK work on the factor in place, or with ``right`` on that."""
        if not len(self._factor) or (right is not None and not right.size):
            return
        function = _function(_LETTERS[self._factor.dtype.char] + name)
        run = _with_lock if function is None else functools.partial(_without_lock, function)
        if run(name, self._factor, right):
            raise np.linalg.LinAlgError("the matrix is not positive definite")


def _without_lock(
    function: Any,  # noqa: ANN401 - of ctypes
    name: str,
    factor: NDArray[Any],
    right: NDArray[Any] | None,
) -> int:
    """Return LAPACK's ``info``: 0 if all went well."""
    del name
    n, info = ctypes.c_int(len(factor)), ctypes.c_int()
    columns = [] if right is None else [ctypes.byref(ctypes.c_int(right.shape[1]))]
    goal = [] if right is None else [right.ctypes.data_as(ctypes.c_void_p), ctypes.byref(n)]
    place = factor.ctypes.data_as(ctypes.c_void_p)
    # LAPACK reads columns, which are the rows of a symmetric matrix.
    size = ctypes.byref(n)
    function(b"L", size, *columns, place, size, *goal, ctypes.byref(info))
    return info.value


def _with_lock(name: str, factor: NDArray[Any], right: NDArray[Any] | None) -> int:
    """Do the same by SciPy's own functions."""
    from scipy.linalg import get_lapack_funcs

    function = get_lapack_funcs(name, (factor,))
    if right is not None:
        return int(function(factor.T, right, lower=True, overwrite_b=True)[1])
    options = {"overwrite_a": True, "clean": False} if name == "potrf" else {"overwrite_c": True}
    return int(function(factor.T, lower=True, **options)[1])


@functools.cache
def _function(name: str) -> Any:  # noqa: ANN401 - of ctypes, or None
    """Return a function of LAPACK; None if SciPy publishes none that counts in C's ``int``."""
    from scipy.linalg import cython_lapack

    capsule = getattr(cython_lapack, "__pyx_capi__", {}).get(name)
    if capsule is None:
        return None
    named, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    named.restype, named.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = named(capsule)
    if not signature.startswith(b"void (char *, int *, "):
        return None
    return ctypes.CFUNCTYPE(None)(pointer(capsule, signature))
