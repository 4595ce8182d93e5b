"""How well features will serve a task, estimated without training any head.

Larger is better, and only comparisons on the same images and labels mean anything. Labels are
integer codes; a code that does not occur takes no part. ``n`` is the number of images, ``d`` of
features and ``k`` of classes that occur.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 8192  # rows that are in memory as float64 at once
_EPSILON = 1e-5  # keeps LogME's precisions finite where a fit is perfect, as its authors do
_MAX_STEPS = 100


def log_me(features: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return LogME, the log evidence of a Bayesian linear model of the labels, for each image.

    Every class is regressed on the features, with a Gaussian prior on the weights; the precisions
    of prior and noise are those that make the evidence largest. Source: You, Liu, Wang and Long,
    *LogME: Practical Assessment of Pre-trained Models for Transfer Learning*, ICML 2021, with the
    fixed-point iteration of its extended version (JMLR 23, 2022, algorithm 3).

    Args:
        features: ``(n, d)``, finite. Their scale matters little, since the prior adapts.
        labels: ``(n,)`` codes.

    Returns:
        nats per image and class, averaged over the classes.
    """
    n = len(features)
    spectrum = _spectrum(features, labels)
    evidences = []
    for share, of_label in zip(spectrum.shares, spectrum.projections.T**2, strict=True):
        rest = max(n * share - of_label.sum(), 0.0)
        evidences.append(_evidence(spectrum.squares, of_label, rest, n))
    return float(np.mean(evidences))


class _Spectrum(NamedTuple):
    """A matrix of features and the class indicators, in the matrix's own coordinates.

    Attributes:
        squares: ``(r,)`` squared singular values that are not 0.
        projections: ``(r, k)`` inner products of left singular vectors and class indicators.
        shares: ``(k,)`` share of the images in each class.
    """

    squares: NDArray[np.float64]
    projections: NDArray[np.float64]
    shares: NDArray[np.float64]


def _spectrum(features: NDArray[np.floating], labels: NDArray[np.integer]) -> _Spectrum:
    """Decompose ``(n, d)`` features through the smaller of the two Gram matrices."""
    n, d = features.shape
    codes, label = np.unique(labels, return_inverse=True)
    indicator = np.eye(len(codes))[label]
    if n > d:
        gram, sums = np.zeros((d, d)), np.zeros((d, len(codes)))
        for start in range(0, n, BLOCK):
            block = slice(start, start + BLOCK)
            rows = features[block].astype(np.float64)
            gram += rows.T @ rows
            sums += rows.T @ indicator[block]
    else:
        rows = features.astype(np.float64)
        gram = rows @ rows.T
    squares, vectors = np.linalg.eigh(gram)
    kept = squares > max(squares[-1], 0.0) * max(n, d) * np.finfo(np.float64).eps
    squares, vectors = squares[kept], vectors[:, kept]
    if n > d:
        projections = vectors.T @ sums / np.sqrt(squares)[:, None]
    else:
        projections = vectors.T @ indicator
    return _Spectrum(squares, projections, indicator.mean(axis=0))


def _evidence(
    squares: NDArray[np.float64], of_label: NDArray[np.float64], rest: float, n: int
) -> float:
    """Return the largest log evidence per image over both precisions, for one class.

    Args:
        squares: ``(r,)`` squared singular values; features beyond ``r`` cancel out.
        of_label: ``(r,)`` squared projections of the class indicator.
        rest: the squared length of what no feature reaches of the indicator.
        n: number of images.
    """
    ratio, evidence = 1.0, -np.inf
    for _ in range(_MAX_STEPS):
        effective = float((squares / (squares + ratio)).sum())
        norm = float((squares * of_label / (squares + ratio) ** 2).sum())
        error = float((of_label / (1 + squares / ratio) ** 2).sum()) + rest
        prior = max(effective, _EPSILON) / (norm + _EPSILON)  # alpha in the paper
        noise = (n - effective) / (error + _EPSILON)  # beta in the paper
        before, evidence = (
            evidence,
            0.5
            * float(
                n * np.log(noise / (2 * np.pi))
                - np.log1p(noise / prior * squares).sum()
                - noise * error
                - prior * norm
            ),
        )
        if abs(evidence - before) <= 1e-9 * abs(evidence):
            break
        ratio = prior / noise
    return evidence / n
