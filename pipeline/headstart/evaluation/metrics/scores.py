"""What one set of test images says about a classifier."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ECE_BINS = 15

Codes = NDArray[np.integer]
Floats = NDArray[np.float64]


class ClassScores(NamedTuple):
    """How each class fares: four arrays ``(k,)``; a ratio with nothing below it is NaN.

    Attributes:
        precision: the share of the images taken for the class that are of it.
        recall: the share of the images of the class that are taken for it.
        f1: the harmonic mean of the two (van Rijsbergen, *Information Retrieval*, 1979), here as
            ``2 hits / (true + predicted)``.
        support: number of images of the class.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    support: NDArray[np.int64]


class Reliability(NamedTuple):
    """Confidence against accuracy, in bins of equal width over 0 to 1: three arrays ``(bins,)``.

    Attributes:
        images: number of images whose highest probability lies in the bin.
        confidence: their mean highest probability; NaN in an empty bin.
        accuracy: the share of them that is right; NaN in an empty bin.
    """

    images: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats


def balanced_accuracy(true: Codes, predicted: Codes) -> float:
    """Return the unweighted mean of the recalls of the classes that occur, 0 to 1.

    Source: Brodersen et al., *The Balanced Accuracy and Its Posterior Distribution*, 2010.

    Args:
        true: ``(n,)`` codes.
        predicted: ``(n,)`` codes.
    """
    support = np.bincount(true)
    hits = np.bincount(true[true == predicted], minlength=len(support))
    present = support > 0
    return float(np.mean(hits[present] / support[present]))


def confusion(true: Codes, predicted: Codes, n_classes: int) -> NDArray[np.int64]:
    """Count how often each class is taken for each other one.

    Args:
        true: ``(n,)`` codes below ``n_classes``.
        predicted: ``(n,)`` codes below ``n_classes``.
        n_classes: ``k``.

    Returns:
        ``(k, k)`` counts, rows true, columns predicted.
    """
    cells = true.astype(np.int64) * n_classes + predicted
    counts = np.bincount(cells, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def class_scores(true: Codes, predicted: Codes, n_classes: int) -> ClassScores:
    """Return precision, recall, F1 and support of every class.

    Args:
        true: ``(n,)`` codes below ``n_classes``.
        predicted: ``(n,)`` codes below ``n_classes``.
        n_classes: ``k``.
    """
    hits = np.bincount(true[true == predicted], minlength=n_classes)
    support = np.bincount(true, minlength=n_classes)
    answers = np.bincount(predicted, minlength=n_classes)
    return ClassScores(
        _ratio(hits, answers), _ratio(hits, support), _ratio(2 * hits, support + answers), support
    )


def macro_f1(true: Codes, predicted: Codes) -> float:
    """Return the unweighted mean of the classes' F1 scores, 0 to 1.

    A class counts if it occurs among the true or the predicted labels; a rare one counts as much
    as a common one.

    Args:
        true: ``(n,)`` codes.
        predicted: ``(n,)`` codes.
    """
    k = int(max(true.max(), predicted.max())) + 1
    return float(np.nanmean(class_scores(true, predicted, k).f1))


def roc_auc(true: Codes, probabilities: NDArray[np.floating]) -> tuple[float | None, Floats]:
    """Return the mean area under the ROC curves of each class against the rest, and its slopes.

    The area of one class is the chance that a random image of it gets a higher probability for it
    than a random other image, ties counting half (Hanley and McNeil, *The Meaning and Use of the
    Area under a ROC Curve*, 1982). The mean is unweighted, over the classes that have images here
    and are not alone.

    Args:
        true: ``(n,)`` codes.
        probabilities: ``(n, k)``.

    Returns:
        The mean area, 0 to 1, or None if all images are of one class; and ``(n,)`` what it gains,
        to first order, when an image gets one more unit of weight, by the placement values of
        DeLong, DeLong and Clarke-Pearson, *Comparing the Areas under Two or More Correlated
        Receiver Operating Characteristic Curves*, 1988.
    """
    classes, support = np.unique(true, return_counts=True)
    slopes = np.zeros(len(true))
    if len(classes) < 2:
        return None, slopes
    areas = []
    for code, positives in zip(classes, support, strict=True):
        own = true == code
        inside, outside = probabilities[own, code], probabilities[~own, code]
        above = _placements(inside, outside)
        below = 1.0 - _placements(outside, inside)
        area = float(np.mean(above))
        areas.append(area)
        slopes[own] += (above - area) / positives
        slopes[~own] += (below - area) / len(outside)
    return float(np.mean(areas)), slopes / len(classes)


def reliability(
    correct: NDArray[np.bool_], confidence: NDArray[np.floating], bins: int = ECE_BINS
) -> Reliability:
    """Set accuracy against confidence, bin by bin.

    Args:
        correct: ``(n,)`` whether each image is classified right.
        confidence: ``(n,)`` its highest probability.
        bins: how many; the bins are open on the left, ``(0, 1/bins]`` and so on.
    """
    at = confidence_bins(confidence, bins)
    count = np.bincount(at, minlength=bins)
    return Reliability(
        count,
        _ratio(np.bincount(at, confidence, minlength=bins), count),
        _ratio(np.bincount(at, correct, minlength=bins), count),
    )


def expected_calibration_error(
    correct: NDArray[np.bool_], confidence: NDArray[np.floating], bins: int = ECE_BINS
) -> float:
    """Return the mean distance between confidence and accuracy over the bins of `reliability`.

    Bins count by the images in them. Source: Naeini, Cooper and Hauskrecht, *Obtaining Well
    Calibrated Probabilities Using Bayesian Binning*, 2015; with 15 bins as in Guo et al., *On
    Calibration of Modern Neural Networks*, 2017. A small test makes it larger than it is: within a
    bin, chance alone keeps accuracy away from confidence.

    Args:
        correct: ``(n,)`` whether each image is classified right.
        confidence: ``(n,)`` its highest probability.
        bins: how many.
    """
    surplus = np.bincount(confidence_bins(confidence, bins), confidence - correct)
    return float(np.abs(surplus).sum() / len(correct))


def confidence_bins(confidence: NDArray[np.floating], bins: int = ECE_BINS) -> NDArray[np.intp]:
    """Return the number of the bin that each confidence lies in, ``(n,)``, from 0."""
    at: NDArray[np.intp] = np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)
    return at


def _placements(values: NDArray[np.floating], others: NDArray[np.floating]) -> Floats:
    """Return for each value the share of the others below it, equal ones counting half."""
    order = np.sort(others)
    left, right = (np.searchsorted(order, values, side) for side in ("left", "right"))
    placements: Floats = (left + right) / (2 * len(others))
    return placements


def _ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> Floats:
    """Divide, with NaN where there is nothing to divide by."""
    ratio: Floats = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
