"""Intervals of a classifier's scores: how far each could move with other images of the same kind.

They hold for this model and these labels. Every score between 0 and 1 gets Wilson's interval for
the number of images that its variance is worth, so a score of 1 has an interval too, and the same
images always give the same interval. docs/benchmarks/honesty.md has the measured coverage, and
docs/decisions/0150 what was tried instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.core.proportions import wilson
from headstart.evaluation.metrics import scores
from headstart.evaluation.metrics.calibration import calibration
from headstart.evaluation.metrics.design import LEVEL, Design, Groups
from headstart.heads.scoring import log_losses

DRAWS = 200  # tables of counts, for the variance and bias of macro F1

Interval = tuple[float, float]
Codes = NDArray[np.integer]
Probabilities = NDArray[np.floating]


def accuracy_interval(
    correct: NDArray[np.bool_],
    groups: Groups = None,
    level: float = LEVEL,
    worth: float = 1.0,
) -> Interval:
    """Return the interval of an accuracy, a recall or a precision: `wilson` with `Design`.

    ``correct``, ``(n,)``, says whether each image was classified correctly, and ``groups``,
    ``(n,)``, which images belong together. ``worth`` is that of an answer, see `Design`.
    """
    design = Design.of(correct, groups, worth)
    share = float(correct.mean())
    effect = design.effect(correct - share)
    return wilson(share, len(correct) / effect, design.quantile(level))


def score_intervals(
    true: Codes,
    probabilities: Probabilities,
    seed: int,
    groups: Groups = None,
    worth: float = 1.0,
) -> dict[str, Interval | None]:
    """Return the 95 % interval of every score.

    The names are ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``log_loss``, ``roc_auc``,
    which is None if there is no curve, and ``calibration_error``. ``worth`` is that of an answer,
    see `Design`; the interval of the calibration error is wide enough without it.
    """
    predicted = probabilities.argmax(axis=1)
    correct = predicted == true
    design = Design.of(correct, groups, worth)
    confidence = probabilities.max(axis=1)
    return {
        "accuracy": accuracy_interval(correct, groups, worth=worth),
        "balanced_accuracy": _balanced_accuracy(true, design),
        "macro_f1": _macro_f1(true, predicted, design, seed),
        "log_loss": _log_loss(true, probabilities, design),
        "roc_auc": _roc_auc(true, probabilities, design),
        "calibration_error": calibration(correct, confidence, seed, groups).interval,
    }


def class_intervals(
    true: Codes, predicted: Codes, n_classes: int, worth: float = 1.0
) -> dict[str, list[list[float]]]:
    """Return intervals of each class's recall and precision; empty for a class without images."""
    from scipy.special import ndtri

    quantile = float(ndtri((1 + LEVEL) / 2))
    hits = np.bincount(true[true == predicted], minlength=n_classes)

    def intervals(codes: Codes) -> list[list[float]]:
        counts = np.bincount(codes, minlength=n_classes)
        return [
            list(wilson(hit / n, n * worth, quantile)) if n else []
            for hit, n in zip(hits.tolist(), counts.tolist(), strict=True)
        ]

    return {"recall_ci": intervals(true), "precision_ci": intervals(predicted)}


class _Recalls:
    """Recalls of the classes that have images, each with one image more at the accuracy.

    Without that image a class with no error among three would seem certain. ``degrees`` are
    Satterthwaite's, of the mean recall: a mean over small classes has few (Satterthwaite, *An
    Approximate Distribution of Estimates of Variance Components*, 1946).
    """

    def __init__(self, true: Codes, correct: NDArray[np.bool_]) -> None:
        self.members, self.images = np.unique(true, return_inverse=True, return_counts=True)[1:]
        self.accuracy = (float(correct.sum()) + 0.5) / (len(correct) + 1)
        hits = np.bincount(self.members, correct)
        self.recall = hits / self.images
        self.smoothed = (hits + self.accuracy) / (self.images + 1)
        variances = self.smoothed * (1 - self.smoothed) / self.images
        self.variance = float(variances.sum()) / len(self.images) ** 2
        self.degrees = max(3.0, float(variances.sum() ** 2 / (variances**2 / self.images).sum()))


