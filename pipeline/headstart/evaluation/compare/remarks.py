"""Remarks: what about the data or the search a reader should look at."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from headstart.core.cholesky import Cholesky
from headstart.core.parallel import available_cores
from headstart.core.parallel.blas import run_parallel
from headstart.core.records import FeatureSet
from headstart.core.remarks import remark as remark_of
from headstart.core.results import Remark
from headstart.datasets.splits import split_of
from headstart.evaluation import groups, metrics
from headstart.evaluation.compare.scoring import Entry, HeldOut
from headstart.evaluation.metrics.design import Design
from headstart.evaluation.splits import Protocol
from headstart.heads.grids import ends

UNLIKELY = 2.576  # standard errors; 1 in 100 by chance
FEWEST = 40  # images on each side of a comparison of splits
MOST = 2000  # images of a split whose features are compared
APART = 0.65  # area under the curve from which splits differ
TELLING = 0.2  # by how much a source must tell the label better than guessing
LARGE = 5  # images of an average group that may be a place, a camera or a session


def remark(
    entries: Sequence[Entry],
    baselines: Sequence[Entry],
    test: HeldOut,
    protocol: Protocol,
    named_groups: Mapping[str, str],
) -> list[Remark]:
    """Return the remarks on a comparison, its entries best first."""
    data = entries[0].data
    return [
        *_about_grids(entries),
        *_about_pixels(entries[0], baselines, test),
        *_about_the_test(entries[0], test, protocol),
        *_about_splits(data, protocol),
        *_about_sources(data, protocol, named_groups),
    ]


def _about_grids(entries: Sequence[Entry]) -> Iterator[Remark]:
    """Name the best head's hyper-parameters whose best value is at the end of the grid."""
    head = entries[0].head
    for name, side in ends(head).items():
        which = "smallest" if side < 0 else "largest"
        yield remark_of(
            "HS101",
            f"The best {name} of {head.title}, {head.params[name]:g}, is the {which} that was"
            " tried. A value beyond it may be better still.",
        )


def _about_pixels(best: Entry, baselines: Sequence[Entry], test: HeldOut) -> Iterator[Remark]:
    """Say so if small images alone are as good as the features."""
    right = best.predicted == test.true
    for entry in baselines:
        own = entry.predicted == test.true
        (compared,) = metrics.compare_with(right, [own], test.group)
        if entry.head.name == "raw-pixels" and not (compared.decided and compared.difference < 0):
            yield remark_of(
                "HS201",
                f"Raw pixels are {'more accurate than' if compared.decided else 'as accurate as'}"
                f" {best.head.title}: {own.mean():.1%} and"
                f" {right.mean():.1%}. The backbone adds nothing that these images show. Try"
                " another backbone or layer, or look for something trivial that tells the classes"
                " apart, such as brightness or a border.",
            )


def _about_the_test(best: Entry, test: HeldOut, protocol: Protocol) -> Iterator[Remark]:
    """Say so if the test split is easier or harder than the folds by more than chance."""
    answers = best.head.out_of_fold
    judged = np.flatnonzero(np.isfinite(answers).all(axis=1)) if len(answers) else np.empty(0, int)
    if protocol.out_of_fold or min(len(judged), len(test.true)) < FEWEST:
        return
    rows = protocol.train[judged]
    inside = answers[judged].argmax(axis=1) == best.data.label[rows]
    outside = best.predicted == test.true
    gap = float(outside.mean() - inside.mean())
    error = np.hypot(_error(inside, protocol.group[rows]), _error(outside, test.group))
    if abs(gap) <= UNLIKELY * error:
        return
    what, why = (
        ("easier", "Look for copies of training images in it.")
        if gap > 0
        else ("harder", "Look for another source, camera or time among its images.")
    )
    yield remark_of(
        "HS301",
        f"The test images are {what} than the training images by more than chance:"
        f" {outside.mean():.1%} against {inside.mean():.1%} in cross-validation. {why}",
    )


def _error(correct: NDArray[np.bool_], group: NDArray[np.integer]) -> float:
    """Return the standard error of an accuracy, with half an error and half a success more."""
    n, share = len(correct), (float(correct.sum()) + 0.5) / (len(correct) + 1)
    effect = Design.of(correct, group).effect(correct - correct.mean())
    return float(np.sqrt(effect * share * (1 - share) / n))


