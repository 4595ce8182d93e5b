"""Fine-tuning with several labels an image, as a part of its target type: see `core.targets`.

Targets are ``(n, k) float32``: 1 if an image has a label, 0 if it has not, NaN where nobody knows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.core.parallel import available_cores
from headstart.core.records import FeatureSet
from headstart.core.remarks import remark
from headstart.evaluation.compare import CompareConfig
from headstart.evaluation.compare.insights import find_duplicates
from headstart.evaluation.compare.multilabel import division
from headstart.evaluation.multilabel_curve import learning_curve
from headstart.evaluation.splits import iterative
from headstart.evaluation.transferability import log_me
from headstart.finetune.division import VALIDATION_SHARE, Division, about_drawn, too_few
from headstart.finetune.frozen import Frozen
from headstart.finetune.model import Start
from headstart.finetune.objective import Objective, Tally
from headstart.heads.multilabel.family import FittedLabels
from headstart.heads.multilabel.label_set import UNKNOWN, LabelSet
from headstart.heads.multilabel.linear import coefficients
from headstart.heads.multilabel.logistic import LogisticRegressionLabels
from headstart.heads.multilabel.platt import sigmoid
from headstart.heads.multilabel.scoring import average_precisions, log_losses

if TYPE_CHECKING:
    from headstart.finetune.job import FinetuneJob

_FOLDS = 5
_NAMED = 5  # labels of a remark


def divide(data: FeatureSet, seed: int, named_groups: Mapping[str, str]) -> Division:
    """Do what `headstart.finetune.division.divide` says, with iterative stratification.

    Labels that do not vary among the training images are left out with a remark.
    """
    alike = find_duplicates(data, near=False)
    rules = CompareConfig(seed=seed, holdout=True)
    kept, protocol = division.divide(data, alike, named_groups, rules)
    rows, sets = protocol.train, kept.label_sets
    assert sets is not None
    validating = np.array([split == "validation" for split in data.split])[rows]
    drawn = not validating.any()
    remarks = list(protocol.warnings)
    if drawn:
        share = 1 / VALIDATION_SHARE
        validating = iterative.hold_out(sets[rows], protocol.group[rows], share, seed)
        remarks.append(about_drawn(validating, "label"))
    train, validation = rows[~validating], rows[validating]
    if not len(train) or not len(validation):
        raise too_few()
    varies = (sets[train] == 1).any(axis=0) & (sets[train] == 0).any(axis=0)
    if not varies.any():
        raise InputError(
            "no label has training images with it and without it beside the validation split; "
            "move some images from validation to train"
        )
    names = [kept.classes[column] for column in np.flatnonzero(~varies).tolist()]
    if names:
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        remarks.append(
            remark(
                "HS605",
                "Left out, because all images with it, or all without it, are in the validation "
                f"split: {', '.join(one_line(name) for name in names[:_NAMED])}{more}.",
            )
        )
    number = {name: code for code, name in enumerate(data.classes)}
    trained = [kept.classes[column] for column in np.flatnonzero(varies).tolist()]
    classes = np.array([number[name] for name in trained], np.int64)
    own = protocol.group if named_groups else None
    return Division(train, validation, protocol.test, classes, drawn, remarks, own)


def only(data: FeatureSet, classes: NDArray[np.int64], rows: NDArray[np.bool_]) -> FeatureSet:
    """Return the feature set with some labels of some rows alone."""
    assert data.label_sets is not None
    sets = np.where(rows[:, np.newaxis], data.label_sets[:, classes], np.int8(UNKNOWN))
    names = tuple(data.classes[code] for code in classes.tolist())
    return dataclasses.replace(data, classes=names, label_sets=sets)


def marks(data: FeatureSet, rows: NDArray[np.intp]) -> str:
    """Return what a checkpoint's identity has of the labels."""
    assert data.label_sets is not None
    return data.label_sets[rows].tobytes().hex()


