"""Insights: duplicates, label errors and a learning curve, and scores of backbones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.costs import Costs
from headstart.core.errors import one_line
from headstart.core.records import FeatureSet
from headstart.core.remarks import remark
from headstart.core.results import (
    ConfusedClasses,
    CostScores,
    DuplicateSummary,
    LabelErrorSummary,
    LabelTier,
    LearningCurve,
    OperatingPoints,
    PredictionSets,
    Remark,
    SetScores,
)
from headstart.evaluation import (
    conformal,
    duplicates,
    expected_cost,
    group_answers,
    label_errors,
    learning_curve,
    operating_points,
    transferability,
)
from headstart.evaluation.compare.identity import is_streamed
from headstart.evaluation.compare.scoring import Entry
from headstart.evaluation.duplicates import Duplicates
from headstart.evaluation.group_answers import Grouping, paths_of
from headstart.evaluation.label_errors import LabelErrors
from headstart.evaluation.operating_points import Ranked
from headstart.evaluation.splits import NARROW, Protocol, representative
from headstart.evaluation.splits.wording import utf8
from headstart.heads import HEADS, sampling
from headstart.heads.folds import NEVER
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet

HELD_OUT = 4_000  # images that score a draw of the learning curve, for features on disk
NAMED = 3  # pairs of files that a warning names; duplicates.csv lists the others
_USUAL_C = 3.0  # for label errors, if logistic regression is not among the heads


@dataclass(frozen=True)
class Suspects:
    """Training images whose labels are in doubt.

    ``rows``, ``(m,)``, were judged ``rounds`` times; they are rows of the feature set, ascending,
    and ``errors`` are the verdicts on their ``labels``.
    """

    rows: NDArray[np.intp]
    errors: LabelErrors
    labels: NDArray[np.int64]
    rounds: int = 2


def find_duplicates(data: FeatureSet, near: bool) -> Duplicates:
    """Find the duplicates among all images, labelled or not.

    Comparing all pairs takes too long on disk, so there only images with the same bytes count, as
    with features that are too few to compare images by.
    """
    near = near and not is_streamed(data) and data.features.shape[1] > NARROW
    return duplicates.find(data.features, data.sha256, data.pixels, near)


def about_duplicates(data: FeatureSet, repeated: Duplicates) -> list[Remark]:
    """Return a warning for duplicates with different labels, with the names of the files."""
    warnings = []
    for exact, what in ((True, "Identical images"), (False, "Near-identical images")):
        pairs = _label_conflicts(data, repeated, exact)
        if pairs:
            named = "; ".join(
                f"{_labelled(data, a)} and {_labelled(data, b)}" for a, b in pairs[:NAMED]
            )
            rest = len(pairs) - NAMED
            warnings.append(
                remark(
                    "HS333",
                    f"{what} have different labels: {named}"
                    f"{f'; and {rest:,} more' if rest > 0 else ''}. Correct the labels and run"
                    " headstart features again.",
                )
            )
    sessions = len(np.unique(repeated.session[repeated.session_rows]))
    if sessions:
        warnings.append(
            remark(
                "HS403",
                f"{len(repeated.session_rows):,} images in {sessions:,} groups may be of one"
                " session each: different photos on the same background. If they are, run"
                " train-heads again with --groups sessions.csv, so that each session stays on one"
                " side of every split.",
            )
        )
    return warnings


def describe_duplicates(
    data: FeatureSet, repeated: Duplicates, protocol: Protocol
) -> DuplicateSummary:
    """Return the ``insights.duplicates`` of ``results.json``."""
    rows = repeated.rows
    leaked = protocol.test[protocol.leaked & (repeated.closest[protocol.test] >= 0)]
    return DuplicateSummary(
        images=len(rows),
        groups=len(np.unique(repeated.group[rows])),
        exact=int(repeated.exact.sum()),
        near=len(rows) - int(repeated.exact.sum()),
        rule="the same bytes" if is_streamed(data) else duplicates.rule(data.pixels is not None),
        leaked_test_images=[utf8(data.path[row]) for row in leaked],
        label_conflicts=[
            (utf8(data.path[a]), utf8(data.path[b]))
            for exact in (True, False)
            for a, b in _label_conflicts(data, repeated, exact)
        ],
        recoloured=int(repeated.recoloured.sum()),
        session_images=len(repeated.session_rows),
        session_groups=len(np.unique(repeated.session[repeated.session_rows])),
    )


def _label_conflicts(data: FeatureSet, repeated: Duplicates, exact: bool) -> list[tuple[int, int]]:
    """Return the pairs of an image and its closest duplicate that have different labels.

    A copy in other colours is no conflict: classes may be colours.
    """
    rows = repeated.rows[~repeated.recoloured[repeated.rows]]
    rows = rows[(data.label[rows] >= 0) & (data.label[repeated.closest[rows]] >= 0)]
    rows = rows[repeated.exact[rows] == exact]
    pairs = np.sort(np.column_stack([rows, repeated.closest[rows]]), axis=1)
    differ = data.label[pairs[:, 0]] != data.label[pairs[:, 1]]
    return [(int(a), int(b)) for a, b in np.unique(pairs[differ], axis=0)]


def _labelled(data: FeatureSet, row: int) -> str:
    return f"{one_line(data.path[row])} ({one_line(data.classes[data.label[row]])})"


def find_label_errors(
    training: TrainingSet, protocol: Protocol, entries: Sequence[Entry]
) -> Suspects:
    """Judge the labels of the training images by models that were not fitted on them.

    The scores come from linear models whatever the best head is: calibrated SVMs rank
    errors much worse (`benchmarks/label_errors.py`). A second round trains without the suspects of
    the first, because repeated errors, such as one class mistaken for another, confirm each other.
    Features on disk get one round, since each reads all rows many times. Too few features cast no
    doubt on a label. ``training`` and ``entries`` use the features of the best head.
    """
    head = LogisticRegressionHead()
    fitted = [entry.head for entry in entries if entry.head.name == head.name]
    params = fitted[0].params if fitted else {"C": _USUAL_C}
    probabilities = fitted[0].out_of_fold if fitted else _out_of_fold(head, params, training)
    judged = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    labels = training.labels[judged]
    if training.streamed:
        first = label_errors.find(labels, probabilities[judged])
        return Suspects(protocol.train[judged], first, labels, rounds=1)
    suspect = np.zeros(len(training.labels), bool)
    suspect[judged[label_errors.suspects_of(labels, probabilities[judged])]] = True
    parts = [
        (_without(fit, suspect, training.labels), held_out) for fit, held_out in training.folds
    ]
    second = _out_of_fold(head, params, training.divided(parts))
    roots = dataclasses.replace(training, square_root=True).rows
    ridge = label_errors.ridge_scores(roots, training.labels, parts, training.n_classes)
    errors = label_errors.find(labels, second[judged], ridge[judged])
    if training.rows.shape[1] <= NARROW:
        errors = dataclasses.replace(errors, suspects=errors.suspects[:0])
    return Suspects(protocol.train[judged], errors, labels)


def describe_label_errors(suspects: Suspects, classes: Sequence[str]) -> LabelErrorSummary:
    """Return the ``insights.label_errors`` of ``results.json``."""
    errors = suspects.errors
    by_tier: dict[str, list[int]] = {}
    for row in errors.suspects:
        by_tier.setdefault(errors.tier(row), []).append(row)
    return LabelErrorSummary(
        images=len(suspects.rows),
        suspects=len(errors.suspects),
        method="label noise and temperature fitted to out-of-fold logistic regression"
        + (", in one round" if suspects.rounds == 1 else " and ridge regression"),
        tiers=[
            LabelTier(
                tier,
                len(rows),
                float(errors.chance[rows].sum()),
                float(errors.highest[rows].sum()),
            )
            for tier, rows in by_tier.items()
        ],
        confused=[
            ConfusedClasses(utf8(classes[a]), utf8(classes[b]), there, back)
            for a, b, there, back in label_errors.confused_both_ways(suspects.labels, errors)
        ],
        rate=errors.rate,
    )


def _out_of_fold(
    head: LogisticRegressionHead, params: dict[str, Any], training: TrainingSet
) -> NDArray[np.floating]:
    return training.gather(head.answers(params, training))


def _without(
    fit: NDArray[np.intp], suspect: NDArray[np.bool_], labels: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Return the rows without suspects, or all rows if that would remove a class."""
    kept = fit[~suspect[fit]]
    return kept if len(np.unique(labels[kept])) == len(np.unique(labels[fit])) else fit


