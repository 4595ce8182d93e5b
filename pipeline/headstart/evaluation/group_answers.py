"""Scores of one answer for each group of images, such as those of a patient or a burst."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.core.group_answers import MEAN, Pool
from headstart.core.label_results import LabelGroupAccuracy, LabelGroupScores
from headstart.core.label_text import join
from headstart.core.records import FeatureSet
from headstart.core.results import GroupAccuracy, GroupScores, WrongGroup
from headstart.evaluation import metrics
from headstart.evaluation.groups import Partition, by_name
from headstart.evaluation.metrics import multilabel

Masks = NDArray[np.bool_]
Labels = NDArray[np.int8]


def paths_of(data: FeatureSet, rows: NDArray[np.intp]) -> list[str]:
    """Return the paths of some rows."""
    return [data.path[row] for row in rows.tolist()]


@dataclass(frozen=True)
class Grouping:
    """Which of ``n`` images get one answer together, and how.

    Attributes:
        names: the groups, in the order of their first images.
        codes: ``(n,)``, the group of each image.
        answer: one of `core.choices.GROUP_ANSWERS`.
    """

    names: Sequence[str]
    codes: Partition
    answer: str = MEAN

    @classmethod
    def of(cls, paths: Sequence[str], named: Mapping[str, str], answer: str = MEAN) -> Grouping:
        """Group paths by the names of their groups; a path without one is its own group."""
        _, first, codes = np.unique(by_name(paths, named), return_index=True, return_inverse=True)
        order = np.argsort(first)
        names = [named.get(paths[row], paths[row]) for row in first[order].tolist()]
        return cls(names, np.argsort(order)[codes], answer)

    def take(self, rows: NDArray[np.intp] | Masks) -> Grouping:
        """Return the groups of some of the images."""
        numbers, codes = np.unique(self.codes[rows], return_inverse=True)
        return Grouping([self.names[number] for number in numbers], codes, self.answer)

    def first(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the value of the first image of each group, of ``(n,)`` values."""
        of_groups: NDArray[Any] = values[np.unique(self.codes, return_index=True)[1]]
        return of_groups

    def mark(self, images: Masks) -> Masks:
        """Return the groups that have one of these images, ``(g,)``."""
        return np.bincount(self.codes, images, len(self.names)) > 0


@dataclass(frozen=True)
class ImageAnswers:
    """The answers of a head or a model for images.

    ``chosen``, ``(n, k)``, is the class of each image, or its labels; ``probabilities`` are None
    if they are unknown, and ``thresholds``, ``(k,)``, those of several labels.
    """

    title: str
    probabilities: NDArray[np.floating] | None
    chosen: Masks
    thresholds: NDArray[np.floating] | None = None

    @classmethod
    def of_classes(
        cls,
        title: str,
        probabilities: NDArray[np.floating] | None,
        predicted: NDArray[np.integer],
        k: int,
    ) -> ImageAnswers:
        """Return answers of one class an image, of ``(n,)`` codes."""
        return cls(title, probabilities, np.eye(k, dtype=bool)[predicted])

    def pool(self, grouping: Grouping) -> Pool:
        """Return the sums over each group.

        Raises:
            InputError: the mean needs probabilities that are unknown.
        """
        if grouping.answer == MEAN and self.probabilities is None:
            raise InputError(
                f"{one_line(self.title)} has no probabilities, of which groups get the mean; let"
                " their images vote: --group-answer vote"
            )
        several = self.thresholds is not None
        return Pool.of(self.probabilities, self.chosen, grouping.codes, several)


def pooled(
    grouping: Grouping, true: NDArray[np.integer], probabilities: NDArray[np.floating]
) -> tuple[NDArray[np.intp], NDArray[np.integer], NDArray[np.floating]]:
    """Return the numbers of the groups whose images agree, their classes and probabilities.

    ``true``, ``(n,)``, are the codes of the images; ``(g, k)`` probabilities have their highest
    value at the answer.
    """
    own = grouping.first(true)
    kept = np.flatnonzero(~grouping.mark(true != own[grouping.codes]))
    chosen = np.eye(probabilities.shape[1], dtype=bool)[probabilities.argmax(axis=1)]
    pool = Pool.of(probabilities, chosen, grouping.codes)
    scores = pool.probabilities(grouping.answer)
    # The mean decides among equal votes.
    scores[np.arange(len(own)), pool.classes(grouping.answer)] += 1e-9
    return kept, own[kept], scores[kept]


