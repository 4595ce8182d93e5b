"""The base class of head families for several labels: the search, and the choice it makes.

Each label is one binary problem, as in scikit-learn's ``OneVsRestClassifier``, but the labels share
the rows, their main axes, their Gram matrix and their neighbours.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import one_thread_each
from headstart.heads.multilabel import platt
from headstart.heads.multilabel.label_set import LabelSet
from headstart.heads.multilabel.platt import Part, Sigmoids
from headstart.heads.multilabel.scoring import average_precisions

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

Params = dict[str, Any]
Values = NDArray[np.floating]


@dataclass(frozen=True)
class FittedLabels:
    """The result of a search; see `headstart.heads.search.FittedHead`.

    Attributes:
        params: the chosen hyper-parameters; with ``per_label``, a list of k values for each.
        cv_score: macro average precision, the mean over the folds; ``cv_std`` is its standard
            deviation. Labels that no image of a fold has do not count in it.
        grid: every candidate, as ``{"params", "cv_score", "cv_std", "cv_loss"}``; the loss, by
            which the choice is made, is the labels' mean log loss after calibration. Both are of
            the labels that it was tried for.
        estimator: a scikit-learn pipeline, fitted on the raw ``(n, d)`` rows, whose
            ``predict_proba`` returns calibrated probabilities, ``(n, k)``.
        out_of_fold: ``(n, k)``, calibrated by models and calibrations that were not fitted on the
            image; NaN in rows that no fold holds out.
        parts: the same fold by fold, ``(N, k)`` like `LabelSet.held_out`: with repeats, an image
            has a row for each.
    """

    name: str
    title: str
    params: Params
    cv_score: float
    cv_std: float
    grid: list[dict[str, Any]]
    estimator: BaseEstimator
    seconds: float
    out_of_fold: NDArray[np.float64]
    parts: NDArray[np.float64]
    n_rows: int
    approximation: str = ""


@dataclass(frozen=True)
class LabelFamily(ABC):
    """One kind of head for several labels, and its grid; see `headstart.heads.family.Family`.

    Attributes:
        most_rows: with more images, a sample of this size is fitted; None if all always are.
    """

    name: str
    title: str
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    keeps_rows: bool = False
    most_rows: int | None = None

    def search(self, data: LabelSet, per_label: bool = False) -> FittedLabels:
        """Try the grid on all folds, choose by log loss after calibration, and fit all rows.

        The hyper-parameters are chosen for all labels together, or ``per_label``, each by itself.
        The first, simplest of equal candidates wins.
        """
        started = time.perf_counter()
        part, rows = (data, np.arange(0)) if self.most_rows is None else data.sample(self.most_rows)
        trials = Trials(part, per_label)
        with one_thread_each(part.workers):
            self.explore(part, trials)
            params, values = trials.best()
            estimator = self._estimator(params, part, values)
        parts = _calibrated(part, values)
        out_of_fold = gathered(part, parts)
        about = ""
        if part is not data:
            every = np.full(data.labels.shape, np.nan)
            every[rows] = out_of_fold
            answered = np.isin(data.held_out, rows)
            whole = np.full((len(answered), data.n_labels), np.nan)
            whole[answered] = parts
            out_of_fold, parts = every, whole
            about = f"fitted on {len(rows):,} of the rows" if len(rows) < len(every) else ""
        scores = trials.scores(values)
        return FittedLabels(
            self.name,
            self.title,
            params,
            round(float(np.mean(scores)), 12),
            float(np.std(scores)),
            [trial.to_json() for trial in trials.tried],
            estimator,
            time.perf_counter() - started,
            out_of_fold,
            parts,
            len(part.labels),
            about,
        )

    def answers(self, params: Params, data: LabelSet) -> list[Values]:
        """Fit the parameters on every fold and return the values of the rows held out.

        ``params`` are those of `FittedLabels`, and the folds may be any parts, see
        `LabelSet.divided`. Each part is ``(held out, k)``: the larger a value, the likelier the
        label.
        """
        parts = [np.empty((len(rows), data.n_labels), np.float32) for _, rows in data.folds]
        for own, columns in alike(params, data.n_labels):
            for part, values in zip(parts, self.values(own, data.only(columns)), strict=True):
                part[:, columns] = values
        return list(parts)

    @abstractmethod
    def explore(self, data: LabelSet, trials: Trials) -> None:
        """Add the values of all candidates to the trials, simplest first."""

    @abstractmethod
    def values(self, params: Params, data: LabelSet) -> Sequence[Values]:
        """Return the values of the rows that each fold holds out, ``(held out, k)``."""

    @abstractmethod
    def fitted(self, params: Params, data: LabelSet) -> Iterator[Part]:
        """Yield models of the values, fitted on all rows, for some of the labels each."""

    def classifier(self, parts: Sequence[Part], sigmoids: Sigmoids) -> BaseEstimator:
        """Return the classifier that models of all labels and their calibration make."""
        from headstart.heads.multilabel.classifier import LabelClassifier

        return LabelClassifier.of(parts, sigmoids)

    def _estimator(self, params: Params, data: LabelSet, values: Values) -> BaseEstimator:
        from sklearn.pipeline import make_pipeline

        sigmoids = platt.fit(values, data.labels[data.held_out])
        parts = [
            part._replace(columns=columns[part.columns])
            for own, columns in alike(params, data.n_labels)
            for part in self.fitted(own, data.only(columns))
        ]
        return make_pipeline(*data.shared.steps(), self.classifier(parts, sigmoids))


@dataclass(frozen=True)
class Trial:
    """A candidate, with its macro average precision on each fold and each label's log loss.

    The loss of a label that it was not tried for is infinite.
    """

    params: Params
    scores: tuple[float, ...]
    losses: NDArray[np.float64]

    @property
    def loss(self) -> float:
        """The mean over the labels it was tried for, rounded so that equal means compare equal."""
        return round(float(self.losses[np.isfinite(self.losses)].mean()), 12)

    def to_json(self) -> dict[str, Any]:
        """Return the candidate as `FittedLabels.grid` lists it."""
        return {
            "params": self.params,
            "cv_score": round(float(np.mean(self.scores)), 12),
            "cv_std": float(np.std(self.scores)),
            "cv_loss": self.loss,
        }


class Trials:
    """The candidates of a search, and the out-of-fold values of the best.

    With ``per_label``, the best is chosen for each label by itself, so nothing may be left out
    because it is worse for all labels together. A candidate may be tried for some labels alone.
    """

    def __init__(self, data: LabelSet, per_label: bool = False) -> None:
        self.per_label = per_label
        self.tried: list[Trial] = []
        self._data = data
        self._losses = np.full(data.n_labels, np.inf)
        self._choices = np.zeros(data.n_labels, np.intp)
        self._values: Values | None = None

    def add(
        self,
        params: Params,
        parts: Sequence[Values],
        columns: NDArray[np.intp] | None = None,
    ) -> Trial:
        """Score a candidate by the values of the rows that each fold holds out.

        ``columns`` are the labels that it is tried for; None if it is for all.
        """
        data, values = self._data, self._data.stacked(parts)
        losses = platt.least_losses(values, data.labels[data.held_out])
        if columns is not None:
            losses[np.isin(np.arange(len(losses)), columns, invert=True)] = np.inf
        trial = Trial(params, self.scores(values), losses)
        if self.per_label:
            better = np.round(losses, 12) < np.round(self._losses, 12)
        else:
            best = min((each.loss for each in self.tried), default=np.inf)
            better = np.full(data.n_labels, trial.loss < best)
        if self._values is None:
            self._values = values.copy()
        self._values[:, better] = values[:, better]
        self._losses[better] = losses[better]
        self._choices[better] = len(self.tried)
        self.tried.append(trial)
        return trial

    def descending(self, trial: Trial) -> NDArray[np.bool_]:
        """Return the labels, ``(k,)``, whose loss is not larger with the last trial than before."""
        if self.per_label:
            own: NDArray[np.bool_] = np.round(trial.losses, 12) <= np.round(self._losses, 12)
            return own & np.isfinite(trial.losses)
        return np.full(len(trial.losses), trial.loss <= min(each.loss for each in self.tried))

    def best(self) -> tuple[Params, Values]:
        """Return the chosen hyper-parameters and their values, ``(N, k)``."""
        assert self._values is not None
        if not self.per_label:
            return self.tried[self._choices[0]].params, self._values
        chosen = [self.tried[number].params for number in self._choices]
        return {name: [each[name] for each in chosen] for name in chosen[0]}, self._values

    def scores(self, values: Values) -> tuple[float, ...]:
        """Return the macro average precision of each fold."""
        scores, start = [], 0
        for _, rows in self._data.folds:
            precisions = average_precisions(
                self._data.labels[rows], values[start : start + len(rows)]
            )
            start += len(rows)
            scores.append(float(np.nanmean(precisions)) if np.isfinite(precisions).any() else 0.0)
        return tuple(scores)


def alike(params: Params, k: int) -> Iterator[tuple[Params, NDArray[np.intp]]]:
    """Yield hyper-parameters and the columns that have them; one pair unless chosen per label."""
    if not any(isinstance(value, list) for value in params.values()):
        yield params, np.arange(k)
        return
    of_each = list(zip(*params.values(), strict=True))
    for chosen in dict.fromkeys(of_each):
        columns = np.flatnonzero([each == chosen for each in of_each])
        yield dict(zip(params, chosen, strict=True)), columns


def _calibrated(data: LabelSet, values: Values) -> NDArray[np.float64]:
    """Return probabilities of values, ``(N, k)``, each calibrated without its own fold."""
    division = np.atleast_2d(data.fold)[0]
    if len(np.unique(division[division >= 0])) == 1:
        division = np.arange(len(division)) % 5  # one fold alone: fifths of it
    rows = data.held_out
    return platt.cross_fitted(values, data.labels[rows], division[rows])


def gathered(data: LabelSet, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the repeats, a row for each image."""
    ends = np.cumsum([len(part) for _, part in data.folds])[:-1]
    mean: NDArray[np.float64] = data.shared.gather(np.split(probabilities, ends))
    return mean
