"""The comparison itself: tune on the training pool, test once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.core.parallel import available_cores
from headstart.core.parallel.blas import blas_threads
from headstart.core.records import FeatureSet, warning_about
from headstart.core.results import Comparison, Insights, LearningCurve
from headstart.core.rows import Features, Mapped, Pixels, StoredRows, take
from headstart.evaluation import groups
from headstart.evaluation.compare.alignment import align, backbone_names
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.identity import inputs_digest, is_streamed, provenance
from headstart.evaluation.compare.insights import (
    HELD_OUT,
    NEAR_DUPLICATES,
    Suspects,
    about_duplicates,
    describe_duplicates,
    describe_label_errors,
    find_duplicates,
    find_label_errors,
    learn_curve,
    score_backbone,
)
from headstart.evaluation.compare.scoring import (
    Entry,
    HeldOut,
    about_perfection,
    about_size,
    about_the_choice,
    rank,
    score_baselines,
    score_heads,
)
from headstart.evaluation.duplicates import Duplicates
from headstart.evaluation.groups import Partition
from headstart.evaluation.splits import (
    Protocol,
    check_features,
    describe_dataset,
    describe_protocol,
    make_protocol,
)
from headstart.evaluation.splits.small_classes import units_of
from headstart.evaluation.splits.wording import class_names
from headstart.heads import by_name
from headstart.heads.baselines import MostFrequentClass, RawPixels
from headstart.heads.folds import divisions, predefined
from headstart.heads.search import FittedHead, class_probabilities
from headstart.heads.training_set import TrainingSet

NAMED_GROUPS = "further images of the groups"


@dataclass(frozen=True)
class Outcome:
    """What a comparison leaves besides its record.

    Attributes:
        entries: the heads, best first, in the order of `Comparison.heads`.
        protocol: who trained and who tested; its rows are those of every entry's ``data``.
        copies: which images occur more than once.
        suspects: training images whose labels are in doubt.
    """

    entries: list[Entry]
    protocol: Protocol
    copies: Duplicates
    suspects: Suspects

    @property
    def best(self) -> Entry:
        """The head that cross-validation chose."""
        return self.entries[0]


def compare(
    stores: Sequence[FeatureSet],
    config: CompareConfig,
    named_groups: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Comparison, Outcome]:
    """Tune every head by cross-validation on the training images and score it once on the test.

    With several stores, every backbone and every head are compared on the images that all stores
    hold, with the same folds and the same test split. The best head is the one with the highest
    cross-validated accuracy, never the test's; each other head is set against it by a paired test
    on the same test images, see `score_heads`.

    Args:
        stores: one or more feature sets, with labels, of different extractions.
        config: what to compare and how.
        named_groups: the group of an image by its path, for images that must not be divided among
            folds or between training and test: one patient, one scene, one burst.
        progress: called with one line when a head is done.

    Returns:
        The record of the comparison, and the fitted heads. The same data and configuration give
        the same results, times apart. ``created`` and ``command`` are the caller's to add to
        ``provenance``.

    Raises:
        InputError: the data cannot be used; the message says why.
    """
    named_groups = named_groups or {}
    aligned, warnings = align(stores)
    names = backbone_names(stores)
    about_disk = _about_disk(aligned, names)
    if progress:
        for line in about_disk:
            progress(line)
    data, copies = aligned[0], find_duplicates(aligned[0], config.near_duplicates)
    protocol, about_division = _divide(data, copies, named_groups, config)
    warnings = [*_about_weights(stores), *about_disk, *warnings, *about_division]
    warnings += _check_others(aligned, names)
    held_out = HeldOut(
        data.label[protocol.test], protocol.group[protocol.test], protocol.leaked, config.seed
    )
    with blas_threads(available_cores()):
        folds = _folds(data, protocol, config)
        searched = _search(
            dict(zip(names, aligned, strict=True)), protocol, folds, config, progress
        )
        suspects, curve = _look_closer(searched, protocol)
        heads = score_heads(searched.entries, held_out)
        baselines = score_baselines(_baselines(data, protocol, folds, config), held_out)
    best = searched.entries[0]
    comparison = Comparison(
        dataset=describe_dataset(data, protocol),
        extraction={"digest": best.data.digest, "document": best.data.extraction},
        protocol=describe_protocol(data, protocol, config)
        | {"class_weight": config.class_weight or "none"},
        heads=heads,
        baselines=baselines,
        best=best.head.name,
        best_backbone=best.backbone,
        backbones=searched.backbones,
        insights=Insights(
            duplicates=describe_duplicates(data, copies, protocol),
            label_errors=describe_label_errors(suspects),
            learning_curve=curve,
        ),
        warnings=[
            *warnings,
            *about_the_choice(heads),
            *about_perfection(heads, len(protocol.test)),
            *about_size(best),
        ],
        provenance=provenance(
            inputs_digest(stores, config, named_groups), dict(zip(names, stores, strict=True))
        ),
    )
    return comparison, Outcome(searched.entries, protocol, copies, suspects)


def _divide(
    data: FeatureSet,
    copies: Duplicates,
    named_groups: Mapping[str, str],
    config: CompareConfig,
) -> tuple[Protocol, list[str]]:
    """Divide the images, and say what a reader must know about it."""
    related, about_groups = _related(data, named_groups)
    near, about_near = _divisible(data, copies.group)
    protocol = make_protocol(
        data, config, {NEAR_DUPLICATES: near} | related, {NEAR_DUPLICATES: copies.group}
    )
    about_copies = about_duplicates(data, copies)
    return protocol, [*about_groups, *about_near, *protocol.warnings, *about_copies]


@dataclass(frozen=True)
class _Searched:
    """Every head on every backbone.

    Attributes:
        entries: the fitted heads, best first.
        backbones: what the results say of each.
        training: the training set of the best head, with its matrices, which insights share.
    """

    entries: list[Entry]
    backbones: list[dict[str, object]]
    training: TrainingSet


def _search(
    stores: Mapping[str, FeatureSet],
    protocol: Protocol,
    folds: NDArray[np.int64],
    config: CompareConfig,
    progress: Callable[[str], None] | None,
) -> _Searched:
    """Search all heads, backbone by backbone; only the best one's matrices are kept."""
    entries: list[Entry] = []
    backbones, best_training = [], None
    several = len(stores) > 1
    for name, store in stores.items():
        rows = take(store.features, protocol.train)
        training = _training_set(rows, store, protocol, folds, config)
        scores = score_backbone(training) if several else {}
        backbones.append(_backbone(name, store, scores))
        entries += _fit(name, store, training, protocol, config, progress, several)
        entries.sort(key=rank)
        if best_training is None or entries[0].backbone == name:
            best_training = training
    assert best_training is not None
    return _Searched(entries, backbones, best_training)


