"""Weights that were trained elsewhere, calibrated and judged by the same rules as heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.heads.multilabel.family import LabelFamily, Params, Trials, Values
from headstart.heads.multilabel.label_set import LabelSet
from headstart.heads.multilabel.linear import one_vs_rest
from headstart.heads.multilabel.platt import Part, Sigmoids

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


@dataclass(frozen=True, kw_only=True)
class TrainedWeights(LabelFamily):
    """A linear classifier of features at norm 1, whose weights are not fitted again.

    ``weight`` is ``(k, d)``, ``bias`` ``(k,)``. Only images that had no part in them may be in the
    folds that are scored.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def explore(self, data: LabelSet, trials: Trials) -> None:
        """Score the only candidate; see `LabelFamily`."""
        trials.add({}, self.values({}, data))

    def values(self, params: Params, data: LabelSet) -> Sequence[Values]:
        """Return the log odds; see `LabelFamily`."""
        rows = data.shared.rows
        return [rows[held_out] @ self.weight.T + self.bias for _, held_out in data.folds]

    def fitted(self, params: Params, data: LabelSet) -> Iterator[Part]:
        """Yield the weights; see `LabelFamily`."""
        yield Part(self.weight.T, self.bias, np.arange(data.n_labels))

    def classifier(self, parts: Sequence[Part], sigmoids: Sigmoids) -> BaseEstimator:
        """Return a ``OneVsRestClassifier``; see `LabelFamily`."""
        return one_vs_rest(parts, sigmoids)
