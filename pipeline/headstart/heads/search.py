"""What all families of heads share: the training rows, the folds, the record of a search.

Rows are L2-normalised one by one, so nothing leaks from one fold to another, and one Gram matrix
of the normalised rows holds every inner product and every distance that any fold, kernel or
number of neighbours needs.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError
from headstart.core.parallel.blas import hushed, one_thread_each, run_parallel
from headstart.core.rows import Features, Mapped, StoredRows, blocks
from headstart.heads.principal_axes import RowSpace

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

MAX_GRAM_ROWS = 10_000  # 0.4 GB; with more, no family asks for the inner products of all pairs
GRAM_BLOCK = 256  # rows
PREDICTED = 16_384  # rows that an estimator is asked about at once
MANY_GROUPS = 200_000  # with more, folds are drawn by one image of each

# Squared distances below this are rounding errors of a float32 Gram matrix: the same image.
SAME_IMAGE = 4e-6


@dataclass(frozen=True)
class Candidate:
    """One point of a grid, scored on every fold.

    Attributes:
        params: the hyper-parameters.
        scores: accuracy on each fold.
        loss: mean out-of-fold log loss, where a family knows it; decides between equal accuracies.
        outputs: ``(n, k) float32``, what the folds' models say of the rows that they have not seen:
            probabilities, or values that `headstart.heads.calibration` makes probabilities of; the
            mean over repeats. NaN in rows that no fold holds out. Only the best need keep it.
    """

    params: dict[str, Any]
    scores: tuple[float, ...]
    loss: float = 0.0
    outputs: NDArray[np.float32] | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def accuracy(self) -> float:
        """The mean over the folds; rounded, so that equal means are equal numbers."""
        return round(float(np.mean(self.scores)), 12)

    @property
    def std(self) -> float:
        """The standard deviation over the folds."""
        return float(np.std(self.scores))

    def to_json(self) -> dict[str, Any]:
        """Return the candidate as `HeadResult.grid` lists it."""
        return {"params": self.params, "cv_accuracy": self.accuracy, "cv_std": self.std}


@dataclass(frozen=True)
class FittedHead:
    """What a search returns.

    Attributes:
        name: the family.
        params: the chosen hyper-parameters, as JSON values.
        cv_accuracy: mean accuracy over the folds, at the chosen parameters.
        cv_std: its standard deviation over the folds.
        grid: every candidate tried, as ``{"params", "cv_accuracy", "cv_std"}``.
        estimator: a stock scikit-learn estimator with ``predict_proba``, fitted on the raw
            ``(n, d)`` rows of all training images; its ``classes_`` are label codes.
        seconds: wall time of search and refit. What the families share is counted for the one
            that needs it first.
        out_of_fold: ``(n, k)``, for each training image the probabilities of all ``n_classes``
            codes by models of the chosen parameters that have not seen it, calibrated as the
            estimator's are; the mean over repeats. Rows that no fold holds out are NaN.
        approximation: what was done in place of the exact method, in a few words; empty if nothing.
    """

    name: str
    params: dict[str, Any]
    cv_accuracy: float
    cv_std: float
    grid: list[dict[str, Any]]
    estimator: BaseEstimator
    seconds: float
    out_of_fold: NDArray[np.float64]
    approximation: str = ""


@dataclass(frozen=True)
class TrainingSet:
    """The images that heads are tuned and fitted on.

    Attributes:
        features: ``(n, d) float32``, finite, as extracted; they may stay on disk.
        labels: ``(n,) int64`` codes.
        fold: the fold that holds each image out, from 0, or -1 for an image that all folds train
            on: ``(n,)``, or ``(r, n)`` for cross-validation repeated with ``r`` divisions. Every
            division holds at least one image out, and trains every fold on two classes or more. A
            fold without training images of a class cannot answer with it.
        seed: for what is random in a family.
        workers: number of threads, at least 1.
        class_weight: None, or ``balanced`` for weights inverse to the classes' frequencies, as
            scikit-learn computes them on each fold's training rows. kNN has no weights of classes.
    """

    features: Features
    labels: NDArray[np.int64]
    fold: NDArray[np.int64]
    seed: int = 0
    workers: int = 1
    class_weight: str | None = None

    @property
    def streamed(self) -> bool:
        """Whether the features stay on disk, so that no family may ask for all of them at once."""
        return isinstance(self.features, StoredRows)

    @property
    def n_classes(self) -> int:
        """One more than the largest code."""
        return int(self.labels.max()) + 1

    @cached_property
    def folds(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """For each fold of each division, the rows to fit on and the rows held out."""
        return [
            (np.flatnonzero(division != i), np.flatnonzero(division == i))
            for division in np.atleast_2d(self.fold)
            for i in np.unique(division[division >= 0])
        ]

    def divided(self, parts: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]) -> TrainingSet:
        """Return the same images with other `folds`; matrices that are there are shared.

        Args:
            parts: pairs of rows to fit on and rows held out.
        """
        other = dataclasses.replace(self)
        other.__dict__.update(self.__dict__ | {"folds": list(parts)})
        return other

    def part(self, rows: NDArray[np.intp]) -> TrainingSet:
        """Return some of the images, with their features in memory.

        Args:
            rows: ``(m,)`` their numbers.
        """
        return dataclasses.replace(
            self,
            features=self.features[rows],
            labels=self.labels[rows],
            fold=self.fold[..., rows],
        )

    def gather(self, parts: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Put together what the folds' models say of the rows held out.

        Args:
            parts: for each fold ``(rows held out, k)``.

        Returns:
            ``(n, k)``, means over the repeats; NaN in rows that no fold holds out.
        """
        total = np.zeros((len(self.labels), parts[0].shape[1]), np.float32)
        times = np.zeros(len(self.labels), np.float32)
        for (_, held_out), part in zip(self.folds, parts, strict=True):
            total[held_out] += part
            times[held_out] += 1
        with np.errstate(invalid="ignore"):
            return total / times[:, None]

    @cached_property
    def rows(self) -> Any:  # noqa: ANN401 - an array, or `Features` where nothing else is done
        """The rows with Euclidean norm 1, ``(n, d)``; a row of zeros stays.

        Of features that stay on disk, they are normalised when they are asked for.

        Raises:
            InputError: some features are not finite, or too large to be added up.
        """
        from sklearn.preprocessing import normalize

        if isinstance(self.features, StoredRows):
            unit = functools.partial(normalize, copy=False)  # blocks are nobody else's
            return Mapped(self.features, unit, self.features.shape[1], np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            bad = np.flatnonzero(~np.isfinite(self.features.sum(axis=1)))
        if len(bad):
            raise InputError(
                f"{len(bad):,} of {len(self.features):,} training images have features that are"
                " NaN, infinite or too large; extract the features again"
            )
        return normalize(self.features)

    @cached_property
    def squared_norms(self) -> NDArray[np.float32]:
        """The squared norms of `rows`, ``(n,)``: 1, or 0."""
        norms: NDArray[np.float32] = np.einsum("ij,ij->i", self.rows, self.rows)
        return norms

    @cached_property
    def row_space(self) -> RowSpace:
        """The normalised rows on their principal axes."""
        return RowSpace.of(self.rows)

    def weights(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the weight of every row where only some are trained on, ``(n,)``: 0 for others."""
        weights = np.zeros(len(self.labels), np.float32)
        weights[rows] = 1.0
        if self.class_weight == "balanced":
            counts = np.bincount(self.labels[rows])
            weights[rows] = len(rows) / np.count_nonzero(counts) / counts[self.labels[rows]]
        return weights

    @cached_property
    def gram(self) -> NDArray[np.float32]:
        """The inner products of all pairs of normalised rows, ``(n, n)``.

        Ask for it before threads start: it is worked out once, by all of them, one half and its
        mirror image. (BLAS with threads of its own took six times as long on busy cores.)
        """
        rows, n = self.rows, len(self.rows)
        gram = np.empty((n, n), np.float32)

        def fill(start: int) -> None:
            here = slice(start, start + GRAM_BLOCK)
            gram[here, : here.stop] = rows[here] @ rows[: here.stop].T
            gram[:start, here] = gram[here, :start].T

        run_parallel(fill, reversed(range(0, n, GRAM_BLOCK)), self.workers)
        return gram


class Family(Protocol):
    """One kind of head, with its grid."""

    @property
    def name(self) -> str:
        """How users spell it."""

    def search(self, data: TrainingSet) -> FittedHead:
        """Cross-validate the grid, choose by mean accuracy and refit on all rows."""

    def answers(self, params: dict[str, Any], data: TrainingSet) -> list[NDArray[np.floating]]:
        """Fit some parameters on every fold, and say what the models answer for the rows held out.

        Args:
            params: as `FittedHead.params` holds them.
            data: its ``folds`` may be any parts, see `TrainingSet.divided`.

        Returns:
            For each fold ``(held out, n_classes)``; the largest value of a row is the answer.
            Logistic regression gives probabilities.
        """


def squared_distances(
    gram: NDArray[np.float32], left: NDArray[np.intp], right: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the squared distances between two sets of rows, from the Gram matrix.

    Args:
        gram: ``(n, n)`` as `TrainingSet.gram`.
        left: ``(a,)`` row numbers.
        right: ``(b,)`` row numbers.

    Returns:
        ``(a, b)``, exactly 0 for rows that are equal within float32's precision.
    """
    norms = np.diagonal(gram)
    distances = gram[np.ix_(left, right)]
    distances *= np.float32(-2)
    distances += norms[left, None]
    distances += norms[right]
    distances[distances < SAME_IMAGE] = 0.0
    return distances


def stratified_folds(
    labels: NDArray[np.integer],
    folds: int,
    seed: int,
    group: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Return the fold, 0 to ``folds - 1``, that holds each image out; classes are spread evenly.

    Args:
        labels: ``(n,)`` codes; every class needs at least ``folds`` images, or groups of images.
        folds: number of folds, at least 2.
        seed: of the shuffling.
        group: ``(n,)`` numbers, the same for images that must be in one fold; None for none. What
            they forbid is not spread evenly. scikit-learn takes the groups one by one, which is
            minutes for a million: of very many, each goes where one image of it goes.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if group is not None:
        _, first, members = np.unique(group, return_index=True, return_inverse=True)
        if len(first) == len(group):
            group = None
        elif len(first) > MANY_GROUPS:
            return stratified_folds(labels[first], folds, seed)[members]
    kind = StratifiedKFold if group is None else StratifiedGroupKFold
    splitter = kind(folds, shuffle=True, random_state=seed)
    fold = np.empty(len(labels), dtype=np.int64)
    with hushed():
        for number, (_, held_out) in enumerate(splitter.split(labels, labels, group)):
            fold[held_out] = number
    return fold


def class_probabilities(
    estimator: BaseEstimator, features: Features, n_classes: int
) -> NDArray[np.float64]:
    """Return an estimator's probabilities with one column for every class code.

    Args:
        estimator: fitted on label codes.
        features: ``(n, d)``, as it was fitted on.
        n_classes: ``k``; a class that the estimator has never seen gets probability 0.

    Returns:
        ``(n, k)``, rows summing to 1.
    """
    probabilities = np.zeros((len(features), n_classes))
    for rows, block in blocks(features, PREDICTED):
        probabilities[rows, estimator.classes_] = estimator.predict_proba(block)
    return probabilities


def climb(
    grid: Sequence[float], evaluate: Callable[[float], Candidate], patience: int | None
) -> list[Candidate]:
    """Evaluate growing values of C until the accuracy has passed its peak.

    So many values in a row below the best so far end the climb: beyond the peak each fit costs
    most and wins least.

    Args:
        grid: ascending values.
        evaluate: scores one of them.
        patience: how many values; None to try the whole grid.
    """
    tried: list[Candidate] = []
    for value in grid:
        tried.append(evaluate(value))
        forget_all_but_best(tried)
        best = max(candidate.accuracy for candidate in tried)
        if patience and all(candidate.accuracy < best for candidate in tried[-patience:]):
            break
    return tried


def forget_all_but_best(tried: list[Candidate]) -> None:
    """Free the outputs of candidates that will not be chosen."""
    best = min(tried, key=preference)
    for i, candidate in enumerate(tried):
        if candidate is not best and candidate.outputs is not None:
            tried[i] = dataclasses.replace(candidate, outputs=None)


def finish(
    name: str,
    candidates: Sequence[Candidate],
    fit: Callable[[Candidate], tuple[BaseEstimator, NDArray[np.float64]]],
    data: TrainingSet,
    started: float,
    approximation: str = "",
    best: Candidate | None = None,
) -> FittedHead:
    """Choose among the candidates and fit the chosen one on all rows.

    Args:
        name: the family.
        candidates: simplest first, since the first of equals is chosen.
        fit: given the chosen candidate, returns the stock estimator, fitted on all rows, and the
            out-of-fold probabilities, ``(n, k)``.
        data: the training set.
        started: `time.perf_counter` when the search began.
        approximation: see `FittedHead`.
        best: the chosen one, where that is settled.
    """
    best = best or min(candidates, key=preference)
    with one_thread_each(data.workers):
        estimator, out_of_fold = fit(best)
    return FittedHead(
        name=name,
        params=best.params,
        cv_accuracy=best.accuracy,
        cv_std=best.std,
        grid=[candidate.to_json() for candidate in candidates],
        estimator=estimator,
        seconds=time.perf_counter() - started,
        out_of_fold=out_of_fold,
        approximation=approximation,
    )


def preference(candidate: Candidate) -> tuple[float, float]:
    """Order candidates: highest accuracy first, then least log loss."""
    return -candidate.accuracy, candidate.loss
