"""Which images are trained on, which are tested on, and what a reader must be told about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.errors import InputError, one_line
from pipeline.records import FeatureSet

HELD_OUT_SHARE = 0.2


@dataclass(frozen=True)
class Protocol:
    """The division of a feature set.

    Attributes:
        train: rows for tuning and fitting, ascending.
        test: rows that are scored once, ascending.
        predefined: whether the test rows are the data's own split named test.
        folds: number of folds of the cross-validation on ``train``.
        warnings: plain sentences about the data.
    """

    train: NDArray[np.intp]
    test: NDArray[np.intp]
    predefined: bool
    folds: int
    warnings: list[str]


def make_protocol(data: FeatureSet, folds: int, seed: int) -> Protocol:
    """Divide the labelled images into a training pool and a test split, and check both.

    A split named test is taken as it is. Without one, 20 % of each class are held out, with
    byte-identical images kept on one side.

    Args:
        data: the features.
        folds: wanted number of folds; the smallest class may force fewer.
        seed: of what is held out.

    Raises:
        InputError: there are no labels, no training images, one class only, a class with a single
            training image, features that are not finite, or too few images to hold out a test.
    """
    labelled = np.flatnonzero(data.label >= 0)
    if not len(labelled):
        raise InputError(
            f"{one_line(data.name)} has no labelled images; put the images of each class into a"
            " folder named after it, or give the labels in a CSV file"
        )
    _check_finite(data, labelled)
    is_test = np.array([split == "test" for split in data.split])[labelled]
    predefined = bool(is_test.any())
    if not predefined:
        is_test = _hold_out(data.label[labelled], _twins(data.sha256[labelled]), seed)
    train, test = labelled[~is_test], labelled[is_test]
    if not len(train):
        raise InputError(
            f"all labelled images of {one_line(data.name)} are in the split test, so there is"
            " nothing to train on; move some to a split named train"
        )
    folds, about_classes = _check_classes(data, train, test, folds)
    if not len(test):
        raise InputError(
            "there are too few distinct images to hold some out as a test; add images, or name"
            " a test split"
        )
    warnings = [*_about_rows(data, labelled), *about_classes, *_about_twins(data, train, test)]
    return Protocol(train, test, predefined, folds, warnings)


def describe_dataset(data: FeatureSet, protocol: Protocol) -> dict[str, Any]:
    """Return the ``dataset`` of ``results.json``; its image counts are of labelled images."""
    names = [_utf8(name) for name in data.classes]
    images: dict[str, dict[str, int]] = {}
    for split, code in zip(data.split, data.label.tolist(), strict=True):
        if code >= 0:
            counts = images.setdefault(_utf8(split), dict.fromkeys(names, 0))
            counts[names[code]] += 1
    reasons = Counter(_utf8(reason) for _, reason in data.failures)
    return {
        "name": _utf8(data.name),
        "classes": names,
        "images": images,
        "n_images": len(data.label),
        "failures": len(data.failures),
        "failure_reasons": dict(sorted(reasons.items())),
        "test_split": "predefined" if protocol.predefined else "held out",
    }


def describe_protocol(data: FeatureSet, protocol: Protocol, seed: int) -> dict[str, Any]:
    """Return the ``protocol`` of ``results.json``."""
    n_train, n_test = len(protocol.train), len(protocol.test)
    splits = sorted({data.split[row] for row in protocol.train} - {""})
    origin = f" (splits {', '.join(splits)})" if len(splits) > 1 else ""
    if protocol.predefined:
        how = f"The data's own split named test: {_count(n_test, 'image')}"
    else:
        how = (
            f"No split is named test, so {100 * HELD_OUT_SHARE:.0f} % of each class was held out,"
            f" drawn with seed {seed}, identical files on one side: {_count(n_test, 'image')}"
        )
    return {
        "folds": protocol.folds,
        "seed": seed,
        "tuned_on": (
            f"{protocol.folds}-fold stratified cross-validation on {n_train:,} training"
            f" images{origin}"
        ),
        "n_train": n_train,
        "n_test": n_test,
        "scoring": "accuracy",
        "interval": f"{100 * metrics.LEVEL:.0f} % bootstrap, {metrics.RESAMPLES} resamples",
        "test_split": f"{how}, scored once for each head after every choice was made.",
    }


def _check_finite(data: FeatureSet, rows: NDArray[np.intp]) -> None:
    bad = rows[~np.isfinite(_squared_norms(data.features[rows]))]
    if len(bad):
        others = f" and so have {len(bad) - 1:,} more images" if len(bad) > 1 else ""
        raise InputError(
            f"{one_line(data.path[bad[0]])} has features that are NaN, infinite or too large"
            f"{others};"
            " extract the features again"
        )


def _squared_norms(features: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        norms: NDArray[np.float32] = np.einsum("ij,ij->i", features, features)
        return norms


def _twins(sha256: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Number the distinct contents: ``(n,)``, the same for images with the same bytes."""
    _, inverse = np.unique(sha256, axis=0, return_inverse=True)
    numbers: NDArray[np.intp] = inverse.reshape(-1)
    return numbers


