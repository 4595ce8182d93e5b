"""The baseline of several labels that needs no images: how frequent each label is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headstart.heads.multilabel.family import LabelFamily, Params, Trials, Values
from headstart.heads.multilabel.label_set import LabelSet
from headstart.heads.multilabel.linear import one_vs_rest
from headstart.heads.multilabel.platt import Part, Sigmoids

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


@dataclass(frozen=True)
class Prevalence(LabelFamily):
    """Predicts each label with its frequency among the training images, whatever the image."""

    name: str = "prevalence"
    title: str = "prevalence"

    def explore(self, data: LabelSet, trials: Trials) -> None:
        """Score the only candidate; see `LabelFamily`."""
        trials.add({}, self.values({}, data))

    def values(self, params: Params, data: LabelSet) -> Sequence[Values]:
        """Return 0 for every image; see `LabelFamily`."""
        return [np.zeros((len(rows), data.n_labels), np.float32) for _, rows in data.folds]

    def fitted(self, params: Params, data: LabelSet) -> Iterator[Part]:
        """Yield weights of 0; see `LabelFamily`."""
        k = data.n_labels
        yield Part(np.zeros((data.features.shape[1], k)), np.zeros(k), np.arange(k))

    def classifier(self, parts: Sequence[Part], sigmoids: Sigmoids) -> BaseEstimator:
        """Return a ``OneVsRestClassifier``; see `LabelFamily`."""
        return one_vs_rest(parts, sigmoids)