@dataclass(frozen=True)
class Scored:
    """What the groups of images are scored by; arrays are ``(n,)``.

    Images with equal numbers in ``related`` are not independent, whatever their group; those
    ``leaked`` are related to training images. ``worth`` and ``chosen_here`` are those of
    `metrics.design.Design` and `metrics.compare_with`.
    """

    related: NDArray[np.integer] | None = None
    leaked: Masks | None = None
    worth: float = 1.0
    chosen_here: bool = False

    def leaking(self, grouping: Grouping) -> Masks:
        """Return which groups have leaked images, ``(g,)``."""
        none = np.zeros(len(grouping.codes), bool)
        return grouping.mark(none if self.leaked is None else self.leaked)


def score(
    grouping: Grouping,
    true: NDArray[np.integer],
    answers: Sequence[ImageAnswers],
    classes: Sequence[str],
    rules: Scored = Scored(),
) -> GroupScores:
    """Score the answers for groups; ``true`` are ``(n,)`` codes of ``classes``.

    Raises:
        InputError: the mean needs probabilities that are unknown.
    """
    own = grouping.first(true)
    mixed = grouping.mark(true != own[grouping.codes])
    leaking = rules.leaking(grouping) & ~mixed
    kept = np.flatnonzero(~mixed & ~leaking)
    images = ~(mixed | leaking)[grouping.codes]
    sizes = np.bincount(grouping.codes, minlength=len(own))[kept]
    related = None if rules.related is None else grouping.first(rules.related)[kept]
    pools = [each.pool(grouping) for each in answers]
    codes = [pool.classes(grouping.answer)[kept] for pool in pools]
    right = [predicted == own[kept] for predicted in codes]
    scores: list[GroupAccuracy] = []
    if len(kept):
        compared = metrics.compare_with(right[0], right[1:], related, rules.chosen_here)
        for number, each in enumerate(answers):
            alone = each.chosen[np.arange(len(true)), true][images]
            entry = GroupAccuracy(
                each.title,
                float(right[number].mean()),
                metrics.accuracy_interval(right[number], related, worth=rules.worth),
                float(alone.mean()),
                *(compared[number - 1][:3] if number else (None, None, None)),
            )
            scores.append(entry)
    probabilities = pools[0].probabilities(grouping.answer)
    errors = [
        WrongGroup(
            grouping.names[group],
            int(size),
            classes[own[group]],
            classes[code],
            float(probabilities[group, code]),
        )
        for group, size, code in zip(kept.tolist(), sizes, codes[0].tolist(), strict=True)
        if code != own[group]
    ]
    return GroupScores(
        answer=grouping.answer,
        groups=len(kept),
        images=int(images.sum()),
        single=int((sizes == 1).sum()),
        contradicting=int(mixed.sum()),
        leaked=int(leaking.sum()),
        scores=scores,
        errors=sorted(errors, key=lambda error: -error.probability),
    )