def learn_curve(training: TrainingSet, best: Entry, protocol: Protocol) -> LearningCurve:
    """Return the ``insights.learning_curve`` of ``results.json``, for the best head.

    Images that `suggest` chose are always trained on.
    """
    family, params = HEADS[best.head.name], best.head.params

    def answers(
        parts: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
    ) -> list[NDArray[np.intp]]:
        data = training
        if training.streamed:  # the rows of all parts fit into memory
            used = np.unique(np.concatenate([rows for part in parts for rows in part]))
            data = training.part(used)
            parts = [(np.searchsorted(used, a), np.searchsorted(used, b)) for a, b in parts]
        return [a.argmax(axis=1) for a in family.answers(params, data.divided(parts))]

    scored = np.isin(protocol.train, representative(best.data, protocol.train))
    fold = np.where(scored, np.atleast_2d(training.fold)[0], NEVER)
    # Out-of-fold answers are calibrated, and means over repeats; those of parts are neither, so the
    # largest size is fitted again. On disk that would take too long.
    if training.streamed:
        whole: NDArray[np.intp] | None = best.head.out_of_fold.argmax(axis=1)
        draws = learning_curve.draw(training.labels, fold, training.seed)
        draws = _ascending([_thinned(draw, best, training.seed) for draw in draws])
    else:
        whole = None
        fold = learning_curve.folds_to_hold_out(fold)
        draws = learning_curve.draw(training.labels, fold, training.seed)
    curve = learning_curve.measure(draws, training.labels, answers, whole)
    return learning_curve.describe(
        curve, len(training.labels), training.seed, best.head.name, best.backbone
    )


