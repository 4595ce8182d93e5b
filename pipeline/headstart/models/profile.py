"""What the training images look like to a model: learned from them, for comparisons with others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.core.linalg import main_axes, normalise
from headstart.core.rows import Features, take
from headstart.core.training_profile import TrainingProfile
from headstart.models.novelty import Reference

QUANTILES = 512
AXES = 32  # docs/decisions/0215
SAMPLE = 10_000  # images that axes are drawn from
IMAGES_PER_AXIS = 10  # independent ones; fewer say little about an axis


def learn(
    features: Features,
    shares: NDArray[np.floating],
    group: NDArray[np.integer],
    reference: Reference | None,
    out_of_fold: NDArray[np.floating] | None = None,
) -> TrainingProfile | None:
    """Describe the training images by ``(n, d)`` features and the ``shares`` of classes, ``(k,)``.

    ``out_of_fold``, ``(n, k)``, are the probabilities by models that were not fitted on an image,
    NaN where there are none, and images with equal numbers in ``group`` are not independent.
    Returns None without a reference, whose distances are described.
    """
    if reference is None or reference.own is None:
        return None
    sizes = np.unique(group, return_counts=True)[1].astype(np.float64)
    independent = float(sizes.sum() ** 2 / (sizes**2).sum())
    confidences: tuple[float, ...] = ()
    answers: tuple[float, ...] = ()
    if out_of_fold is not None and len(out_of_fold):
        judged = out_of_fold[np.isfinite(out_of_fold).all(axis=1)]
        if len(judged):
            confidences = _quantiles(judged.max(axis=1))
            counts = np.bincount(judged.argmax(axis=1), minlength=len(shares))
            answers = tuple((counts / len(judged)).tolist())
    axes, centre, spread = _axes(features, int(independent))
    return TrainingProfile(
        images=len(features),
        independent=independent,
        distances=_quantiles(reference.own),
        confidences=confidences,
        shares=tuple(shares.tolist()),
        answers=answers,
        axes=axes,
        centre=tuple(centre.tolist()),
        spread=tuple(spread.tolist()),
    )


def _quantiles(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Return up to `QUANTILES` values at equal steps, in the middle of each."""
    steps = min(QUANTILES, len(values))
    levels = (np.arange(steps) + 0.5) / steps
    return tuple(np.quantile(values, levels, method="inverted_cdf").tolist())


def _axes(
    features: Features, independent: int
) -> tuple[NDArray[np.float16], NDArray[np.floating], NDArray[np.floating]]:
    """Return the first principal axes, ``(q, d)``, with mean and spread of the images on each."""
    n, dim = features.shape
    drawn = np.arange(n)
    if n > SAMPLE:
        drawn = np.sort(np.random.default_rng(0).choice(n, SAMPLE, replace=False))
    rows = normalise(take(features, drawn)[:].astype(np.float32))
    centred = rows - rows.mean(axis=0)
    number = min(AXES, independent // IMAGES_PER_AXIS, dim)
    if number < 1:
        return np.empty((0, dim), np.float16), np.empty(0), np.empty(0)
    axes = np.ascontiguousarray(main_axes(centred, number)[0].T[::-1], np.float16)
    placed = rows.astype(np.float64) @ axes.astype(np.float64).T
    spread = placed.std(axis=0)
    varying = spread > 1e-6  # constant features have no axis
    return axes[varying], placed.mean(axis=0)[varying], spread[varying]
