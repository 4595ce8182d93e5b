"""Fits heads and baselines on the training images, and predicts the test images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel import available_cores, run_ahead
from headstart.core.records import FeatureSet
from headstart.core.rows import Features, Mapped, Pixels, StoredRows, take
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.insights import score_backbone
from headstart.evaluation.compare.scoring import Entry, rank
from headstart.evaluation.splits import Protocol
from headstart.heads import MEAN, by_name, feature_map, mean
from headstart.heads.baselines import MostFrequentClass, RawPixels
from headstart.heads.family import Family
from headstart.heads.folds import divisions, predefined
from headstart.heads.search import FittedHead, class_probabilities
from headstart.heads.training_set import MAX_SHARED_ROWS, TrainingSet

Progress = Callable[[str], None] | None


@dataclass(frozen=True)
class Searched:
    """Every head on every backbone, best first, and the training set of the best one.

    With several backbones, ``scores`` are those of each; see `score_backbone`.
    """

    entries: list[Entry]
    scores: dict[str, dict[str, float]]
    training: TrainingSet


@dataclass(frozen=True)
class Trainer:
    """Fits heads on the training images of a protocol, with ``folds``, ``(r, n_train)``.

    ``progress`` is called with one line when a head is fitted, ``step`` with the name of each head
    before.
    """

    protocol: Protocol
    folds: NDArray[np.int64]
    config: CompareConfig
    progress: Progress = None
    step: Callable[[str], None] = lambda name: None

    @classmethod
    def of(
        cls,
        data: FeatureSet,
        protocol: Protocol,
        config: CompareConfig,
        progress: Progress,
        step: Callable[[str], None],
    ) -> Trainer:
        """Draw the folds that heads are chosen by."""
        if protocol.validation is not None:
            folds = predefined(protocol.validation)
        else:
            train = protocol.train
            folds = divisions(
                data.label[train],
                protocol.folds,
                config.seed,
                protocol.repeats,
                protocol.group[train],
            )
        return cls(protocol, folds, config, progress, step)

    def search(self, stores: Mapping[str, FeatureSet]) -> Searched:
        """Search all heads, backbone by backbone; only the best one's matrices are kept."""
        entries: list[Entry] = []
        scores: dict[str, dict[str, float]] = {}
        best_training = None
        several = len(stores) > 1
        for name, store in stores.items():
            rows = take(store.features, self.protocol.train)
            training = feature_map.choose(self._training_set(rows, store))
            scores[name] = score_backbone(training) if several else {}
            entries += self._all(name, store, training, several)
            entries.sort(key=rank)
            if best_training is None or entries[0].backbone == name:
                best_training = training
        assert best_training is not None
        return Searched(entries, scores, best_training)

    def baselines(self, data: FeatureSet) -> list[Entry]:
        """Fit the baselines, on the same images and the first folds."""
        pixels = data.pixels

        def fit(
            family: MostFrequentClass | RawPixels, rows: Callable[[NDArray[np.intp]], Features]
        ) -> Entry:
            training = self._training_set(rows(self.protocol.train), data, self.folds[:1])
            head = family.search(training)
            return _entry("", data, rows(self.protocol.test), head, self.protocol)

        entries = [fit(MostFrequentClass(), lambda rows: take(data.features, rows))]
        if pixels is not None:
            entries.append(fit(RawPixels(), lambda rows: as_numbers(take(pixels, rows))))
        return entries

    def _all(
        self, backbone: str, store: FeatureSet, training: TrainingSet, several: bool
    ) -> list[Entry]:
        """Return the entries of a backbone, and that of their mean.

        Features on disk have none: heads that read a sample have answers for few images.
        """
        entries = list(self._fit(backbone, store, training, several))
        if MEAN not in self.config.heads:
            return entries
        self.step(MEAN)
        if training.streamed:
            return entries
        head = mean.combine([entry.head for entry in entries], training)
        if self.progress:
            self.progress(_summary(head, backbone if several else ""))
        probabilities = np.mean([entry.probabilities for entry in entries], axis=0)
        seconds = sum(entry.predict_seconds for entry in entries)
        return [*entries, Entry(backbone, store, head, probabilities, seconds)]

    def _fit(
        self, backbone: str, store: FeatureSet, training: TrainingSet, several: bool
    ) -> Iterator[Entry]:
        """Yield the entries in the order of the heads; few rows are searched side by side."""

        def fit(family: Family) -> Entry:
            head = family.search_further(training)
            rows = take(store.features, self.protocol.test)
            return _entry(backbone, store, rows, head, self.protocol)

        families = by_name(self.config.heads)
        entries: Iterator[Entry] = map(fit, families)
        if not training.streamed and len(training.labels) <= MAX_SHARED_ROWS and len(families) > 1:
            training.squared_distances  # noqa: B018 - before threads start
            entries = run_ahead(fit, families, training.workers)
        for family in families:
            self.step(family.name)
            entry = next(entries)
            if self.progress:
                self.progress(_summary(entry.head, backbone if several else ""))
            yield entry

    def _training_set(
        self, rows: Features, data: FeatureSet, folds: NDArray[np.int64] | None = None
    ) -> TrainingSet:
        return TrainingSet(
            features=rows,
            labels=data.label[self.protocol.train].astype(np.int64),
            fold=self.folds if folds is None else folds,
            seed=self.config.seed,
            workers=self.config.workers or available_cores(),
            class_weight=self.config.class_weight,
        )


def _entry(
    backbone: str, data: FeatureSet, rows: Features, head: FittedHead, protocol: Protocol
) -> Entry:
    """Predict the rows; out of fold, that is only timed, and the search's answers are scored."""
    started = time.perf_counter()
    probabilities = class_probabilities(head.estimator, rows, len(data.classes))
    seconds = time.perf_counter() - started
    if protocol.out_of_fold:
        answers = head.out_of_fold[np.searchsorted(protocol.train, protocol.test)]
        probabilities = np.zeros_like(probabilities)
        probabilities[:, : answers.shape[1]] = answers
    return Entry(backbone, data, head, probabilities, seconds)


def as_numbers(pixels: Pixels) -> Features:
    """Return one row of numbers from 0 to 1 per image."""

    def convert(block: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.divide(block.reshape(len(block), -1), 255, dtype=np.float32)

    if isinstance(pixels, StoredRows):
        return Mapped(pixels, convert, int(np.prod(pixels.shape[1:])), np.float32)
    return convert(pixels)


def _summary(head: FittedHead, backbone: str) -> str:
    params = ", ".join(f"{name} = {value}" for name, value in head.params.items())
    return (
        f"{backbone}{', ' if backbone else ''}{head.name}: {head.cv_accuracy:.1%}"
        f" in cross-validation with {params}, {head.seconds:.1f} s"
    )
