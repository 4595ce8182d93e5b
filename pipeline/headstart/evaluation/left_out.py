"""What features of a few images are worth: the answers to each image by all the others.

Kernel ridge regression of every label, with the kernel of `headstart.heads.kernel_ridge` and an
intercept. Answers to images that are left out one by one follow from the answers of all: the
residual is (y - f) / (1 - h), where h is an image's leverage (Allen, *The Relationship between
Variable Selection and Data Augmentation*, 1974). Their squared error tells features apart on a few
images, where accuracy does not: it changes with every image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # in units of the mean eigenvalue
_EQUAL = 1e-6  # mean squared distance of rows that are all the same
TOLERANCE = 0.01  # a difference of squared errors that matters to nobody; guessing has 0.5 to 1


@dataclass(frozen=True)
class LeftOut:
    """The answers to images that were left out, one by one.

    Attributes:
        values: of every label, ``(n, k)``; where features tell nothing, its share of all images.
        errors: squared error of each image, summed over the labels that are known of it, ``(n,)``.
    """

    values: NDArray[np.float64]
    errors: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray[np.float32], marks: NDArray[np.int8]) -> LeftOut:
        """Answer by ``(n, d)`` features with the penalty that has the least error.

        ``marks``, ``(n, k)``, are 1, 0, or -1 where it is unknown whether an image has a label.
        """
        n, annotated = len(marks), marks >= 0
        shares = (marks == 1).sum(axis=0) / np.maximum(annotated.sum(axis=0), 1)
        targets = np.where(annotated, marks, shares)
        centre = targets.mean(axis=0)
        kernel = _kernel(features)
        means = kernel.mean(axis=0)
        squares, axes = np.linalg.eigh(kernel - means - means[:, np.newaxis] + means.mean())
        squares = np.maximum(squares, 0)
        scale = max(squares.mean(), np.finfo(np.float32).eps)  # equal features tell nothing
        tried = []
        for penalty in PENALTIES:
            hat = (axes * (squares / (squares + penalty * scale))) @ axes.T
            leverage = np.diagonal(hat)[:, np.newaxis] + 1 / n
            residuals = (targets - centre - hat @ (targets - centre)) / (1 - leverage)
            errors = (residuals**2 * annotated).sum(axis=1)
            # The shares among all other images, by which an answer begins, speak against its own.
            values = targets - residuals + (targets - centre) / max(n - 1, 1)
            tried.append(cls(values.round(9), errors))  # equal ones beyond rounding errors
        return min(tried, key=lambda each: float(each.errors.mean()))


def _kernel(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return ``exp(-|a - b|^2 / mean)`` of rows of norm 1, ``(n, n)``."""
    rows = features.astype(np.float64)  # scikit-learn's functions take a second to load
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(norms > 0, norms, 1)
    squares = (rows**2).sum(axis=1)
    distances = np.maximum(squares[:, np.newaxis] + squares - 2 * rows @ rows.T, 0)
    mean = distances.mean()
    kernel: NDArray[np.float64] = np.exp(-distances / (mean if mean > _EQUAL else 1))
    return kernel


def is_near(errors: NDArray[np.float64], best: NDArray[np.float64], times: float) -> bool:
    """Say whether errors exceed the best ones by at most so many standard errors, or by nothing.

    That is of the paired differences, image by image; ``(n,)`` each.
    """
    more = errors - best
    return bool(more.mean() <= max(TOLERANCE, times * more.std(ddof=1) / len(more) ** 0.5))
