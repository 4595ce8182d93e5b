"""The calibration error without the part that chance alone would give."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.metrics import scores
from headstart.evaluation.metrics.design import Design, Groups

DRAWS = 400


class Calibration(NamedTuple):
    """How far confidence is from accuracy.

    Attributes:
        error: the expected calibration error less ``chance``, in squares; 0 if it is no larger.
        chance: the expected calibration error of perfectly calibrated probabilities, a root mean
            square, on as many images of the same confidence.
        interval: two ends of a 95 % interval; the lower is 0 unless ``error`` is more than chance.
    """

    error: float
    chance: float
    interval: tuple[float, float]


def calibration(
    correct: NDArray[np.bool_],
    confidence: NDArray[np.floating],
    seed: int,
    groups: Groups = None,
) -> Calibration:
    """Return the calibration error, debiased; arrays are ``(n,)``.

    The expected calibration error is a sum of distances, so chance inflates it: Bröcker,
    *Estimating Reliability and Resolution of Probability Forecasts*, 2012; Kumar, Liang and Ma,
    *Verified Uncertainty Calibration*, 2019. The interval draws each bin's error rate from a beta
    distribution around the observed one, with one image more as the probabilities expect it and
    half an error more in all.
    """
    effect = Design.of(correct, groups).effect(correct - correct.mean())
    used, place = np.unique(scores.confidence_bins(confidence), return_inverse=True)
    n = len(correct) / effect
    images = np.bincount(place) / effect
    mean = np.bincount(place, confidence) / effect / images
    errors = np.bincount(place, ~correct) / effect
    surplus = (mean * images - (images - errors)) / n
    raw = float(np.abs(surplus).sum())
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((DRAWS, len(used)))
    spread = np.sqrt(np.bincount(place, confidence * (1 - confidence)) / effect) / n
    by_chance = np.abs(noise * spread).sum(axis=1)
    square = float(np.mean(by_chance**2))
    error = float(np.sqrt(max(0.0, raw**2 - square)))
    wrong, right = errors + (1 - mean) + 0.5 * images / n, images - errors + mean
    drawn = rng.beta(wrong, np.maximum(right, 1e-9), size=(DRAWS, len(used)))
    moved = (drawn - errors / images) * images / n
    centred = (drawn - wrong / (wrong + right)) * images / n
    shrunk = np.abs(surplus * (error / raw if raw > 0 else 0.0) + moved).sum(axis=1)
    low, high = np.quantile(shrunk, [0.025, 0.975])
    low = np.sqrt(max(0.0, float(low) ** 2 - float(np.mean(np.abs(moved).sum(axis=1) ** 2))))
    widest = float(np.quantile(np.abs(surplus + centred).sum(axis=1), 0.975))
    high = max(float(high), float(np.sqrt(max(0.0, widest**2 - square / 2))))
    if np.mean(by_chance >= raw) > 0.025:
        low = 0.0
    interval = min(float(low), error), min(1.0, max(high, error))
    return Calibration(error, float(np.sqrt(square)), interval)
