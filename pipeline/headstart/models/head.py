"""The head of a model file alone: probabilities from features that are already computed."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.description import OUTPUT, PROBABILITIES
from headstart.backbones.inference.runner import open_session
from headstart.core.errors import InputError, one_line
from headstart.core.records import Backbone, Extraction, FeatureSet
from headstart.core.targets import SINGLE_LABEL
from headstart.models.classifier import Classifier
from headstart.models.explain import graphs

_ROWS = 1024  # in one inference


class Head:
    """Answers of a classifier for rows of features instead of images.

    ``thresholds``, ``(k,)``, are those of several labels; None if an image has one class.
    """

    def __init__(self, model: Classifier) -> None:
        self.classes = model.classes
        self.thresholds = None if model.target == SINGLE_LABEL else model.label_thresholds
        self._backbone = model.backbone
        self._path = model.path
        self._classifier = model
        self._session = None
        if not model.takes_features:
            self._session = open_session(graphs.head_alone(model.path))

    def reads(self, data: FeatureSet) -> bool:
        """Say whether features are those of the model's backbone, in any precision."""
        stored = Backbone.from_json(data.extraction["backbone"])
        return dataclasses.replace(stored, precision=self._backbone.precision) == self._backbone

    def check(self, data: FeatureSet) -> None:
        """Raise an `InputError` if features are not those of the model's backbone."""
        if not self.reads(data):
            difference = Extraction(self._backbone).difference(data.extraction)
            raise InputError(
                f"{one_line(data.name)} holds other features than {one_line(self._path)} reads"
                f" ({one_line(difference)}); embed the images with the model's backbone"
            )

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``(n, k)`` probabilities of ``(n, d)`` features as extracted."""
        if self._session is None:
            return self._classifier.predict(features)
        parts = [
            self._session.run([PROBABILITIES], {OUTPUT: features[start : start + _ROWS]})[0]
            for start in range(0, len(features), _ROWS)
        ]
        return np.asarray(np.concatenate(parts), np.float32)