def targets(job: FinetuneJob, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the targets of some rows, ``(n, k)``."""
    sets = _labels(job, rows)
    return np.where(sets == UNKNOWN, np.float32(np.nan), sets.astype(np.float32))


def search(job: FinetuneJob) -> tuple[FittedLabels, LabelSet]:
    """Train a logistic regression of every label on the training images alone."""
    config, rows = job.config, job.division.train
    labels = _labels(job, rows)
    group = None if job.division.group is None else job.division.group[rows]
    independent = len(rows) if group is None else len(np.unique(group))
    if independent == 1:  # one group cannot be divided
        group, independent = None, len(rows)
    folds = iterative.folds(labels, group, min(_FOLDS, independent), config.seed)
    training = LabelSet(
        job.frozen.features[rows],
        labels,
        folds,
        config.seed,
        config.workers or available_cores(),
        config.class_weight,
    )
    return LogisticRegressionLabels().search(training), training


def start(job: FinetuneJob) -> Start:
    """Return the weights that the classifier starts from, those of `search`."""
    return Start(*coefficients(search(job)[0].estimator))


def frozen(job: FinetuneJob) -> Frozen:
    """Return what the frozen features are worth; nobody has recorded what training adds to it."""
    head, training = search(job)
    family = LogisticRegressionLabels()
    curve = learning_curve(training, lambda parts: family.answers(head.params, parts))
    return Frozen(
        {"map": head.cv_score},
        curve,
        log_me(training.shared.rows, training.labels),
        Start(*coefficients(head.estimator)),
    )


def objective(job: FinetuneJob) -> Objective:
    """Return what training minimises; with balanced classes, both sides of a label count alike."""
    if job.config.class_weight is None:
        return BinaryCrossEntropy()
    labels = _labels(job, job.division.train)
    counts = np.stack([(labels == 0).sum(axis=0), (labels == 1).sum(axis=0)])
    return BinaryCrossEntropy((counts.sum(axis=0) / (2 * counts)).astype(np.float32))


def _labels(job: FinetuneJob, rows: NDArray[np.intp]) -> NDArray[np.int8]:
    assert job.frozen.label_sets is not None
    return job.frozen.label_sets[rows][:, job.division.classes]


class BinaryCrossEntropy(Objective):
    """Binary cross-entropy of every label, the mean over the cells that are known.

    The epoch of least loss on the validation images is kept. ``weights``, ``(2, k)``, are of images
    without and with each label. Labels are not smoothed: a rare label would seem less rare.
    """

    score = "map"

    def __init__(self, weights: NDArray[np.float32] | None = None) -> None:
        self._weights = None if weights is None else torch.from_numpy(weights)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch; see `Objective`."""
        annotated = ~targets.isnan()
        present = targets.nan_to_num()
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, present, reduction="none"
        )
        if self._weights is not None:
            absent, having = self._weights.to(logits.device)
            each = each * torch.lerp(absent.expand_as(present), having.expand_as(present), present)
        return torch.where(annotated, each, 0.0).sum() / annotated.sum().clamp(min=1)

    def tally(self) -> Tally:
        """Return a tally of all answers, since a precision asks for the order of all images."""
        return _Answers()

    def rank(self, record: Mapping[str, float]) -> tuple[float, ...]:
        """Return a sort key; see `Objective`."""
        return (record["validation_loss"],)

    def show(self, score: float) -> str:
        """Return a mean average precision."""
        return f"mAP {score:.3f}"


class _Answers(Tally):
    def __init__(self) -> None:
        self._logits: list[NDArray[np.float32]] = []
        self._labels: list[NDArray[np.int8]] = []

    def add(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        self._logits.append(logits.float().cpu().numpy())
        self._labels.append(targets.nan_to_num(UNKNOWN).cpu().numpy().astype(np.int8))

    def loss(self) -> float:
        """Return the mean over the labels of their log loss, in nats."""
        odds = np.concatenate(self._logits)
        return _mean(log_losses(np.concatenate(self._labels), sigmoid(odds)))

    def score(self) -> float:
        """Return the mean over the labels of their average precision."""
        return _mean(average_precisions(np.concatenate(self._labels), np.concatenate(self._logits)))


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the labels that have a value, 0 if none has one."""
    counted = values[np.isfinite(values)]
    return float(counted.mean()) if len(counted) else 0.0