@dataclass(frozen=True)
class _Judged:
    """Answers that decide on thresholds, or show what these do.

    ``true``, ``(n,)``, are codes, ``probabilities`` ``(n, k)``, and answers with equal numbers in
    ``group``, ``(n,)``, are not independent.
    """

    true: NDArray[np.integer]
    probabilities: NDArray[np.floating]
    group: NDArray[np.integer]

    @classmethod
    def of(
        cls, best: Entry, protocol: Protocol, rows: NDArray[np.intp], answers: NDArray[np.floating]
    ) -> _Judged:
        return cls(best.data.label[rows], answers, protocol.group[rows])

    def pooled(self, grouping: Grouping) -> _Judged:
        """Return the answers for groups of the images; without those of several labels."""
        kept, true, probabilities = group_answers.pooled(grouping, self.true, self.probabilities)
        return _Judged(true, probabilities, grouping.first(self.group)[kept])


def decide(
    best: Entry, protocol: Protocol, targets: Sequence[float]
) -> tuple[OperatingPoints | None, PredictionSets | None]:
    """Return the ``operating_points`` and ``prediction_sets`` of the insights, if there are any.

    Thresholds are chosen out of fold, and what they do on the test split is measured once.
    """
    rows, answers = _out_of_fold_answers(best, protocol)
    inside = _Judged.of(best, protocol, rows, answers)
    test = _apart(protocol)
    probabilities = best.probabilities[~protocol.leaked]
    outside = _Judged.of(best, protocol, test, probabilities) if len(test) else None
    return _decided(best, inside, outside, targets)


def decide_for_groups(
    best: Entry,
    protocol: Protocol,
    targets: Sequence[float],
    named_groups: Mapping[str, str],
    answer: str,
) -> tuple[OperatingPoints | None, PredictionSets | None]:
    """Do what `decide` does for one ``answer`` for each group of images."""

    def pooled(rows: NDArray[np.intp], answers: NDArray[np.floating]) -> _Judged | None:
        if not len(rows):
            return None
        grouping = Grouping.of(paths_of(best.data, rows), named_groups, answer)
        judged = _Judged.of(best, protocol, rows, answers).pooled(grouping)
        return judged if len(judged.true) else None

    test = _apart(protocol)
    inside = pooled(*_out_of_fold_answers(best, protocol))
    outside = pooled(test, best.probabilities[~protocol.leaked])
    return (None, None) if inside is None else _decided(best, inside, outside, targets)