def score_labels(
    grouping: Grouping,
    labels: Labels,
    answers: Sequence[ImageAnswers],
    seed: int,
    rules: Scored = Scored(),
) -> LabelGroupScores:
    """Score the answers for groups of images with ``(n, k)`` labels, -1 where they are unknown."""
    own, mixed = labels_of(grouping, labels)
    leaking = rules.leaking(grouping)
    kept = np.flatnonzero(~leaking & (own >= 0).any(axis=1))
    images = np.isin(grouping.codes, kept)
    related = None if rules.related is None else grouping.first(rules.related)[kept]
    scores = []
    for each in answers if len(kept) else ():
        assert each.thresholds is not None
        pool = each.pool(grouping)
        chosen = pool.labels(grouping.answer, each.thresholds)[kept]
        probabilities = pool.probabilities(grouping.answer)[kept]
        decided = np.where(chosen, -np.inf, np.inf)
        arguments = own[kept], probabilities, decided, seed, related
        overall = multilabel.scores(*arguments)
        ends = multilabel.intervals(*arguments, rules.worth).scores
        assert each.probabilities is not None
        alone = multilabel.scores(
            labels[images], each.probabilities[images], np.ones(labels.shape[1])
        )
        scores.append(
            LabelGroupAccuracy(
                each.title,
                overall["macro_ap"],
                ends["macro_ap"],
                overall["macro_f1"],
                ends["macro_f1"],
                overall["subset_accuracy"],
                ends["subset_accuracy"],
                alone["macro_ap"],
            )
        )
    sizes = np.bincount(grouping.codes, minlength=len(own))[kept]
    return LabelGroupScores(
        answer=grouping.answer,
        groups=len(kept),
        images=int(images.sum()),
        single=int((sizes == 1).sum()),
        contradicting=int(mixed[kept].sum()),
        leaked=int(leaking.sum()),
        scores=scores,
    )


def labels_of(grouping: Grouping, labels: Labels) -> tuple[Labels, Masks]:
    """Return the labels of each group, ``(g, k)``, and where those of its images differ.

    A label is that of all images in which it is known; it is unknown where they differ.
    """
    groups = len(grouping.names)
    present, absent = np.zeros((groups, labels.shape[1])), np.zeros((groups, labels.shape[1]))
    np.add.at(present, grouping.codes, labels == 1)
    np.add.at(absent, grouping.codes, labels == 0)
    mixed = (present > 0) & (absent > 0)
    own = np.where(mixed | (present + absent == 0), -1, present > 0).astype(np.int8)
    return own, mixed


def table(
    grouping: Grouping, true: NDArray[np.integer], answers: ImageAnswers, classes: Sequence[str]
) -> str:
    """Return ``group_predictions.csv``: a row for each group.

    ``group``, its number of ``images``, ``true`` (empty if their labels differ), ``predicted``,
    ``correct`` (empty, too), and ``p:<class>``, the probability of each class, or its share of the
    votes.
    """
    own, pool = grouping.first(true), answers.pool(grouping)
    mixed = grouping.mark(true != own[grouping.codes])
    rows = zip(
        ["" if several else classes[code] for several, code in zip(mixed, own, strict=True)],
        [classes[code] for code in pool.classes(grouping.answer)],
        strict=True,
    )
    return _written(
        grouping,
        [
            [true_, predicted, "" if not true_ else "true" if true_ == predicted else "false"]
            for true_, predicted in rows
        ],
        pool,
        classes,
    )


def label_table(
    grouping: Grouping, labels: Labels, answers: ImageAnswers, names: Sequence[str]
) -> str:
    """Return ``group_predictions.csv`` of several labels, with the labels separated by ``|``.

    A group is ``correct`` if all labels on which its images agree are.
    """
    assert answers.thresholds is not None
    own, pool = labels_of(grouping, labels)[0], answers.pool(grouping)
    chosen = pool.labels(grouping.answer, answers.thresholds)
    right = ((chosen == (own == 1)) | (own < 0)).all(axis=1)
    cells = [
        [
            join(names[code] for code in np.flatnonzero(true == 1).tolist()),
            join(names[code] for code in np.flatnonzero(mask).tolist()),
            "true" if correct else "false",
        ]
        for true, mask, correct in zip(own, chosen, right, strict=True)
    ]
    return _written(grouping, cells, pool, names)


def _written(
    grouping: Grouping, cells: Sequence[Sequence[str]], pool: Pool, names: Sequence[str]
) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    shares = (f"p:{name}" for name in names)
    writer.writerow(["group", "images", "true", "predicted", "correct", *shares])
    rows = zip(grouping.names, pool.images, cells, pool.probabilities(grouping.answer), strict=True)
    for name, images, own, probabilities in rows:
        writer.writerow([name, int(images), *own, *(f"{p:.6f}" for p in probabilities)])
    return text.getvalue()
