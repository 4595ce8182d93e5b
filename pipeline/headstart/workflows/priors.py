"""Predictions under the shares of the classes that a batch itself shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from headstart.core.errors import InputError, UsageError, count

if TYPE_CHECKING:
    from headstart.core.costs import Costs
    from headstart.models.classifier import Classifier
    from headstart.models.predict import Prediction


def correct_priors(
    model: Classifier,
    predictions: Sequence[Prediction],
    min_confidence: float = 0.0,
    costs: Costs | None = None,
) -> Iterator[Prediction]:
    """Yield predictions under the shares of the classes that the batch itself shows.

    Raises:
        InputError: there are too few images, or too many unlike ones; see `check_model`, too.
    """
    import numpy as np

    from headstart.evaluation import prior_shift
    from headstart.evaluation.drift import marked_interval

    assert model.profile is not None
    rows = [row for row, prediction in enumerate(predictions) if not prediction.error]
    if len(rows) < prior_shift.LEAST_IMAGES:
        raise InputError(
            f"{count(len(rows), 'image')} are too few to estimate the shares of the classes: give"
            f" {prior_shift.LEAST_IMAGES} or more, or omit --correct-priors"
        )
    marked = np.array([bool(predictions[row].unlike) for row in rows])
    if marked_interval(marked)[0] > prior_shift.FOREIGN:
        raise InputError(
            f"{marked.mean():.0%} of the images are unlike any training image, so more than the"
            " shares of the classes has changed; omit --correct-priors and look at the images"
        )
    training = np.array(model.profile.shares)
    before = np.array([predictions[row].probabilities for row in rows])
    shift = prior_shift.estimate(before, training)
    corrected = prior_shift.correct(before, training, shift.shares)
    codes = corrected.argmax(axis=1) if costs is None else costs.decide(corrected)
    places = {row: number for number, row in enumerate(rows)}
    for row, prediction in enumerate(predictions):
        if row not in places:
            yield prediction
            continue
        number = places[row]
        scores = corrected[number]
        labels = model.answers.names(model, scores, int(codes[number]), min_confidence)
        yield dataclasses.replace(
            prediction,
            probabilities=tuple(scores.tolist()),
            label="|".join(labels),
            labels=labels,
        )


def check_model(model: Classifier) -> None:
    """Raise an `InputError` if a model does not say what the shares of its classes were."""
    if model.profile is None or not model.profile.answers:
        raise InputError(
            "the shares of the classes can be estimated only for a model of one class an image"
            " that says those of its training images; train heads with: headstart train-heads"
        )


def check_correction(target: str | float | None, sets: str) -> None:
    """Raise a `UsageError` for promises that hold for the training's shares of the classes."""
    if target is not None or sets:
        raise UsageError(
            "--at and --sets promise what holds for the training's shares of the classes; use"
            " --correct-priors without them"
        )
