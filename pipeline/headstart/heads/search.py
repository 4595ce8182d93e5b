"""The record of a search: candidates, the choice among them and the fitted head."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel import available_cores
from headstart.core.parallel.blas import one_thread_each, run_parallel
from headstart.core.rows import Features, blocks
from headstart.heads.scoring import accuracy
from headstart.heads.training_set import TrainingSet

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

PREDICTED = 16_384  # rows that are read at once
PART = 2_048  # of these, rows that a thread predicts


# An estimator fitted on all rows, and each fold's out-of-fold probabilities, (held out, k).
Refit = tuple["BaseEstimator", Sequence[NDArray[np.floating]]]


class Named(Protocol):
    """The names of a family or a baseline."""

    @property
    def name(self) -> str:
        """The identifier on the command line."""

    @property
    def title(self) -> str:
        """The name in reports."""


@dataclass(frozen=True)
class Candidate:
    """One point of a grid, scored on every fold.

    Attributes:
        scores: accuracy on each fold.
        loss: out-of-fold log loss after scaling, if the family chooses by it.
        outputs: each fold's out-of-fold probabilities, or an SVM's values, ``(held out, k)
            float32``. Only the best candidates need keep them.
    """

    params: dict[str, Any]
    scores: tuple[float, ...]
    loss: float = 0.0
    outputs: Sequence[NDArray[np.floating]] | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    @property
    def accuracy(self) -> float:
        """The mean over the folds, rounded so that equal means compare equal."""
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
    """The result of a search.

    Attributes:
        params: the chosen hyper-parameters, as JSON values.
        cv_accuracy: mean accuracy over the folds of the calibrated head's labels; ``cv_std`` is
            its standard deviation.
        grid: every candidate tried, as ``{"params", "cv_accuracy", "cv_std"}``; before calibration.
        estimator: a scikit-learn pipeline with ``predict_proba``, or a vote of several, fitted on
            the raw ``(n, d)`` rows of all training images; its ``classes_`` are label codes. All
            parts are stock, but for a `headstart.heads.calibrated.CalibratedClassifier` around the
            last.
        seconds: wall time of search and refit; shared work counts for the first family.
        out_of_fold: ``(n, k)``, each training image's probabilities by models, and calibrations,
            that were not fitted on it, for all ``n_classes`` codes; the mean over repeats. NaN in
            rows that no fold holds out.
        parts: with repeats, the probabilities of each fold, ``(held out, k)``; otherwise empty.
        n_rows: training images that the estimator was fitted on.
        approximation: what replaces the exact method, in a few words; empty if nothing does.
    """

    name: str
    title: str
    params: dict[str, Any]
    cv_accuracy: float
    cv_std: float
    grid: list[dict[str, Any]]
    estimator: BaseEstimator
    seconds: float
    out_of_fold: NDArray[np.float64]
    n_rows: int
    approximation: str = ""
    parts: Sequence[NDArray[np.floating]] = dataclasses.field(default=(), repr=False)


def class_probabilities(
    estimator: BaseEstimator, features: Features, n_classes: int
) -> NDArray[np.float64]:
    """Return probabilities, ``(n, n_classes)``; a class without training images gets 0.

    Rows are predicted in parts on all cores. The parts depend on n alone, and so does every digit.
    """

    def predict(part: NDArray[np.float32]) -> NDArray[np.floating]:
        with one_thread_each():  # OpenMP's limit is one of each thread
            values: NDArray[np.floating] = estimator.predict_proba(part)
        return values

    probabilities = np.zeros((len(features), n_classes))
    for rows, block in blocks(features, PREDICTED):
        parts = [block[start : start + PART] for start in range(0, len(block), PART)]
        answers = run_parallel(predict, parts, available_cores())
        if answers:
            probabilities[rows, estimator.classes_] = np.concatenate(answers)
    return probabilities


def climb(
    grid: Sequence[float], evaluate: Callable[[float], Candidate], patience: int | None
) -> list[Candidate]:
    """Evaluate ascending values of C until the score has passed its peak.

    The climb ends after ``patience`` values in a row worse than the best (never if None): beyond
    the peak each fit costs most and gains least.
    """
    tried: list[Candidate] = []
    for value in grid:
        tried.append(evaluate(value))
        forget_all_but_best(tried)
        best = min(map(preference, tried))
        if patience and all(preference(candidate) > best for candidate in tried[-patience:]):
            break
    return tried


def forget_all_but_best(tried: list[Candidate]) -> None:
    """Free the outputs of candidates that will not be chosen."""
    best = min(tried, key=preference)
    for i, candidate in enumerate(tried):
        if candidate is not best and candidate.outputs is not None:
            tried[i] = dataclasses.replace(candidate, outputs=None)


def finish(
    family: Named,
    candidates: Sequence[Candidate],
    fit: Callable[[Candidate], Refit],
    data: TrainingSet,
    started: float,
    approximation: str = "",
    best: Candidate | None = None,
) -> FittedHead:
    """Choose among the candidates and fit the chosen one on all rows.

    The first of equal candidates is chosen, so they come simplest first; ``best`` overrides the
    choice. ``fit`` returns the estimator and the probabilities that the head's own accuracy and
    ``out_of_fold`` come from. ``started`` is the `time.perf_counter` at which the search began.
    """
    best = best or min(candidates, key=preference)
    with one_thread_each(data.workers):
        estimator, parts = fit(best)
    scores = tuple(
        accuracy(data.labels[rows], part.argmax(axis=1))
        for part, (_, rows) in zip(parts, data.folds, strict=True)
    )
    final = dataclasses.replace(best, scores=scores)
    return FittedHead(
        name=family.name,
        title=family.title,
        params=best.params,
        cv_accuracy=final.accuracy,
        cv_std=final.std,
        grid=[candidate.to_json() for candidate in candidates],
        estimator=estimator,
        seconds=time.perf_counter() - started,
        out_of_fold=data.gather(parts).astype(np.float64),
        n_rows=len(data.labels),
        approximation=approximation,
        parts=tuple(parts) if len(np.atleast_2d(data.fold)) > 1 else (),
    )


def preference(candidate: Candidate) -> tuple[float, float]:
    """Order candidates: least log loss first if the family computes it, then highest accuracy."""
    return round(candidate.loss, 12), -candidate.accuracy
