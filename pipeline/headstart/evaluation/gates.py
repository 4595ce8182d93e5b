"""Conditions that a model must meet to be deployed: ``METRIC=VALUE``, or not worse than another.

A score meets its condition if the lower end of its 95 % interval does, so a few images, on which
any model may look good, never let one pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headstart.core.assessment import Evaluation, Gate, ModelScores
from headstart.core.errors import InputError, UsageError, count, near_matches, one_line

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc")
OF_A_CLASS = ("recall", "precision")


@dataclass(frozen=True)
class Minimum:
    """The least value of a score; ``label`` is the class of a recall or precision, else empty."""

    score: str
    label: str
    value: float

    def __str__(self) -> str:
        return f"{self.score}{self.label and ':' + self.label}={self.value:g}"


def parse(text: str) -> Minimum:
    """Read ``accuracy=0.9``, ``macro_f1=85%`` or ``recall:CLASS=0.8``.

    Raises:
        UsageError: it is none of these.
    """
    name, _, number = text.rpartition("=")
    score, _, label = name.strip().partition(":")
    score = score.replace("-", "_")
    if score not in (OF_A_CLASS if label else SCORES):
        names = [*SCORES, *(f"{name}:CLASS" for name in OF_A_CLASS)]
        raise UsageError(
            f"no score {one_line(name or text)!r}; {near_matches(score, names)}"
            f"write METRIC=VALUE with one of {', '.join(names)}"
        )
    try:
        value = float(number.rstrip("% ")) / (100 if number.rstrip().endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise UsageError(f"{one_line(text)}: write a value above 0 and up to 1, or with %")
    return Minimum(score, label, value)


def judge(evaluation: Evaluation, minima: Sequence[Minimum], not_worse: bool) -> list[Gate]:
    """Return the verdict on each condition.

    Raises:
        InputError: the model has no such class.
    """
    gates = [_minimum(minimum, evaluation.models[0]) for minimum in minima]
    if not_worse and evaluation.paired is not None:
        paired, (model, other) = evaluation.paired, evaluation.models
        low, high = (100 * end for end in paired.difference_ci)
        gates.append(
            Gate(
                "not worse",
                paired.verdict != "worse",
                f"{one_line(model.title)} is {_verdict(paired.verdict)} {one_line(other.title)}:"
                f" {100 * paired.difference:+.1f} points of accuracy ({low:+.1f} to {high:+.1f}),"
                f" exact p = {paired.p:.3g} on {count(evaluation.images, 'image')}",
            )
        )
    return gates


def _verdict(verdict: str) -> str:
    return {
        "worse": "worse by more than chance than",
        "better": "better by more than chance than",
        "tie": "not worse by more than chance than",
    }[verdict]


def _minimum(minimum: Minimum, model: ModelScores) -> Gate:
    value, interval = _value(minimum, model)
    name = minimum.score.replace("_", " ") + (
        f" of {one_line(minimum.label)}" * bool(minimum.label)
    )
    if value is None or interval is None:
        return Gate(str(minimum), False, f"{name} cannot be computed from these images")
    passed, low = interval[0] >= minimum.value, 100 * interval[0]
    return Gate(
        str(minimum),
        passed,
        f"{name} {100 * value:.1f} %: the lower end of its 95 % interval,"
        f" {low:.1f} %, is {'at least' if passed else 'below'} {100 * minimum.value:g} %",
    )


def _value(minimum: Minimum, model: ModelScores) -> tuple[float | None, Sequence[float] | None]:
    if not minimum.label:
        ends = {"accuracy": model.accuracy_ci} | model.intervals
        return getattr(model, minimum.score), ends[minimum.score]
    if minimum.label not in model.classes:
        raise InputError(
            f"{one_line(model.title)} has no class {one_line(minimum.label)};"
            f" {near_matches(minimum.label, model.classes)}name one of its classes"
        )
    place = model.classes.index(minimum.label)
    columns = (minimum.score, f"{minimum.score}_ci")
    value, interval = (model.per_class[column][place] for column in columns)
    return value, interval or None