def _look_closer(searched: _Searched, protocol: Protocol) -> tuple[Suspects, LearningCurve]:
    """Return the labels in doubt and the learning curve, on the best head's features."""
    best = searched.entries[0]
    rivals = [entry for entry in searched.entries if entry.backbone == best.backbone]
    suspects = find_label_errors(searched.training, protocol, rivals)
    return suspects, learn_curve(searched.training, best)


def _related(
    data: FeatureSet, named_groups: Mapping[str, str]
) -> tuple[dict[str, Partition], list[str]]:
    """Return the partition that the user's groups make, and what is odd about them."""
    if not named_groups:
        return {}, []
    known = sum(path in named_groups for path in data.path)
    if not known:
        raise InputError(
            "the groups name none of the images; their paths must be those of the store, for"
            f" instance {one_line(data.path[0])}"
        )
    alone = len(data.path) - known
    about = [f"{alone:,} of {len(data.path):,} images are in no group, so each stands alone."]
    return {NAMED_GROUPS: groups.by_name(data.path, named_groups)}, about if alone else []


def _divisible(data: FeatureSet, near: Partition) -> tuple[Partition, list[str]]:
    """Keep near-duplicates together, but not so that a class could not be divided at all.

    That two images are near-duplicates is a guess. Where it makes one group of all that a class
    can be trained on, its images are divided all the same, and the reader is told. Test images
    that they duplicate count as leaked all the same.
    """
    pool = np.array([split != "test" for split in data.split], bool)
    rows = np.flatnonzero((data.label >= 0) & pool)
    units = units_of(data, rows, near)
    images = np.bincount(data.label[rows], minlength=len(data.classes))
    alike = np.flatnonzero((units == 1) & (images > 1))
    if not len(alike):
        return near, []
    alone = np.isin(data.label, alike)
    divided = np.where(alone, near.max() + 1 + np.arange(len(near)), near)
    return divided, [
        f"All training images of {class_names(data, alike)} look like copies of one another; they"
        " are divided among the folds all the same, so accuracies may be too high."
    ]


def _about_weights(stores: Sequence[FeatureSet]) -> list[str]:
    """Warn of every backbone that was never trained."""
    named = (str(store.extraction.get("backbone", {}).get("name", "")) for store in stores)
    return [text for text in map(warning_about, dict.fromkeys(named)) if text]