def _hold_out(labels: NDArray[np.int32], twins: NDArray[np.intp], seed: int) -> NDArray[np.bool_]:
    """Choose 20 % of each class, whole groups of twins at a time, and leave at least two images.

    A group counts for the class of its first image.
    """
    rng = np.random.default_rng(seed)
    group_numbers, first, sizes = np.unique(twins, return_index=True, return_counts=True)
    held_out = np.zeros(len(group_numbers), dtype=bool)
    for label in np.unique(labels):
        groups = rng.permutation(np.flatnonzero(labels[first] == label))
        images = int(sizes[groups].sum())
        wanted = max(1, round(HELD_OUT_SHARE * images))
        for group in groups:
            size = int(sizes[group])
            if size <= wanted and images - size >= 2:
                held_out[group] = True
                wanted -= size
                images -= size
    return held_out[twins]


def _check_classes(
    data: FeatureSet, train: NDArray[np.intp], test: NDArray[np.intp], folds: int
) -> tuple[int, list[str]]:
    """Return the number of folds that the classes allow, and warnings about classes."""
    k = len(data.classes)
    in_train = np.bincount(data.label[train], minlength=k)
    in_test = np.bincount(data.label[test], minlength=k)
    known = np.flatnonzero(in_train)
    if len(known) == 1:
        raise InputError(
            f"all training images are of the class {_names(data, known)}; a classifier needs two"
            " classes or more: add images of another class"
        )
    single = np.flatnonzero(in_train == 1)
    if len(single):
        raise InputError(
            f"{_names(data, single)} {'has' if len(single) == 1 else 'have'} 1 training image"
            f"{'' if len(single) == 1 else ' each'}; add images or remove the"
            f" class{'' if len(single) == 1 else 'es'}"
        )
    warnings = []
    unseen = np.flatnonzero((in_train == 0) & (in_test > 0))
    if len(unseen):
        warnings.append(
            f"There is no training image of {_names(data, unseen)}:"
            f" {_count(in_test[unseen].sum(), 'test image')} cannot be classified right."
        )
    empty = np.flatnonzero((in_train == 0) & (in_test == 0))
    if len(empty):
        warnings.append(f"There is no image of {_names(data, empty)}: no head can answer with it.")
    smallest = known[in_train[known].argmin()]
    if in_train[smallest] < folds:
        folds = int(in_train[smallest])
        warnings.append(
            f"Cross-validation uses {folds} folds, because {_names(data, [smallest])} has only"
            f" {folds} training images."
        )
    return folds, warnings


def _about_rows(data: FeatureSet, labelled: NDArray[np.intp]) -> list[str]:
    """Return warnings about images that take no part, or bring nothing."""
    warnings = []
    if missing := len(data.label) - len(labelled):
        warnings.append(f"Left out, because they have no label: {_count(missing, 'image')}.")
    if data.failures:
        path, reason = data.failures[0]
        warnings.append(
            f"{_count(len(data.failures), 'image')} could not be used, the first of them"
            f" {one_line(path)}: {one_line(reason)}."
        )
    rows = data.features[labelled]
    norms = np.sqrt(_squared_norms(rows))[:, None]
    directions = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    if np.ptp(directions, axis=0).max() < 1e-6:
        warnings.append(
            "All images have the same features once they are normalised, so no head can do better"
            " than chance."
        )
    return warnings


def _about_twins(data: FeatureSet, train: NDArray[np.intp], test: NDArray[np.intp]) -> list[str]:
    """Return a warning if test images occur in the training pool, byte for byte."""
    twins = _twins(data.sha256[np.concatenate([train, test])])
    leaked = int(np.isin(twins[len(train) :], twins[: len(train)]).sum())
    if not leaked:
        return []
    return [
        f"The training images hold byte-for-byte copies of {_count(leaked, 'test image')} (of"
        f" {len(test):,}): the test accuracy is too high by what they add."
    ]


def _names(data: FeatureSet, codes: Sequence[int] | NDArray[np.intp]) -> str:
    """Name up to three classes."""
    shown = ", ".join(one_line(data.classes[code]) for code in codes[:3])
    return shown if len(codes) <= 3 else f"{shown} and {len(codes) - 3:,} more classes"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _utf8(text: str) -> str:
    """Escape lone surrogates, which a JSON reader may choke on."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