def _worth(score: float, variance: float, share: float, quantile: float) -> Interval:
    """Return `wilson` of a score for as many images as its variance is worth, around ``score``."""
    return wilson(score, share * (1 - share) / max(variance, 1e-12), quantile)


def _balanced_accuracy(true: Codes, design: Design) -> Interval:
    recalls = _Recalls(true, design.correct)
    score = float(recalls.recall.mean())
    weights = 1 / recalls.images[recalls.members] / len(recalls.images)
    effect = design.effect((design.correct - recalls.recall[recalls.members]) * weights)
    quantile = design.quantile(degrees=recalls.degrees)
    return _worth(score, effect * recalls.variance, float(recalls.smoothed.mean()), quantile)


def _macro_f1(true: Codes, predicted: Codes, design: Design, seed: int) -> Interval:
    """Return the interval of macro F1, from tables of counts drawn like the observed one.

    F1 is biased in small classes and its variance has no simple form, so both are those of drawn
    tables (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, sections 10.2 and 6.5).
    They are drawn from the observed table with one image more for every class, at the overall
    accuracy, and one more error.
    """
    if len(np.unique([true, predicted])) == 1:  # every image right, and of one class
        images = len(true) / design.effect(np.zeros(len(true)))
        return wilson(1.0, images, design.quantile())
    table = _Table(true, predicted, design.correct)
    rng = np.random.default_rng(seed)
    expected = float(table.macro_f1(table.smoothed[None])[0])
    drawn = table.macro_f1(rng.multinomial(len(true), table.smoothed, size=DRAWS))
    score = float(table.macro_f1(table.observed[None])[0])
    unbiased = min(max(score - (float(drawn.mean()) - expected), 0.0), 1.0)
    effect = design.effect(table.influence)
    degrees = _Recalls(true, design.correct).degrees
    variance = effect * float(drawn.var())
    low, high = _worth(unbiased, variance, expected, design.quantile(degrees=degrees))
    return min(low, score), max(high, score)


class _Table:
    """The cells of a confusion matrix that can occur, as lists of pairs of classes.

    ``observed`` are their shares, ``smoothed`` the shares that tables are drawn from, and
    ``influence``, ``(n,)``, is each image's effect on macro F1 to first order.
    """

    def __init__(self, true: Codes, predicted: Codes, correct: NDArray[np.bool_]) -> None:
        from scipy.sparse import coo_array

        n = len(true)
        classes, codes = np.unique(np.concatenate([true, predicted]), return_inverse=True)
        k, rows, columns = len(classes), codes[:n], codes[n:]
        images, answers = (np.bincount(part, minlength=k) for part in (rows, columns))
        error = (n - float(correct.sum()) + 0.5) / (n + 1)
        # The errors that are added name the most frequent answer, or for its class the second.
        order = np.argsort(-answers, kind="stable")
        other = np.where(np.arange(k) == order[0], order[min(1, k - 1)], order[0])
        own, added = np.arange(k), (images + 0.5) / (n + 0.5 * k)
        cells, place = np.unique(
            np.concatenate([rows * k + columns, own * k + own, own * k + other]),
            return_inverse=True,
        )
        ones = np.concatenate([np.ones(n), np.zeros(2 * k)])
        weights = np.concatenate([np.ones(n), np.full(k, 1 - error), error + added])
        self.observed = np.bincount(place, ones) / n
        self.smoothed = np.bincount(place, weights) / weights.sum()
        first, second = np.divmod(cells, k)
        self._hit = np.flatnonzero(first == second)
        ends = (np.ones(2 * len(cells)), (np.tile(np.arange(len(cells)), 2), [*first, *second]))
        self._ends = coo_array(ends, shape=(len(cells), k)).tocsr()
        self._rows = first[self._hit]
        f1, total = self._f1(self.smoothed[None])
        slope = np.where(total[0] > 0, f1[0] / np.maximum(total[0], 1e-300), 0.0)
        gain = np.where(first == second, 2 / np.maximum(total[0, first], 1e-300), 0.0)
        self.influence = (gain - slope[first] - slope[second])[place[:n]] / k

    def macro_f1(self, tables: NDArray[np.number]) -> NDArray[np.float64]:
        """Return the mean F1 of the classes that occur in each table, ``(m, cells)``."""
        f1, total = self._f1(tables)
        mean: NDArray[np.float64] = f1.sum(axis=1) / (total > 0).sum(axis=1)
        return mean

    def _f1(self, tables: NDArray[np.number]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        total = tables @ self._ends
        hits = np.zeros_like(total, dtype=np.float64)
        hits[:, self._rows] = tables[:, self._hit]
        return np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0), total


