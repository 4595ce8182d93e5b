"""What all families of heads share: the training rows, the record of a search, the threads.

Rows are L2-normalised one by one, so nothing leaks from one fold to another, and one Gram matrix
of the normalised rows holds every inner product and every distance that any fold, kernel or
number of neighbours needs.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

MAX_GRAM_ROWS = 20_000  # 1.6 GB of Gram matrix, and 2 GB for one fold's float64 kernel
KERNEL_BYTES = 4e9  # what the folds' kernels may take together

# Squared distances below this are rounding errors of a float32 Gram matrix: the same image.
SAME_IMAGE = 4e-6

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Candidate:
    """One point of a grid, scored on every fold.

    Attributes:
        params: the hyper-parameters.
        scores: accuracy on each fold.
        loss: mean out-of-fold log loss, where a family knows it; decides between equal accuracies.
        saturated: no larger C can change the solution on any fold.
    """

    params: dict[str, Any]
    scores: tuple[float, ...]
    loss: float = 0.0
    saturated: bool = False

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
    """

    name: str
    params: dict[str, Any]
    cv_accuracy: float
    cv_std: float
    grid: list[dict[str, Any]]
    estimator: BaseEstimator
    seconds: float


@dataclass(frozen=True)
class TrainingSet:
    """The images that heads are tuned and fitted on.

    Attributes:
        features: ``(n, d) float32``, finite, as extracted.
        labels: ``(n,) int64`` codes.
        fold: ``(n,)`` the fold that holds each image out, from 0. No fold may hold out all images
            of a class.
        seed: for what is random in a family.
        workers: number of threads, at least 1.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    fold: NDArray[np.int64]
    seed: int = 0
    workers: int = 1

    @property
    def n_classes(self) -> int:
        """One more than the largest code."""
        return int(self.labels.max()) + 1

    @cached_property
    def folds(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """For each fold, the rows to fit on and the rows held out."""
        numbers = np.unique(self.fold)
        return [(np.flatnonzero(self.fold != i), np.flatnonzero(self.fold == i)) for i in numbers]

    @cached_property
    def rows(self) -> NDArray[np.float32]:
        """The rows with Euclidean norm 1, ``(n, d)``; a row of zeros stays."""
        from sklearn.preprocessing import normalize

        rows: NDArray[np.float32] = normalize(self.features)
        return rows

    @cached_property
    def gram(self) -> NDArray[np.float32]:
        """The inner products of all pairs of normalised rows, ``(n, n)``.

        Raises:
            InputError: there are too many rows for a matrix of all pairs.

        Ask for it before threads start: it is worked out once, by all cores.
        """
        if len(self.rows) > MAX_GRAM_ROWS:
            raise InputError(
                f"the SVM and kNN heads compare all pairs of images and take at most"
                f" {MAX_GRAM_ROWS:,} training images, but there are {len(self.rows):,}; train with"
                " --heads logistic-regression"
            )
        return self.rows @ self.rows.T


class Family(Protocol):
    """One kind of head, with its grid."""

    @property
    def name(self) -> str:
        """How users spell it."""

    def search(self, data: TrainingSet) -> FittedHead:
        """Cross-validate the grid, choose by mean accuracy and refit on all rows."""


def squared_distances(
    gram: NDArray[np.float32], left: NDArray[np.intp], right: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the squared distances between two sets of rows, from the Gram matrix.

    Args:
        gram: ``(n, n)`` as `TrainingSet.gram`.
        left: ``(a,)`` row numbers.
        right: ``(b,)`` row numbers.

    Returns:
        ``(a, b)``, exactly 0 for rows that are equal within float32's precision.
    """
    norms = np.diagonal(gram).astype(np.float64)
    distances = gram[np.ix_(left, right)].astype(np.float64)
    distances *= -2.0
    distances += norms[left, None]
    distances += norms[right]
    distances[distances < SAME_IMAGE] = 0.0
    return distances


def stratified_folds(labels: NDArray[np.integer], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold, 0 to ``folds - 1``, that holds each image out; classes are spread evenly.

    Args:
        labels: ``(n,)`` codes; every class needs at least ``folds`` images.
        folds: number of folds, at least 2.
        seed: of the shuffling.
    """
    from sklearn.model_selection import StratifiedKFold

    fold = np.empty(len(labels), dtype=np.int64)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with hushed():
        for number, (_, held_out) in enumerate(splitter.split(labels, labels)):
            fold[held_out] = number
    return fold


def class_probabilities(
    estimator: BaseEstimator, features: NDArray[np.float32], n_classes: int
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
    probabilities[:, estimator.classes_] = estimator.predict_proba(features)
    return probabilities


def climb(grid: Sequence[float], evaluate: Callable[[float], Candidate]) -> list[Candidate]:
    """Evaluate growing values of C until the accuracy has passed its peak.

    Two values in a row below the best so far end the climb, and so does a solution that no larger
    value can change: beyond the peak each fit costs most and wins least.
    """
    tried: list[Candidate] = []
    for value in grid:
        tried.append(evaluate(value))
        best = max(candidate.accuracy for candidate in tried)
        if tried[-1].saturated or all(c.accuracy < best for c in tried[-2:]):
            break
    return tried


def finish(
    name: str,
    candidates: Sequence[Candidate],
    build: Callable[[dict[str, Any]], BaseEstimator],
    data: TrainingSet,
    started: float,
) -> FittedHead:
    """Choose among the candidates and fit the chosen one on all rows.

    Args:
        name: the family.
        candidates: simplest first, since the first of equals is chosen.
        build: makes the stock estimator for some parameters.
        data: the training set.
        started: `time.perf_counter` when the search began.
    """
    best = min(candidates, key=lambda candidate: (-candidate.accuracy, candidate.loss))
    with one_thread_each(data.workers):
        estimator = build(best.params).fit(data.features, data.labels)
    return FittedHead(
        name=name,
        params=best.params,
        cv_accuracy=best.accuracy,
        cv_std=best.std,
        grid=[candidate.to_json() for candidate in candidates],
        estimator=estimator,
        seconds=time.perf_counter() - started,
    )


def run_parallel(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> list[Result]:
    """Return ``function(task)`` for each task, in order, worked out in threads.

    Args:
        function: spends its time outside the interpreter lock, as BLAS and libsvm do.
        tasks: its arguments.
        workers: number of threads.
    """
    from joblib import Parallel, delayed

    with one_thread_each(workers):
        results: list[Result] = Parallel()(delayed(function)(task) for task in tasks)
    return results


@contextmanager
def one_thread_each(workers: int = 1) -> Iterator[None]:
    """Let joblib use threads, and BLAS and OpenMP one thread in each of them; hush scikit-learn.

    Threads of BLAS inside threads of joblib fight for the cores: on two of them, logistic
    regression took ten times as long. The filter of warnings is set here, once, because threads
    share the list of filters.
    """
    from joblib import parallel_config
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), parallel_config(backend="threading", n_jobs=workers), hushed():
        yield


@contextmanager
def hushed() -> Iterator[None]:
    """Silence two warnings that would ask nothing of the user.

    That a solver stopped early: its score is measured like any other, so the choice stays honest.
    That labels look like a regression's: few images of many classes do.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
        yield
