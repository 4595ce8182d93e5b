"""Fine-tuning with one class an image, as a part of its target type: see `core.targets`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.core.parallel import available_cores
from headstart.core.records import FeatureSet
from headstart.evaluation import learning_curve
from headstart.evaluation.compare.division import named_partition
from headstart.evaluation.groups import Partition
from headstart.evaluation.splits import Rules, make_protocol
from headstart.evaluation.splits.wording import class_names
from headstart.evaluation.transferability import log_me
from headstart.finetune.division import VALIDATION_SHARE, Division, about_drawn, too_few
from headstart.finetune.frozen import Frozen
from headstart.finetune.model import Start
from headstart.finetune.objective import Objective, Tally
from headstart.heads.folds import divisions
from headstart.heads.linear import coefficients
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.search import FittedHead
from headstart.heads.training_set import Fold, TrainingSet

if TYPE_CHECKING:
    from headstart.finetune.job import FinetuneJob


def divide(data: FeatureSet, seed: int, named_groups: Mapping[str, str]) -> Division:
    """Do what `headstart.finetune.division.divide` says."""
    named, about_groups = named_partition(data, named_groups)
    protocol = make_protocol(data, Rules(seed=seed, holdout=True), named)
    rows = protocol.train
    validating = np.array([split == "validation" for split in data.split])[rows]
    drawn = not validating.any()
    remarks = [*about_groups, *protocol.warnings]
    if drawn:
        labels = data.label[rows].astype(np.int64)
        group = protocol.group[rows]
        share = min(VALIDATION_SHARE, max(2, _least(labels, group)))
        validating = divisions(labels, share, seed, 1, group)[0] == 0
        remarks.append(about_drawn(validating, "class"))
    train, validation = rows[~validating], rows[validating]
    classes = np.unique(data.label[train])
    missing = np.setdiff1d(np.unique(data.label[rows]), classes)
    if len(missing):
        raise InputError(
            f"all training images of {class_names(data, missing)} are in the validation split; "
            "move some to train"
        )
    if len(classes) < 2 or not len(validation):
        raise too_few()
    own = protocol.group if named else None
    classes = classes.astype(np.int64)
    return Division(train, validation, protocol.test, classes, drawn, remarks, own)


def _least(labels: NDArray[np.int64], group: Partition) -> int:
    """Return the number of groups of the class that has the fewest."""
    return min(len(np.unique(group[labels == code])) for code in np.unique(labels))


def only(data: FeatureSet, classes: NDArray[np.int64], rows: NDArray[np.bool_]) -> FeatureSet:
    """Return the feature set with the labels of some rows alone."""
    return dataclasses.replace(data, label=np.where(rows, data.label, -1).astype(np.int32))


def marks(data: FeatureSet, rows: NDArray[np.intp]) -> list[int]:
    """Return what a checkpoint's identity has of the labels."""
    labels: list[int] = data.label[rows].tolist()
    return labels


def targets(job: FinetuneJob, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the classes of some rows as indices into the classes that are trained, ``(n,)``."""
    codes = np.searchsorted(job.division.classes, job.frozen.label[rows])
    return codes.astype(np.int64)


def search(job: FinetuneJob) -> tuple[FittedHead, TrainingSet]:
    """Train a logistic regression on the frozen features of the training images alone.

    Raises:
        InputError: a class has fewer than two training images.
    """
    frozen, division, config = job.frozen, job.division, job.config
    labels = frozen.label[division.train].astype(np.int64)
    counts = np.bincount(labels)[division.classes]
    least = int(counts.min())
    if least < 2:
        name = frozen.classes[int(division.classes[counts.argmin()])]
        raise InputError(
            f"class {one_line(name)} has one training image beside the validation split; add "
            "images of it"
        )
    group = None if division.group is None else division.group[division.train]
    if group is not None:
        independent = _least(labels, group)
        # Folds of whole groups would leave a class of one group out of training.
        group, least = (group, independent) if independent > 1 else (None, least)
    folds = divisions(labels, min(5, least), config.seed, 1, group)
    workers = config.workers or available_cores()
    features = frozen.features[division.train]
    training = TrainingSet(features, labels, folds, config.seed, workers, config.class_weight)
    return LogisticRegressionHead().search(training), training


def start(job: FinetuneJob) -> Start:
    """Return the weights that the classifier starts from, those of `search`."""
    return Start(*coefficients(search(job)[0].estimator))


def frozen(job: FinetuneJob) -> Frozen:
    """Return what the frozen features are worth."""
    head, training = search(job)
    family = LogisticRegressionHead()

    def answers(parts: Sequence[Fold]) -> list[NDArray[np.intp]]:
        return [a.argmax(axis=1) for a in family.answers(head.params, training.divided(parts))]

    fold = learning_curve.folds_to_hold_out(training.fold)
    draws = learning_curve.draw(training.labels, fold, training.seed)
    measured = learning_curve.measure(draws, training.labels, answers)
    return Frozen(
        {"accuracy": head.cv_accuracy},
        learning_curve.describe(measured, len(training.labels), training.seed),
        log_me(training.rows, training.labels),
        Start(*coefficients(head.estimator)),
        1.0 - head.cv_accuracy,
    )


def class_weights(job: FinetuneJob) -> NDArray[np.float32] | None:
    """Return weights inverse to the classes' frequencies, with mean 1 over images, or None."""
    if job.config.class_weight is None:
        return None
    counts = np.bincount(job.frozen.label[job.division.train])[job.division.classes]
    weights: NDArray[np.float32] = (counts.sum() / (len(counts) * counts)).astype(np.float32)
    return weights


def objective(job: FinetuneJob) -> Objective:
    """Return what training minimises."""
    return CrossEntropy(class_weights(job), job.config.smoothing)


class CrossEntropy(Objective):
    """Cross-entropy of ``(n,)`` classes; the most accurate epoch is kept, then that of less loss.

    ``weights`` are ``(k,)``, by class; labels are smoothed.
    """

    score = "accuracy"

    def __init__(self, weights: NDArray[np.float32] | None = None, smoothing: float = 0.0) -> None:
        self._weights = None if weights is None else torch.from_numpy(weights)
        self._smoothing = smoothing

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch; see `Objective`."""
        weights = None if self._weights is None else self._weights.to(logits.device)
        return torch.nn.functional.cross_entropy(
            logits, targets, weights, label_smoothing=self._smoothing
        )

    def tally(self) -> Tally:
        """Return a tally of right answers."""
        return _Right()

    def rank(self, record: Mapping[str, float]) -> tuple[float, ...]:
        """Return a sort key; see `Objective`."""
        return -record["validation_accuracy"], record["validation_loss"]

    def show(self, score: float) -> str:
        """Return an accuracy in percent."""
        return f"{score:.1%}"


class _Right(Tally):
    def __init__(self) -> None:
        self._loss, self._right, self._images = 0.0, 0, 0

    def add(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        loss: Any = torch.nn.functional.cross_entropy(logits, targets)
        self._loss += float(loss) * len(targets)
        self._right += int((logits.argmax(1) == targets).sum())
        self._images += len(targets)

    def loss(self) -> float:
        return self._loss / self._images

    def score(self) -> float:
        return self._right / self._images
