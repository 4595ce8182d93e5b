"""Scores of a classifier on one set of test images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ECE_BINS = 15

Codes = NDArray[np.integer]
Floats = NDArray[np.float64]


class ClassScores(NamedTuple):
    """Scores of each class, four arrays ``(k,)``; a ratio that divides by zero is NaN."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: NDArray[np.int64]

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that have images.

        Source: Brodersen et al., *The Balanced Accuracy and Its Posterior Distribution*, 2010.
        """
        return float(self.recall[self.support > 0].mean())

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that occur among the true or the predicted labels."""
        last = np.flatnonzero(~np.isnan(self.f1))[-1]
        return float(np.nanmean(self.f1[: last + 1]))


class Reliability(NamedTuple):
    """Confidence against accuracy, in bins of equal width over 0 to 1: three arrays ``(bins,)``.

    Images are binned by their highest probability. ``confidence`` is its mean and ``accuracy`` the
    share of correct predictions, NaN in an empty bin.
    """

    images: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats


def class_scores(true: Codes, predicted: Codes, n_classes: int) -> ClassScores:
    """Return precision, recall, F1 and support of every class."""
    from sklearn.metrics import precision_recall_fscore_support

    return ClassScores(
        *precision_recall_fscore_support(
            true, predicted, labels=np.arange(n_classes), zero_division=np.nan
        )
    )


def confusion(true: Codes, predicted: Codes, n_classes: int) -> NDArray[np.int64]:
    """Return ``(k, k)`` counts, rows true, columns predicted."""
    from sklearn.metrics import confusion_matrix

    counts: NDArray[np.int64] = confusion_matrix(true, predicted, labels=np.arange(n_classes))
    return counts


def roc_auc(true: Codes, probabilities: NDArray[np.floating]) -> tuple[float | None, Floats]:
    """Return the mean area under the ROC curves of each class against the rest, and its slopes.

    The area of a class is the chance that a random image of it gets a higher probability than a
    random other image, ties counting half (Hanley and McNeil, *The Meaning and Use of the Area
    under a ROC Curve*, 1982). The unweighted mean is over classes with some but not all of the
    images, and None if there are none. The slopes, ``(n,)``, are its first-order gain per extra
    unit of an image's weight, by the placement values of DeLong, DeLong and Clarke-Pearson,
    *Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves*,
    1988.
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
    """Compare accuracy with confidence, ``(n,)`` each, in bins ``(0, 1/bins]`` and so on."""
    bin_of = confidence_bins(confidence, bins)
    count = np.bincount(bin_of, minlength=bins)
    return Reliability(
        count,
        _ratio(np.bincount(bin_of, confidence, minlength=bins), count),
        _ratio(np.bincount(bin_of, correct, minlength=bins), count),
    )


def expected_calibration_error(
    correct: NDArray[np.bool_], confidence: NDArray[np.floating], bins: int = ECE_BINS
) -> float:
    """Return the mean distance between confidence and accuracy over the bins of `reliability`.

    Bins are weighted by their images. Chance inflates it on a small test set. Source: Naeini,
    Cooper and Hauskrecht, *Obtaining Well Calibrated Probabilities Using Bayesian Binning*, 2015;
    15 bins as in Guo et al., *On Calibration of Modern Neural Networks*, 2017.
    """
    surplus = np.bincount(confidence_bins(confidence, bins), confidence - correct)
    return float(np.abs(surplus).sum() / len(correct))


def confidence_bins(confidence: NDArray[np.floating], bins: int = ECE_BINS) -> NDArray[np.intp]:
    """Return the bin of each confidence, ``(n,)``, from 0."""
    numbers: NDArray[np.intp] = np.ceil(confidence * bins).astype(np.intp) - 1
    return numbers.clip(0, bins - 1)


def _placements(values: NDArray[np.floating], others: NDArray[np.floating]) -> Floats:
    """Return for each value the share of the others below it, ties counting half."""
    order = np.sort(others)
    left, right = (np.searchsorted(order, values, side) for side in ("left", "right"))
    placements: Floats = (left + right) / (2 * len(others))
    return placements


def _ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> Floats:
    ratio: Floats = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