def _about_disk(stores: Sequence[FeatureSet], names: Sequence[str]) -> list[str]:
    """Say which features stay on disk, and what that changes."""
    return [
        f"The features of {len(data.path):,} images by {name} would take"
        f" {data.features.nbytes / 2**20:,.0f} MiB of memory and stay on disk (--stream-above);"
        " heads read them in blocks, and what a head leaves out is said beside it. Only images"
        " with the same bytes count as copies, labels are judged in one round, and the learning"
        f" curve is scored on {HELD_OUT:,} images a draw."
        for data, name in zip(stores, names, strict=True)
        if is_streamed(data)
    ]


def _check_others(stores: Sequence[FeatureSet], names: Sequence[str]) -> list[str]:
    """Check the features of all stores but the first, whose division has seen to it."""
    return [
        f"{name}: {warning}"
        for name, store in list(zip(names, stores, strict=True))[1:]
        for warning in check_features(store)
    ]


def _folds(data: FeatureSet, protocol: Protocol, config: CompareConfig) -> NDArray[np.int64]:
    """Return the divisions that heads are chosen by, ``(r, n_train)``."""
    if protocol.validation is not None:
        return predefined(protocol.validation)
    return divisions(
        data.label[protocol.train],
        protocol.folds,
        config.seed,
        protocol.repeats,
        protocol.group[protocol.train],
    )


def _training_set(
    rows: Features,
    data: FeatureSet,
    protocol: Protocol,
    folds: NDArray[np.int64],
    config: CompareConfig,
) -> TrainingSet:
    return TrainingSet(
        features=rows,
        labels=data.label[protocol.train].astype(np.int64),
        fold=folds,
        seed=config.seed,
        workers=config.workers or available_cores(),
        class_weight=config.class_weight,
    )


def _fit(
    backbone: str,
    store: FeatureSet,
    training: TrainingSet,
    protocol: Protocol,
    config: CompareConfig,
    progress: Callable[[str], None] | None,
    several: bool,
) -> Iterator[Entry]:
    """Yield every wanted head, fitted on one store's features."""
    for family in by_name(config.heads):
        head = family.search(training)
        if progress:
            progress(_summary(head, backbone if several else ""))
        yield _entry(backbone, store, take(store.features, protocol.test), head)


def _entry(
    backbone: str,
    data: FeatureSet,
    rows: Features,
    head: FittedHead,
) -> Entry:
    """Ask a fitted head about the test images, once."""
    started = time.perf_counter()
    probabilities = class_probabilities(head.estimator, rows, len(data.classes))
    return Entry(backbone, data, head, probabilities, time.perf_counter() - started)


def _baselines(
    data: FeatureSet, protocol: Protocol, folds: NDArray[np.int64], config: CompareConfig
) -> list[Entry]:
    """Fit what can be had without a backbone, on the same images and the first folds."""
    pixels = data.pixels

    def run(
        family: MostFrequentClass | RawPixels,
        rows: Callable[[NDArray[np.intp]], Features],
    ) -> Entry:
        training = _training_set(rows(protocol.train), data, protocol, folds[:1], config)
        return _entry("", data, rows(protocol.test), family.search(training))

    entries = [run(MostFrequentClass(), lambda at: take(data.features, at))]
    if pixels is not None:
        entries.append(run(RawPixels(), lambda at: _as_numbers(take(pixels, at))))
    return entries


def _as_numbers(pixels: Pixels) -> Features:
    """Return a row an image, of numbers from 0 to 1."""

    def convert(block: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.divide(block.reshape(len(block), -1), 255, dtype=np.float32)

    if isinstance(pixels, StoredRows):
        return Mapped(pixels, convert, int(np.prod(pixels.shape[1:])), np.float32)
    return convert(pixels)


def _backbone(name: str, store: FeatureSet, scores: dict[str, float]) -> dict[str, object]:
    return {
        "backbone": name,
        "digest": store.digest,
        "document": store.extraction,
        "dim": store.features.shape[1],
        "scores": scores,
    }


def _summary(head: FittedHead, backbone: str) -> str:
    params = ", ".join(f"{name} = {value}" for name, value in head.params.items())
    return (
        f"{backbone}{', ' if backbone else ''}{head.name}: {head.cv_accuracy:.1%} ±"
        f" {head.cv_std:.1%} in cross-validation with {params}, {head.seconds:.1f} s"
    )
