"""Conditions that a model must meet to be deployed: ``METRIC=VALUE``, or not worse than another.

A score meets its condition if the lower end of its 95 % interval does, so a few images, on which
any model may look good, never let one pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from headstart.core.assessment import Evaluation, Gate, ModelScores
from headstart.core.errors import InputError, UsageError, count, near_matches, one_line
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL

if TYPE_CHECKING:
    from headstart.core.label_assessment import LabelEvaluation, LabelModelScores


GROUP_ACCURACY = "group_accuracy"


class Scores(NamedTuple):
    """The scores of a target type that a condition may name, and those of each class or label."""

    overall: tuple[str, ...]
    of_a_class: tuple[str, ...]
    noun: str

    def in_words(self) -> str:
        """Return how conditions name the scores."""
        own = (f"{name}:{self.noun.upper()}" for name in self.of_a_class)
        return ", ".join([*self.overall, *own])


SCORES = {
    SINGLE_LABEL: Scores(
        ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", GROUP_ACCURACY),
        ("recall", "precision"),
        "class",
    ),
    MULTI_LABEL: Scores(
        ("map", "macro_auc", "macro_f1", "micro_f1", "subset_accuracy"),
        ("ap", "auc", "f1", "recall", "precision"),
        "label",
    ),
}


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
        UsageError: it is none of these, for any target.
    """
    name, _, number = text.rpartition("=")
    score, _, label = name.strip().partition(":")
    score = score.replace("-", "_").casefold()
    names = {
        each for kind in SCORES.values() for each in (kind.of_a_class if label else kind.overall)
    }
    if score not in names:
        raise UsageError(
            f"no score {one_line(name or text)!r}; {near_matches(score, sorted(names))}"
            f"write METRIC=VALUE with one of {SCORES[SINGLE_LABEL].in_words()}, or for several"
            f" labels {SCORES[MULTI_LABEL].in_words()}"
        )
    try:
        value = float(number.rstrip("% ")) / (100 if number.rstrip().endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise UsageError(f"{one_line(text)}: write a value above 0 and up to 1, or with %")
    return Minimum(score, label, value)


def check(minima: Sequence[Minimum], target: str, classes: Sequence[str], title: str) -> None:
    """Raise an error for a condition on a score that a target does not have, or on no class.

    Raises:
        UsageError: the score is one of another target.
        InputError: ``classes``, those of the model ``title``, lack the one that it names.
    """
    kind = SCORES[target]
    for minimum in minima:
        if minimum.score not in (kind.of_a_class if minimum.label else kind.overall):
            raise UsageError(
                f"{minimum.score} is no score of {target} models; choose among {kind.in_words()}"
            )
        if minimum.label and minimum.label not in classes:
            raise InputError(
                f"{one_line(title)} has no {kind.noun} {one_line(minimum.label)};"
                f" {near_matches(minimum.label, classes)}name one of those it has"
            )


def judge(
    evaluation: Evaluation | LabelEvaluation, minima: Sequence[Minimum], not_worse: bool
) -> list[Gate]:
    """Return the verdict on each condition; see `check`."""
    first = evaluation.models[0]
    if isinstance(evaluation, Evaluation):
        classes = names = evaluation.models[0].classes
    else:
        classes = evaluation.labels
        names = [*classes, *(each.label for each in evaluation.unscored)]
    check(minima, evaluation.TARGET, names, first.title)
    gates = [_minimum(minimum, _value(minimum, evaluation, classes)) for minimum in minima]
    if not_worse and evaluation.paired is not None:
        paired, (model, other) = evaluation.paired, evaluation.models
        single = isinstance(evaluation, Evaluation)
        scale, digits = (100, 1) if single else (1, 3)
        score, test = ("points of accuracy", "exact ") if single else ("mean average precision", "")
        low, high = (f"{scale * end:+.{digits}f}" for end in paired.difference_ci)
        gates.append(
            Gate(
                "not worse",
                paired.verdict != "worse",
                f"{one_line(model.title)} is {_verdict(paired.verdict)} {one_line(other.title)}:"
                f" {scale * paired.difference:+.{digits}f} {score} ({low} to {high}),"
                f" {test}p = {paired.p:.3g} on {count(evaluation.images, 'image')}",
            )
        )
    return gates


def _verdict(verdict: str) -> str:
    return {
        "worse": "worse by more than chance than",
        "better": "better by more than chance than",
        "tie": "not worse by more than chance than",
    }[verdict]


def _minimum(minimum: Minimum, measured: tuple[float | None, Sequence[float] | None]) -> Gate:
    value, interval = measured
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


def _value(
    minimum: Minimum, evaluation: Evaluation | LabelEvaluation, classes: Sequence[str]
) -> tuple[float | None, Sequence[float] | None]:
    model: ModelScores | LabelModelScores = evaluation.models[0]
    if minimum.score == GROUP_ACCURACY:
        groups = evaluation.group_answers if isinstance(evaluation, Evaluation) else None
        if groups is None or not groups.scores:
            return None, None
        return groups.scores[0].accuracy, groups.scores[0].accuracy_ci
    if not minimum.label:
        own = {"accuracy": model.accuracy_ci} if isinstance(model, ModelScores) else {}
        return getattr(model, minimum.score), (own | model.intervals)[minimum.score]
    if minimum.label not in classes:  # the model knows it, and no image shows how well
        return None, None
    table = model.per_class if isinstance(model, ModelScores) else model.per_label
    place = classes.index(minimum.label)
    value, interval = (table[column][place] for column in (minimum.score, f"{minimum.score}_ci"))
    return value, interval or None
