"""The user's rules for dividing images and tuning heads."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headstart.core.choices import SMALL_CLASSES, VALIDATION
from headstart.core.errors import InputError, one_line

MAX_SEED = 2**32 - 1
CROSS_VALIDATION, PREDEFINED = VALIDATION
REDUCE, ERROR, DROP = SMALL_CLASSES

TINY = 200  # training images; below, a single division into folds decides too much
MIN_ANSWERS = 1000  # out-of-fold predictions that repeats should add up to
SMALL = 1000  # labelled images; below, without a test split, out-of-fold answers are scored
SCORED_ANSWERS = 2000  # as `MIN_ANSWERS`, where these answers are scored
MAX_REPEATS = 10


@dataclass(frozen=True)
class Rules:
    """How images are divided and heads are tuned.

    Attributes:
        folds: number of folds of the cross-validation, at least 2.
        seed: of the folds, the held-out test and the intervals, 0 to 2^32 - 1.
        repeats: how often the cross-validation is repeated with other folds; None for
            `repeats_for`.
        validation: ``cross-validation``, where a predefined validation split joins the training
            images, or ``predefined``, where heads are chosen on that split.
        holdout: without a split named test, whether to hold images out as one, or to fit on all and
            score out-of-fold answers; None holds out from `SMALL` labelled images on. A
            predefined validation split needs a hold-out.
        small_classes: what to do if a class has fewer training images than folds: ``reduce`` the
            folds, raise an ``error``, or ``drop`` the class.
    """

    folds: int = 5
    seed: int = 0
    repeats: int | None = None
    validation: str = CROSS_VALIDATION
    small_classes: str = REDUCE
    holdout: bool | None = None

    def __post_init__(self) -> None:
        """Reject values that are out of range or contradict each other before any work."""
        if self.folds < 2:
            raise InputError(f"folds must be at least 2, not {self.folds}")
        if not 0 <= self.seed <= MAX_SEED:
            raise InputError(f"the seed must be between 0 and {MAX_SEED}, not {self.seed}")
        if self.repeats is not None and self.repeats < 1:
            raise InputError(f"repeats must be at least 1, not {self.repeats}")
        _check_choice("validation", self.validation, VALIDATION)
        _check_choice("small classes", self.small_classes, SMALL_CLASSES)
        if self.holdout is False and self.validation == PREDEFINED:
            raise InputError(
                "a predefined validation split needs a test; remove either --no-holdout or"
                " --validation predefined"
            )
        if self.repeats is not None and self.validation == PREDEFINED:
            raise InputError(
                "a predefined validation split cannot be repeated; remove either --repeats or"
                " --validation predefined"
            )

    def holds_out(self, n_labelled: int) -> bool:
        """Return whether to hold images out of this many, where no split is named test."""
        if self.validation == PREDEFINED:
            return True
        return n_labelled >= SMALL if self.holdout is None else self.holdout

    def repeats_for(self, n_train: int, out_of_fold: bool = False) -> int:
        """Return how often to repeat the cross-validation on this many training images.

        The default is once from 200 training images on. With fewer, the luck of one division may
        decide between heads, so it is repeated until there are 1,000 out-of-fold predictions, 10
        times at most. Where these are what is scored, it is repeated until there are 2,000: then
        another seed moves the score by less than half its standard error. Source: Kim, *Estimating
        Classification Error Rate: Repeated Cross-Validation, Repeated Hold-Out and Bootstrap*,
        2009.

        >>> [Rules().repeats_for(n) for n in (20, 150, 199, 200)]
        [10, 7, 6, 1]
        >>> [Rules().repeats_for(n, out_of_fold=True) for n in (20, 300, 999, 2000)]
        [10, 7, 3, 1]
        """
        if self.validation == PREDEFINED:
            return 1
        if self.repeats is not None:
            return self.repeats
        if not out_of_fold and n_train >= TINY:
            return 1
        answers = SCORED_ANSWERS if out_of_fold else MIN_ANSWERS
        return min(MAX_REPEATS, math.ceil(answers / n_train))


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{what} cannot be {one_line(value)}; choose among {', '.join(choices)}")
