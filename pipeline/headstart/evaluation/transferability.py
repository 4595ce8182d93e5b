"""LogME, an estimate of how well features serve a task without training any head.

Compare values on the same images and labels only; larger is better. ``n`` is the number of images,
``d`` of features and ``k`` of classes that occur.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 8192  # rows that are in memory as float64 at once
_EPSILON = 1e-5  # as in the authors' code, keeps the precisions finite if a fit is perfect
_MAX_STEPS = 100


def log_me(features: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return LogME, the log evidence of a Bayesian linear model of the labels, in nats.

    ``labels`` are ``(n,)`` codes of classes, or ``(n, k)`` marks of several labels: 1, 0, or -1
    where that is unknown, which counts as the label's share. Every class is regressed on the
    features, ``(n, d)``, with a Gaussian prior on the weights and the precisions of prior and noise
    that maximise the evidence; the result is per image, averaged over the classes. The scale of the
    features matters little. Source: You, Liu, Wang and Long, *LogME: Practical Assessment of
    Pre-trained Models for Transfer Learning*, ICML 2021, with the fixed-point iteration of its
    extended version (JMLR 23, 2022, algorithm 3).
    """
    n = len(features)
    spectrum = _spectrum(features, labels)
    evidences = []
    for share, of_label in zip(spectrum.shares, spectrum.projections.T**2, strict=True):
        rest = max(n * share - of_label.sum(), 0.0)
        evidences.append(_evidence(spectrum.squares, of_label, rest, n))
    return float(np.mean(evidences))


class _Spectrum(NamedTuple):
    squares: NDArray[np.float64]  # (r,) squared singular values that are not 0
    projections: NDArray[np.float64]  # (r, k) class indicators on the left singular vectors
    shares: NDArray[np.float64]  # (k,) of the images


def _indicator(labels: NDArray[np.integer]) -> NDArray[np.float64]:
    if labels.ndim == 1:
        codes, label = np.unique(labels, return_inverse=True)
        marks: NDArray[np.float64] = np.eye(len(codes))[label]
        return marks
    shares = (labels == 1).sum(axis=0) / np.maximum((labels >= 0).sum(axis=0), 1)
    return np.where(labels >= 0, labels, shares)


def _spectrum(features: NDArray[np.floating], labels: NDArray[np.integer]) -> _Spectrum:
    """Decompose ``(n, d)`` features through the smaller of the two Gram matrices."""
    n, d = features.shape
    indicator = _indicator(labels)
    if n > d:
        gram, sums = np.zeros((d, d)), np.zeros((d, indicator.shape[1]))
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
    """Return the largest log evidence per image for one class, over both precisions.

    ``rest`` is the squared length of the indicator outside the span of the features.
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