def _out_of_fold_answers(
    best: Entry, protocol: Protocol
) -> tuple[NDArray[np.intp], NDArray[np.floating]]:
    """Return the training images that count, and the answers by models not fitted on them."""
    answers = best.head.out_of_fold
    judged = np.flatnonzero(np.isfinite(answers).all(axis=1)) if len(answers) else np.empty(0, int)
    scored = np.isin(protocol.train[judged], representative(best.data, protocol.train))
    judged = judged[scored]
    return protocol.train[judged], answers[judged]


def _apart(protocol: Protocol) -> NDArray[np.intp]:
    """Return the test images that are related to no training image; none without a test split."""
    return protocol.test[:0] if protocol.out_of_fold else protocol.test[~protocol.leaked]


def _decided(
    best: Entry, inside: _Judged, outside: _Judged | None, targets: Sequence[float]
) -> tuple[OperatingPoints | None, PredictionSets | None]:
    if not len(inside.true):
        return None, None
    ranked = Ranked.of(inside.true, inside.probabilities, inside.group)
    points = [operating_points.choose(ranked, target) for target in targets]
    k = len(best.data.classes)
    rule = conformal.calibrate(inside.true, inside.probabilities, k, inside.group)
    tested: list[SetScores] = []
    if outside is not None:
        other = Ranked.of(outside.true, outside.probabilities, outside.group)
        points = [operating_points.check(point, other) for point in points]
        tested = conformal.measure(rule, outside.true, outside.probabilities, outside.group)
    curve = operating_points.curve(ranked)
    return (
        OperatingPoints(best.head.name, best.backbone, len(ranked), points, curve),
        PredictionSets(rule.level, rule.mass, list(rule.least), tested),
    )


def cost(best: Entry, protocol: Protocol, table: Costs, worth: float) -> CostScores | None:
    """Return what the best head's answers cost on the scored images; None if all are leaked."""
    apart = ~protocol.leaked
    if not apart.any():
        return None
    test, probabilities = protocol.test[apart], best.probabilities[apart]
    answers = probabilities.argmax(axis=1)
    group = protocol.group[test]
    return expected_cost.measure(table, best.data.label[test], answers, probabilities, group, worth)


def _thinned(draw: learning_curve.Draw, best: Entry, seed: int) -> learning_curve.Draw:
    """Hold fewer images out, and count as fitted on only what the best head's folds were fitted on.

    A head that read a sample has out-of-fold answers for its images, except those that every fold
    trains on.
    """
    answered = np.isfinite(best.head.out_of_fold[:, 0])
    candidates, largest = draw.held_out[answered[draw.held_out]], draw.fits[-1]
    always = best.head.n_rows - int(answered.sum())
    count = int(answered[largest].sum()) + always
    rng = np.random.default_rng(seed)
    held_out = np.sort(rng.choice(candidates, min(HELD_OUT, len(candidates)), replace=False))
    return dataclasses.replace(draw, held_out=held_out, fits=[*draw.fits[:-1], largest[:count]])


def _ascending(draws: Sequence[learning_curve.Draw]) -> list[learning_curve.Draw]:
    """Leave out the sizes that are not below the largest, which is that of a sample."""
    sizes = min(sum(len(rows) < len(d.fits[-1]) for rows in d.fits[:-1]) for d in draws)
    return [dataclasses.replace(d, fits=[*d.fits[:sizes], d.fits[-1]]) for d in draws]


def score_backbone(training: TrainingSet) -> dict[str, float]:
    """Return the ``scores`` of a backbone from its normalised training rows; on disk, a sample."""
    if training.streamed:
        training = sampling.tuning_part(training)
    return {"logme": transferability.log_me(training.rows, training.labels)}
