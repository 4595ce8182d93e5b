"""Fits heads for several labels on the training images, and predicts the test images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.core.parallel import available_cores
from headstart.core.records import FeatureSet
from headstart.core.rows import Features, blocks, take
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.multilabel.division import label_sets
from headstart.evaluation.compare.training import as_numbers
from headstart.evaluation.metrics import multilabel as metrics
from headstart.evaluation.operating_points import TARGETS
from headstart.evaluation.splits import Protocol, iterative
from headstart.heads import MEAN, default_heads, multilabel
from headstart.heads.folds import predefined
from headstart.heads.multilabel import feature_map, mean
from headstart.heads.multilabel.baselines import Prevalence
from headstart.heads.multilabel.family import FittedLabels
from headstart.heads.multilabel.label_set import LabelSet
from headstart.heads.search import PREDICTED

Progress = Callable[[str], None] | None


@dataclass(frozen=True)
class LabelEntry:
    """One row of the leaderboard: a fitted head and its answers for the test images.

    Attributes:
        backbone: whose features it reads; empty for a baseline.
        probabilities: ``(n_test, k) float64``.
        thresholds: ``(k,)``, chosen on out-of-fold probabilities of all training images; the model
            has them.
        reached: ``(k,)``, whether the thresholds do what their rule asks, on those images.
        applied: the thresholds that the scores are of: ``thresholds``, or out of fold ``(n_test,
            k)``, chosen without the images of the fold.
    """

    backbone: str
    data: FeatureSet
    head: FittedLabels
    probabilities: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    reached: NDArray[np.bool_]
    applied: NDArray[np.float64]
    predict_seconds: float

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """Whether each test image has each label, ``(n_test, k)``."""
        predicted: NDArray[np.bool_] = self.probabilities >= self.applied
        return predicted


@dataclass(frozen=True)
class LabelTrainer:
    """Fits heads on the training images of a protocol, with ``folds``, ``(r, n_train)``."""

    protocol: Protocol
    folds: NDArray[np.int64]
    config: CompareConfig
    progress: Progress
    step: Callable[[str], None]

    @classmethod
    def of(
        cls,
        data: FeatureSet,
        protocol: Protocol,
        config: CompareConfig,
        progress: Progress,
        step: Callable[[str], None],
    ) -> LabelTrainer:
        """Draw the folds that heads are chosen by."""
        if protocol.validation is not None:
            folds = predefined(protocol.validation)
        else:
            rows = protocol.train
            labels, group = label_sets(data)[rows], protocol.group[rows]
            folds = iterative.folds(labels, group, protocol.folds, config.seed, protocol.repeats)
        return cls(protocol, np.atleast_2d(folds), config, progress, step)

    def search(self, stores: Mapping[str, FeatureSet]) -> tuple[list[LabelEntry], LabelSet]:
        """Search all heads on all backbones, best first; only the best one's images are kept.

        The second value is the training images as the best head reads them.
        """
        entries: list[LabelEntry] = []
        training = None
        for name, store in stores.items():
            data = self.training_set(take(store.features, self.protocol.train), store)
            data = feature_map.choose(data)
            rows = take(store.features, self.protocol.test)
            for head in self._heads(data):
                if self.progress:
                    self.progress(_summary(head, name if len(stores) > 1 else ""))
                entries.append(self.entry(name, store, rows, head))
            entries.sort(key=lambda entry: -entry.head.cv_score)
            if training is None or entries[0].backbone == name:
                training = data
        assert training is not None
        return entries, training

    def _heads(self, data: LabelSet) -> Iterator[FittedLabels]:
        """Yield every head when it is fitted, and at last their mean."""
        names, fitted = head_names(self.config), []
        for family in multilabel.by_name(names):
            self.step(family.name)
            fitted.append(family.search(data, self.config.per_label))
            yield fitted[-1]
        if MEAN in names:
            self.step(MEAN)
            yield mean.combine(fitted, data)

    def baselines(self, data: FeatureSet) -> list[LabelEntry]:
        """Fit the baselines: how frequent labels are, and raw pixels if the store has them."""
        training = self.training_set(take(data.features, self.protocol.train), data)
        rows = take(data.features, self.protocol.test)
        entries = [self.entry("", data, rows, Prevalence().search(training))]
        if data.pixels is not None:
            train, test = (
                as_numbers(take(data.pixels, rows))
                for rows in (self.protocol.train, self.protocol.test)
            )
            (family,) = multilabel.by_name(["logistic-regression"])
            pixels = type(family)(name="raw-pixels", title="raw pixels", grid={"C": [1.0]})
            head = pixels.search(self.training_set(train, data))
            entries.append(self.entry("", data, test, head))
        return entries

    def training_set(self, rows: Features, data: FeatureSet) -> LabelSet:
        """Return training rows with their labels and folds."""
        return LabelSet(
            features=rows,
            labels=label_sets(data)[self.protocol.train],
            fold=self.folds,
            seed=self.config.seed,
            workers=self.config.workers or available_cores(),
            class_weight=self.config.class_weight,
        )

    def entry(
        self,
        backbone: str,
        data: FeatureSet,
        rows: Features,
        head: FittedLabels,
    ) -> LabelEntry:
        """Predict the rows; out of fold, that is timed, and the search's answers are scored."""
        started = time.perf_counter()
        probabilities = np.concatenate(
            [head.estimator.predict_proba(block) for _, block in blocks(rows, PREDICTED)]
        )
        seconds = time.perf_counter() - started
        labels = label_sets(data)[self.protocol.train]
        rule, answers = threshold_rule(self.config), head.out_of_fold
        chosen = metrics.thresholds(labels, answers, rule)
        applied = chosen.values
        if self.protocol.out_of_fold:
            probabilities, applied = answers, np.zeros(answers.shape)
            for fold in np.unique(self.folds[0]):
                own = self.folds[0] == fold
                applied[own] = metrics.thresholds(labels[~own], answers[~own], rule).values
            scored = np.searchsorted(self.protocol.train, self.protocol.test)
            probabilities, applied = probabilities[scored], applied[scored]
        return LabelEntry(
            backbone,
            data,
            head,
            probabilities,
            chosen.values,
            chosen.reached,
            applied,
            seconds,
        )


