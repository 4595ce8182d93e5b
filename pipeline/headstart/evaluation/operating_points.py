"""From which confidence on answers are right often enough: thresholds for chosen targets.

A threshold is chosen on answers by models that were not fitted on the image, so that the promise
holds with 95 % confidence: it is broken by at most one choice in twenty, however the confidences
are distributed. That is Learn then Test by fixed-sequence testing (Angelopoulos, Bates, Candès,
Jordan and Lei, *Learn then Test: Calibrating Predictive Algorithms to Achieve Risk Control*, 2021)
with the exact binomial test. The curve of accuracy by share of answers is the risk-coverage curve
of El-Yaniv and Wiener, *On the Foundations of Noise-free Selective Classification*, 2010.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import UsageError, one_line
from headstart.core.results import OperatingPoint, RiskPoint
from headstart.evaluation import metrics
from headstart.evaluation.metrics.design import Design

TARGETS = (0.95, 0.98, 0.99)
RISK = 0.05  # chance that a promise does not hold
STEPS = 100  # thresholds that are tried
CURVE = 40  # points of the curve

Groups = NDArray[np.integer] | None


@dataclass(frozen=True)
class Ranked:
    """Answers in the order of their confidence, highest first; arrays are ``(n,)``.

    ``group`` numbers images that belong together; None if each is its own group.
    """

    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]
    group: Groups = None

    @classmethod
    def of(
        cls,
        true: NDArray[np.integer],
        probabilities: NDArray[np.floating],
        group: Groups = None,
    ) -> Ranked:
        """Rank the answers of a classifier; ``(n,)`` codes and ``(n, k)`` probabilities."""
        confidence = probabilities.max(axis=1).astype(np.float64)
        order = np.argsort(-confidence, kind="stable")
        correct = probabilities.argmax(axis=1) == true
        return cls(confidence[order], correct[order], None if group is None else group[order])

    def __len__(self) -> int:
        return len(self.correct)

    def counts(self, steps: int) -> NDArray[np.intp]:
        """Return up to ``steps`` numbers of answers, evenly spaced; ties are not divided."""
        ends = np.ceil(np.arange(1, steps + 1) * len(self) / steps).astype(np.intp)
        whole = np.searchsorted(-self.confidence, -self.confidence[ends - 1], side="right")
        return np.unique(whole)

    def threshold(self, count: int) -> float:
        """Return the confidence that divides the first ``count`` answers from the others."""
        if count >= len(self):
            return 0.0
        return float(self.confidence[count - 1 : count + 1].mean())

    def interval(self, count: int) -> metrics.Interval:
        """Return the 95 % interval of the accuracy of the first ``count`` answers."""
        group = None if self.group is None else self.group[:count]
        return metrics.accuracy_interval(self.correct[:count], group)

    def beyond(self, threshold: float) -> dict[str, Any]:
        """Return ``share`` and ``accuracy`` of the answers from a confidence on, with intervals."""
        answered = self.confidence >= threshold
        count = int(answered.sum())
        return {
            "share": count / len(self),
            "share_ci": metrics.accuracy_interval(answered, self.group),
            "accuracy": float(self.correct[answered].mean()) if count else None,
            "accuracy_ci": self.interval(count) if count else None,
        }


def choose(answers: Ranked, target: float) -> OperatingPoint:
    """Return the lowest threshold from which on a share ``target`` of the answers is right.

    Thresholds are tested one after the other. The first is where the confidences alone promise the
    strongest evidence, each next one lets more images be answered, and the first that fails ends
    the sequence. If already the first fails, ``reached`` is false, and the point is the one where
    the confidences expect the highest bound: the best that these answers can show.
    """
    counts, effect = answers.counts(STEPS), _effect(answers)
    errors = np.cumsum(~answers.correct)[counts - 1]
    expected = np.cumsum(1 - answers.confidence)[counts - 1]
    first = int(np.argmin(_chance(counts / effect, expected / effect, target)))
    failed = _chance(counts / effect, errors / effect, target) > RISK
    failed[:first] = False
    last = (int(np.argmax(failed)) if failed.any() else len(counts)) - 1
    reached = last >= first
    if not reached:
        last = int(np.argmax(_bound((counts - expected) / effect, counts / effect)))
    count, right = int(counts[last]), int(counts[last] - errors[last])
    return OperatingPoint(
        target=target,
        reached=reached,
        threshold=answers.threshold(count),
        share=count / len(answers),
        accuracy=right / count,
        accuracy_ci=answers.interval(count),
        bound=float(_bound(np.array(right / effect), np.array(count / effect))),
    )


def _effect(answers: Ranked) -> float:
    """Return the design effect of groups of images."""
    design = Design.of(answers.correct, answers.group)
    return design.effect(answers.correct - answers.correct.mean())


def _chance(
    images: NDArray[np.floating], errors: NDArray[np.floating], target: float
) -> NDArray[np.float64]:
    """Return the chance of so few errors if less than the target were right; exact binomial."""
    from scipy.special import betainc

    right = np.maximum(images - errors, 1e-12)
    chance: NDArray[np.float64] = betainc(right, errors + 1, target)
    return chance


def _bound(right: NDArray[np.floating], images: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return one-sided lower bounds of shares (Clopper and Pearson, 1934)."""
    from scipy.special import betaincinv

    bounds: NDArray[np.float64] = np.where(
        right > 0, betaincinv(np.maximum(right, 1e-12), images - right + 1, RISK), 0.0
    )
    return bounds


def check(point: OperatingPoint, answers: Ranked) -> OperatingPoint:
    """Return a point with what it does on other images: the share answered, and their accuracy."""
    values = {f"test_{key}": value for key, value in answers.beyond(point.threshold).items()}
    return dataclasses.replace(point, **values)


def curve(answers: Ranked) -> list[RiskPoint]:
    """Return the accuracy of the most confident answers by their share of all."""
    return [
        RiskPoint(
            share=count / len(answers),
            threshold=answers.threshold(count),
            accuracy=float(answers.correct[:count].mean()),
            accuracy_ci=answers.interval(count),
        )
        for count in answers.counts(CURVE).tolist()
    ]


def parse_targets(text: str | float | Sequence[float]) -> tuple[float, ...]:
    """Return shares from ``95%,98%`` or ``0.95``, ascending; a number from 1 up is in percent.

    Raises:
        UsageError: a target is no number, or not between 50 and 100 %.
    """
    parts: Sequence[object] = [text] if isinstance(text, int | float) else text
    if isinstance(text, str):
        parts = text.split(",")
    return tuple(sorted({_share(str(part)) for part in parts if str(part).strip()}))


def parse_target(text: str | float) -> float:
    """Return the one share that a text such as ``95%`` means; errors as for `parse_targets`."""
    return _share(str(text))


def _share(text: str) -> float:
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        number = 0.0
    share = number / 100 if number >= 1 or text.strip().endswith("%") else number
    if not 0.5 <= share < 1:
        raise UsageError(
            f"a target is a share of right answers from 50% to below 100%, such as 98%, not"
            f" {one_line(text)}"
        )
    return round(share, 6)