def _about_splits(data: FeatureSet, protocol: Protocol) -> Iterator[Remark]:
    """Name splits whose features differ from those of the other training images."""
    labelled = np.union1d(protocol.train, protocol.test)
    split = np.array([data.split[row] for row in labelled])
    others = labelled[~np.isin(split, ("test", "validation"))]
    for name in ("validation", "test"):
        own = labelled[split == name]
        area = _apart(data, own, others)
        if area is not None and area >= APART:
            yield remark_of(
                "HS302",
                f"The features of the {name} images differ from those of the training images: a"
                f" linear rule tells them apart (area under the ROC curve {area:.2f}; 0.5 is"
                " chance). They may come from another source, and scores are those of that source.",
            )


def _apart(data: FeatureSet, a: NDArray[np.intp], b: NDArray[np.intp]) -> float | None:
    """Return how well a linear rule tells two sets of images of the same classes apart.

    A classifier two-sample test: Lopez-Paz and Oquab, *Revisiting Classifier Two-Sample Tests*,
    2017. Features lose the means of their classes, a ridge discriminant is fitted on one half, and
    the area under its ROC curve is of the other. None for too few images.
    """
    rng = np.random.default_rng(0)
    a, b = (rng.permutation(rows)[:MOST] for rows in (a, b))
    if min(len(a), len(b)) < FEWEST:
        return None
    rows = np.concatenate([a, b])
    side = np.repeat([1, 0], [len(a), len(b)])
    features = data.features[np.sort(rows)][np.argsort(np.argsort(rows))]
    features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    for label in np.unique(data.label[rows]):
        own = data.label[rows] == label
        sides = [own & (side == value) for value in (0, 1)]
        if not all(part.any() for part in sides):
            features[own] = 0.0
            continue
        features[own] -= (features[sides[0]].mean(axis=0) + features[sides[1]].mean(axis=0)) / 2
    half = np.arange(len(rows)) % 2 == 0
    areas = run_parallel(lambda fit: _area(features, side, fit), (half, ~half), available_cores())
    return float(np.mean(areas))


def _area(features: NDArray[np.float32], side: NDArray[np.intp], fit: NDArray[np.bool_]) -> float:
    inside = features[fit].astype(np.float64)
    target = side[fit] - side[fit].mean()
    gram = inside @ inside.T
    gram[np.diag_indices(len(gram))] += 0.1 * np.trace(gram) / len(gram) + 1e-12
    weights = inside.T @ Cholesky(gram).solve(target[:, None])[:, 0]
    scores = features[~fit] @ weights
    chance = 1 / (1 + np.exp(-np.clip(scores, -50, 50)))
    area = metrics.roc_auc(side[~fit], np.stack([1 - chance, chance], axis=1))[0]
    return 0.5 if area is None else area


def _about_sources(
    data: FeatureSet, protocol: Protocol, named_groups: Mapping[str, str]
) -> Iterator[Remark]:
    """Name the groups, folders or file types that tell the label."""
    rows = np.union1d(protocol.train, protocol.test)
    labels = data.label[rows]
    paths = [data.path[row] for row in rows]
    partitions = {
        "folders beside those of the classes": _folders(paths, data.classes),
        "file types": [posixpath.splitext(path)[1].lower() for path in paths],
    }
    if named_groups:
        partition = groups.by_name(data.path, named_groups)[rows]
        partitions = {"groups": [str(number) for number in partition]} | partitions
    for what, names in partitions.items():
        source = np.unique(names, return_inverse=True)[1]
        if len(source) / (source.max() + 1) < LARGE or source.max() == 0:
            continue
        explained, guessed = _agreement(source, labels)
        if explained - guessed >= TELLING:
            yield remark_of(
                "HS401",
                f"The {what} tell the label: two images of one source have the same label in"
                f" {explained:.0%} of cases, any two images in {guessed:.0%}. A model may learn the"
                " source instead of the class. Collect every class from several sources.",
            )


def _folders(paths: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return the folders of each path that are neither a class nor a split."""
    parents = [path.rpartition("/")[0] for path in paths]
    names = {}
    for parent in set(parents):  # far fewer than images
        parts = PurePosixPath(parent).parts
        kept = (part for part in parts if part not in classes and not split_of(part))
        names[parent] = "/".join(kept)
    return [names[parent] for parent in parents]


def _agreement(source: NDArray[np.intp], labels: NDArray[np.integer]) -> tuple[float, float]:
    """Return how often two images of one source have the same label, and any two images."""
    codes = np.unique(labels, return_inverse=True)[1]
    table = np.zeros((int(source.max()) + 1, int(codes.max()) + 1))
    np.add.at(table, (source, codes), 1)
    sizes = table.sum(axis=1)[source]
    several = sizes > 1
    same = (table[source, codes][several] - 1) / (sizes[several] - 1)
    totals = table.sum(axis=0)
    return float(same.mean()), float((totals * (totals - 1)).sum() / len(codes) / (len(codes) - 1))
