"""How well features will serve a task, estimated without training any head.

Each score is a function of the features, or of the source classifier's probabilities, and of the
labels; larger is better, and only comparisons on the same images and labels mean anything. Labels
are integer codes; a code that does not occur takes no part. ``n`` is the number of images, ``d``
of features and ``k`` of classes that occur.
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
    spectrum = _spectrum(features, labels, centred=False)
    evidences = []
    for share, of_label in zip(spectrum.shares, spectrum.projections.T**2, strict=True):
        rest = max(n * share - of_label.sum(), 0.0)
        evidences.append(_evidence(spectrum.squares, of_label, rest, n))
    return float(np.mean(evidences))


def h_scores(features: NDArray[np.floating], labels: NDArray[np.integer]) -> tuple[float, float]:
    """Return the H-score and the regularised H-score: the variance between classes, relatively.

    The H-score is the trace of ``inverse(cov(f)) @ cov(mean of f given the class)``, 0 to
    ``k - 1``; an invertible linear map of the features changes nothing. With fewer images than
    features it is ``k - 1`` whatever the features are. Source: Bao, Li, Huang, Zhang, Zheng, Zamir
    and Guibas, *An Information-Theoretic Approach to Transferability in Task Transfer Learning*,
    ICIP 2019.

    The regularised one has a shrunk covariance, which few images cannot blow up, and ``1 - a``
    times the other, where ``a`` is the weight of the identity in Ledoit and Wolf's estimate (*A
    well-conditioned estimator for large-dimensional covariance matrices*, 2004). Scaling or
    rotating all features together changes nothing. Source: Ibrahim, Ponomareva and Mazumder,
    *Newer is not always better: Rethinking transferability metrics, their peculiarities, stability
    and performance*, ECML PKDD 2022.

    Args:
        features: ``(n, d)``, finite.
        labels: ``(n,)`` codes.
    """
    n, d = features.shape
    spectrum = _spectrum(features, labels, centred=True)
    variances = spectrum.squares / n
    mean, energy = variances.sum() / d, float((variances**2).sum())
    distance = energy / d - mean**2  # of the covariance from a multiple of the identity, squared
    noise = (spectrum.fourth_powers / n - energy) / (d * n)  # of its estimate, squared
    shrinkage = float(min(noise, distance) / distance) if distance > 1e-12 * mean**2 else 1.0
    return _between(spectrum, n, 0.0, 0.0), _between(spectrum, n, shrinkage, mean)


def nce(source_labels: NDArray[np.integer], labels: NDArray[np.integer]) -> float:
    """Return the negative conditional entropy of the labels given the source classifier's answers.

    Source: Tran, Nguyen and Hassner, *Transferability and Hardness of Supervised Classification
    Tasks*, ICCV 2019.

    Args:
        source_labels: ``(n,)`` the class of its own that the pretrained classifier answers.
        labels: ``(n,)`` codes.

    Returns:
        nats per image, at most 0.
    """
    joint = np.zeros((int(labels.max()) + 1, int(source_labels.max()) + 1))
    np.add.at(joint, (labels, source_labels), 1.0)
    given = joint / np.maximum(joint.sum(axis=0), 1)
    return float(np.mean(np.log(given[labels, source_labels])))


def leep(source_probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return LEEP, the log-likelihood of the labels under the expected empirical predictor.

    The predictor answers with ``p(label | source class)``, estimated from the same images, averaged
    over the source classifier's probabilities. With probabilities of 0 and 1 it equals `nce`.
    Source: Nguyen, Hassner, Seeger and Archambeau, *LEEP: A New Measure to Evaluate
    Transferability of Learned Representations*, ICML 2020.

    Args:
        source_probabilities: ``(n, m)``, of the pretrained classifier's own ``m`` classes.
        labels: ``(n,)`` codes.

    Returns:
        nats per image, at most 0.
    """
    theta = source_probabilities.astype(np.float64, copy=False)
    joint = np.zeros((int(labels.max()) + 1, theta.shape[1]))
    for code in np.unique(labels):
        joint[code] = theta[labels == code].sum(axis=0)
    total = joint.sum(axis=0)
    given = np.divide(joint, total, out=np.zeros_like(joint), where=total > 0)
    return float(np.mean(np.log(np.einsum("ij,ij->i", theta, given[labels]))))


def softmax(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the probabilities of ``(n, m)`` logits, row by row."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.floating] = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


class _Spectrum(NamedTuple):
    """A matrix of features and the class indicators, in the matrix's own coordinates.

    Attributes:
        squares: ``(r,)`` squared singular values that are not 0.
        projections: ``(r, k)`` inner products of left singular vectors and class indicators.
        shares: ``(k,)`` share of the images in each class.
        fourth_powers: sum over the rows of their norm to the power of 4.
    """

    squares: NDArray[np.float64]
    projections: NDArray[np.float64]
    shares: NDArray[np.float64]
    fourth_powers: float


def _spectrum(
    features: NDArray[np.floating], labels: NDArray[np.integer], centred: bool
) -> _Spectrum:
    """Decompose ``(n, d)`` features through the smaller of the two Gram matrices."""
    n, d = features.shape
    codes, label = np.unique(labels, return_inverse=True)
    indicator = np.eye(len(codes))[label]
    mean = features.mean(axis=0, dtype=np.float64) if centred else np.zeros(d)
    blocks = [slice(start, start + BLOCK) for start in range(0, n, BLOCK)]
    fourth_powers = 0.0
    if n > d:
        gram, sums = np.zeros((d, d)), np.zeros((d, len(codes)))
        for block in blocks:
            rows = features[block] - mean
            gram += rows.T @ rows
            sums += rows.T @ indicator[block]
            fourth_powers += float((np.einsum("ij,ij->i", rows, rows) ** 2).sum())
        squares, vectors = np.linalg.eigh(gram)
    else:
        rows = features - mean
        gram = rows @ rows.T
        fourth_powers = float((np.diagonal(gram) ** 2).sum())
        squares, vectors = np.linalg.eigh(gram)
    kept = squares > max(squares[-1], 0.0) * max(n, d) * np.finfo(np.float64).eps
    squares, vectors = squares[kept], vectors[:, kept]
    if n > d:
        projections = vectors.T @ sums / np.sqrt(squares)[:, None]
    else:
        projections = vectors.T @ indicator
    return _Spectrum(squares, projections, indicator.mean(axis=0), fourth_powers)


def _between(spectrum: _Spectrum, n: int, shrinkage: float, mean: float) -> float:
    """Return ``(1 - a) trace(inverse((1 - a) cov + a mean I) @ cov of the class means)``."""
    variances = spectrum.squares / n
    shrunk = (1 - shrinkage) * variances + shrinkage * mean
    ratio = np.divide(variances, shrunk, out=np.zeros_like(variances), where=shrunk > 0)
    by_class = (spectrum.projections**2 * ratio[:, None]).sum(axis=0)
    return float((1 - shrinkage) * (by_class / (n * spectrum.shares)).sum())


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