def check_settings(config: CompareConfig) -> None:
    """Raise an `InputError` for a setting that means nothing with several labels."""
    if config.targets != TARGETS:
        raise InputError(
            "--targets is for one class an image; with several labels each has a threshold of its"
            " own, which --precision-at-least or --recall-at-least chooses"
        )


def threshold_rule(config: CompareConfig) -> metrics.Rule:
    """Return how thresholds are chosen: for the best F1 unless the user says otherwise."""
    if config.precision_at_least is not None:
        return metrics.Rule("precision", config.precision_at_least)
    if config.recall_at_least is not None:
        return metrics.Rule("recall", config.recall_at_least)
    return metrics.Rule()


def head_names(config: CompareConfig) -> list[str]:
    """Return the heads to train: by default, all that can have several labels.

    Raises:
        InputError: one that the user names cannot.
    """
    supported = (*multilabel.NAMES, MEAN)
    if tuple(config.heads) == default_heads():
        return list(multilabel.NAMES)
    for name in config.heads:
        if name not in supported:
            raise InputError(
                f"the head {one_line(name)} does not support several labels on one image; choose "
                f"among {', '.join(supported)}"
            )
    return list(dict.fromkeys(config.heads))


def _summary(head: FittedLabels, backbone: str) -> str:
    params = ", ".join(
        f"{name} by label" if isinstance(value, list) else f"{name} = {value}"
        for name, value in head.params.items()
    )
    return (
        f"{backbone}{', ' if backbone else ''}{head.name}: mAP {head.cv_score:.3f}"
        f" in cross-validation with {params}, {head.seconds:.1f} s"
    )
