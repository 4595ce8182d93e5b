"""k nearest neighbours of several labels: one sorting serves all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.heads.knn import REFERENCES, GaussianWeights, nearest_rows
from headstart.heads.multilabel.family import LabelFamily, Params, Trials, Values
from headstart.heads.multilabel.label_set import LabelSet
from headstart.heads.multilabel.platt import Part
from headstart.heads.training_set import mean_squared_distance

BLOCK = 1024  # rows whose votes are counted at once


@dataclass(frozen=True)
class NearestNeighboursLabels(LabelFamily):
    """Each label's share of the votes of the k nearest images whose label is known.

    See `headstart.heads.knn.NearestNeighboursHead` for the weights and the grid, which has more
    neighbours here: labels are rarer than classes. Values of k larger than a fold are skipped.
    """

    name: str = "knn"
    title: str = "kNN"
    grid: Mapping[str, Sequence[Any]] = field(
        default_factory=lambda: {
            "n_neighbors": (80, 40, 20, 10, 5, 3, 1),
            "gamma": (5.0, 10.0, 20.0),
        }
    )
    keeps_rows: bool = True
    most_rows: int | None = REFERENCES

    def explore(self, data: LabelSet, trials: Trials) -> None:
        """Score every k with the middle gamma, then the others with the best; see `LabelFamily`."""
        fewest = min(len(fit) for fit, _ in data.folds)
        ks = [k for k in self.grid["n_neighbors"] if k <= fewest] or [fewest]
        nearest = _Nearest(data, max(ks))
        unit = 1.0 / mean_squared_distance(data.shared.rows)
        gammas = [float(f"{multiple * unit:.3g}") for multiple in self.grid["gamma"]]
        middle = gammas.pop(len(gammas) // 2)

        def score(k: int, gamma: float) -> None:
            trials.add({"n_neighbors": k, "gamma": gamma}, nearest.shares(k, gamma))

        for k in ks:
            score(k, middle)
        best = min(trials.tried, key=lambda trial: trial.loss).params["n_neighbors"]
        for gamma in gammas:
            for k in ks if trials.per_label else [best]:
                score(k, gamma)

    def values(self, params: Params, data: LabelSet) -> Sequence[Values]:
        """Return shares of the votes; see `LabelFamily`."""
        k = params["n_neighbors"]
        return _Nearest(data, k).shares(k, params["gamma"])

    def fitted(self, params: Params, data: LabelSet) -> Iterator[Part]:
        """Yield a regression on the rows where each label is known; see `LabelFamily`."""
        from sklearn.neighbors import KNeighborsRegressor

        for columns, annotated in data.known_alike():
            model = KNeighborsRegressor(
                min(params["n_neighbors"], max(int(annotated.sum()), 1)),
                weights=GaussianWeights(params["gamma"]),
                metric="euclidean",
                algorithm="brute",
            )
            rows = annotated if annotated.any() else np.arange(len(annotated)) == 0
            targets = (data.labels[rows][:, columns] == 1).astype(np.float64)
            yield Part(model.fit(data.shared.rows[rows], targets), np.zeros(len(columns)), columns)


class _Nearest:
    """The nearest rows of those that each fold holds out, for labels that are known alike."""

    def __init__(self, data: LabelSet, k: int) -> None:
        self._data = data
        self._patterns = []
        for columns, annotated in data.known_alike():
            of_folds = []
            for fit, held_out in data.folds:
                within = fit[annotated[fit]]
                count = min(k, len(within))
                near = nearest_rows(data.shared, within, held_out, count) if count else None
                of_folds.append(near)
            self._patterns.append((columns, of_folds))

    def shares(self, k: int, gamma: float) -> list[NDArray[np.float32]]:
        """Return each label's share of the weighted votes, ``(held out, k)`` a fold."""
        weights = GaussianWeights(gamma)
        present = (self._data.labels == 1).astype(np.float32)
        parts = [
            np.zeros((len(rows), self._data.n_labels), np.float32) for _, rows in self._data.folds
        ]
        for columns, of_folds in self._patterns:
            votes = present[:, columns]
            for part, near in zip(parts, of_folds, strict=True):
                if near is None:
                    continue
                rows, squared = near[0][:, :k], near[1][:, :k]
                for start in range(0, len(part), BLOCK):
                    block = slice(start, start + BLOCK)
                    weight = weights.of_squares(squared[block].astype(np.float64))
                    weight /= weight.sum(axis=1, keepdims=True)
                    part[block, columns] = np.einsum("nj,njc->nc", weight, votes[rows[block]])
        return parts
