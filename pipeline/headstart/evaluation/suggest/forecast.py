"""What a learning curve expects of more labels, and whether that is more than its own noise."""

from __future__ import annotations

import dataclasses

import numpy as np

from headstart.core.results import LearningCurve
from headstart.core.suggestions import GO_ON, MORE_AT_ONCE, STOP, Forecast
from headstart.evaluation.learning_curve import EXPONENTS, FEWEST_TO_FIT, GAINED, fit

FEWEST = 30  # labelled images of a curve that says anything
FARTHEST = 4  # times the labels, up to which a gain is looked for
STEEPEST = 1.0  # exponent: steeper laws take the noise of few images for a plateau
ROOM = 1.5  # times the noise, beyond the shares of a gain, that its interval needs
WORTH = 0.01  # a gain by twice the labels that is worth them


ACCURACY, PRECISION = "accuracy", "mean average precision"


def forecast(
    curve: LearningCurve | None, labelled: int, more: int, score: str = ACCURACY
) -> Forecast | None:
    """Return what ``more`` labels are expected to bring; None without a fitted curve.

    The curve is one of images drawn at random, so chosen images bring as much or more. Forecasts
    are wrong by up to half a standard error of the accuracy where there is nothing to gain (docs
    decision 154), which is the noise that a gain must exceed.
    """
    if curve is None or len(curve.points) < FEWEST_TO_FIT or labelled < FEWEST:
        return None
    sizes = np.array([point.images for point in curve.points], np.float64)
    measured = np.array([[point.accuracy for point in curve.points]], np.float64)
    law = fit(sizes, measured, EXPONENTS[EXPONENTS <= STEEPEST])

    def accuracy(images: int) -> float:
        return float(np.clip(law.accuracy(images)[0], 0, 1))

    now, then = accuracy(labelled), accuracy(labelled + more)
    cautious = (labelled * now + 1) / (labelled + 2)  # few images that are all right are no proof
    noise = 0.5 * float(np.sqrt(cautious * (1 - cautious) / labelled))
    twice = accuracy(2 * labelled) - now
    enough = next(
        (n for n in range(1, FARTHEST * labelled) if accuracy(labelled + n) - now > noise), None
    )
    verdict = GO_ON if then - now > noise else MORE_AT_ONCE
    most = _interval(twice, noise)[1]
    if most < WORTH:
        verdict = STOP
    result = Forecast(
        labelled=labelled,
        score=score,
        accuracy=now,
        more=more,
        accuracy_then=then,
        gain=then - now,
        gain_ci=_interval(then - now, noise),
        noise=noise,
        verdict=verdict,
        enough=enough,
        text="",
    )
    return dataclasses.replace(result, text=_text(result, most))


def _interval(gain: float, noise: float) -> tuple[float, float]:
    """Return the interval of a forecast gain; see docs/decisions/0247."""
    return GAINED[0] * gain - ROOM * noise, GAINED[1] * gain + ROOM * noise


def _text(result: Forecast, most: float) -> str:
    low, high = (f"{100 * end:.1f}" for end in result.gain_ci)
    noise = f"{100 * result.noise:.1f} points"
    noun = "labels" if result.score == ACCURACY else "labelled images"
    expected = (
        f"The learning curve expects a{'n' if result.score == ACCURACY else ''} {result.score} of"
        f" {result.accuracy_then:.1%} with {result.more:,} more {noun}, {result.accuracy:.1%} now:"
        f" {100 * result.gain:+.1f} points ({low} to {high}) if they were drawn at random."
    )
    if result.verdict == GO_ON:
        return f"{expected} Label them: that is more than the forecast's noise, {noise}."
    if result.verdict == MORE_AT_ONCE:
        enough = f"about {result.enough:,}" if result.enough else "many more"
        return (
            f"{expected} That is within the forecast's noise, {noise}: label {enough} for a gain"
            " that shows."
        )
    return (
        f"{expected} Stop here: even twice the labels are expected to bring {100 * most:.1f} points"
        " at most. Another backbone or correct labels may help more."
    )