def _log_loss(true: Codes, probabilities: Probabilities, design: Design) -> Interval:
    """Return the interval of the log loss, on a logarithmic scale.

    Errors cost most and are few, so the losses have one error more than observed, at the cost that
    the probabilities themselves expect, and Student's quantile has as many degrees of freedom as
    there are errors, counted from both sides.
    """
    losses = log_losses(true, probabilities)
    n, score = len(losses), float(losses.mean())
    errors = n - int(design.correct.sum())
    first, second = _expected_cost(probabilities)
    mean = (float(losses.sum()) + first) / (n + 1)
    variance = (float(losses @ losses) + second) / (n + 1) - mean**2
    effect = design.effect(losses - score)
    quantile = design.quantile(degrees=max(2.0, min(n - 1.0, 2.0 * (errors + 1))))
    spread = quantile * np.sqrt(effect * max(variance, 0.0) / n) / max(mean, 1e-12)
    factor = float(np.exp(min(spread, 50.0)))
    return min(score, score / factor), max(score, mean * factor)


def _expected_cost(probabilities: Probabilities) -> tuple[float, float]:
    """Return mean and mean square of an error's log loss, if the probabilities are right."""
    others = np.asarray(probabilities, np.float64).copy()
    others[np.arange(len(others)), others.argmax(axis=1)] = 0.0
    total = others.sum()
    if total <= 0:
        cost = -float(np.log(np.finfo(np.float64).eps))
        return cost, cost**2
    costs = -np.log(np.maximum(others, np.finfo(np.float64).eps))
    return float((others * costs).sum() / total), float((others * costs**2).sum() / total)


def _roc_auc(true: Codes, probabilities: Probabilities, design: Design) -> Interval | None:
    """Return the interval of the area under the ROC curve, from the variance of DeLong et al.

    See `scores.roc_auc`. Where hardly any pair of images is ranked wrongly that variance is too
    small, and at an area of 1 it is 0; there it is drawn towards that of a proportion, of as many
    images as the classes allow, with the weight of a quarter of an image.
    """
    area, slopes = scores.roc_auc(true, probabilities)
    if area is None:
        return None
    n = len(true)
    counts = np.unique(true, return_counts=True)[1]
    k = len(counts)
    worth = k**2 / np.sum(1 / counts) * (k - 1) / k if k > 2 else counts.prod() / n
    share = (area * n + 0.5) / (n + 1)
    weight = 0.25 / (0.25 + n * (1 - area))
    variance = (1 - weight) * float(slopes @ slopes) + weight * share * (1 - share) / worth
    by_class = np.bincount(np.unique(true, return_inverse=True)[1], slopes**2)
    uncertain = float((by_class**2 / np.maximum(counts - 1, 1)).sum())
    degrees = max(3.0, float(by_class.sum()) ** 2 / uncertain) if uncertain > 0 else np.inf
    effect = design.effect(slopes)
    return _worth(area, effect * variance, share, design.quantile(degrees=degrees))
