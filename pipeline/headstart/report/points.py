"""The points of the reliability diagram and of the learning curve, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from headstart.core.proportions import wilson

FEWEST = 10  # images in a point of the reliability diagram
STEPS = 24  # of the forecast's line


class Point(NamedTuple):
    """An accuracy with its 95 % interval; ``x`` is a confidence or a number of images."""

    x: float
    accuracy: float
    low: float
    high: float
    images: int = 0


def reliability(bins: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Return accuracy by confidence, neighbouring bins merged until each has `FEWEST` images.

    ``bins`` is `HeadResult.reliability`.
    """
    merged: list[list[float]] = []
    count = confidence = correct = 0.0
    for n, mean, accuracy in zip(bins["images"], bins["confidence"], bins["accuracy"], strict=True):
        if n and mean is not None:
            count, confidence, correct = count + n, confidence + n * mean, correct + n * accuracy
        if count >= FEWEST:
            merged.append([count, confidence, correct])
            count = confidence = correct = 0.0
    if count and merged:
        merged[-1] = [a + b for a, b in zip(merged[-1], (count, confidence, correct), strict=True)]
    elif count:
        merged.append([count, confidence, correct])
    return [Point(c / n, hits / n, *wilson(hits / n, n), round(n)) for n, c, hits in merged]


def forecast(curve: Mapping[str, Any]) -> list[Point]:
    """Return the expected accuracy from the last measured point to twice the images.

    The interval goes over, linearly in the logarithm of the images, from the one that was measured
    to that of the forecast. The list is empty without a forecast.
    """
    law, doubling = curve["fit"], curve["doubling"]
    if not law or not doubling or not curve["points"]:
        return []

    def expected(images: float) -> float:
        return float(law["ceiling"] - law["scale"] * images ** -law["exponent"])

    last = curve["points"][-1]
    first, end = float(last["images"]), float(doubling["images"])
    near = [bound - expected(first) for bound in last["accuracy_ci"]]
    far = [bound - expected(end) for bound in doubling["accuracy_ci"]]
    points = []
    for step in range(STEPS + 1):
        share = step / STEPS
        images = first * (end / first) ** share
        middle = expected(images)
        low, high = (
            min(1.0, max(0.0, middle + (1 - share) * a + share * b))
            for a, b in zip(near, far, strict=True)
        )
        points.append(Point(round(images, 1), middle, low, high))
    return points
