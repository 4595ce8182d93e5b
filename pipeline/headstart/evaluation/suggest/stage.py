"""Stage: choose the unlabelled images of a store that are worth labelling next."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core import label_text, remarks
from headstart.core.choices import STRATEGIES
from headstart.core.errors import InputError, UsageError, count, one_line
from headstart.core.label_text import UNKNOWN
from headstart.core.records import FeatureSet
from headstart.core.results import Remark
from headstart.core.suggestions import GuessedLabel, SuggestedImage, Suggestions
from headstart.core.targets import MULTI_LABEL
from headstart.evaluation.compare.insights import find_duplicates
from headstart.evaluation.splits import check_features
from headstart.evaluation.splits.split import SCORED, representative
from headstart.evaluation.suggest import label_model, model, strategies
from headstart.evaluation.suggest.clusters import on_main_axes
from headstart.evaluation.suggest.forecast import ACCURACY, PRECISION, forecast
from headstart.evaluation.suggest.model import Guesser
from headstart.evaluation.suggest.strategies import Candidates

AUTO, UNCERTAINTY, DIVERSE, TYPICAL, RANDOM = STRATEGIES
_METHODS = {
    UNCERTAINTY: "the images that the model is least sure of, one from each of their clusters",
    DIVERSE: "the centres of clusters that no labelled image is in",
    TYPICAL: "the image closest to its neighbours in each cluster that no labelled image is in",
    RANDOM: "drawn at random",
}
_NEEDED = {
    False: "two classes with two images each",
    True: "a label that two labelled images have and two lack",
}


@dataclass(frozen=True)
class Selection:
    """The suggestions, and the rows of the chosen images."""

    suggestions: Suggestions
    rows: NDArray[np.intp]


def select(
    data: FeatureSet,
    number: int,
    strategy: str = AUTO,
    guesser: Guesser | None = None,
    near_duplicates: bool = True,
    seed: int = 0,
) -> Selection:
    """Choose ``number`` unlabelled images; of images that repeat one another, one at most.

    Without a ``guesser``, one is fitted to the labelled images outside the test split. By default
    its least certain images are chosen, and without labels the centres of clusters.

    Raises:
        InputError: there is nothing to choose from, features are not finite, or the strategy needs
            a model and there are too few labels for one.
    """
    _check(data, number, strategy)
    several = data.target == MULTI_LABEL
    about: list[Remark] = []
    labelled = np.flatnonzero(data.is_labelled & _outside_test(data))
    pool, repeated = _pool(data, near_duplicates, about)
    features = np.asarray(data.features[np.concatenate([pool, labelled])], np.float32)
    fitted = None
    if guesser is None or guesser.curve is None:
        fitted = _fitted(data, labelled, features[len(pool) :], seed)
    if guesser is None:
        guesser = fitted
        about += _about_labels(data, labelled) if fitted is None else []
    else:
        _check_classes(data, guesser)
        if fitted is not None:
            guesser = dataclasses.replace(guesser, curve=fitted.curve, labelled=fitted.labelled)
    if strategy == AUTO:
        strategy = DIVERSE if guesser is None else UNCERTAINTY
    if strategy == UNCERTAINTY and guesser is None:
        raise InputError(
            f"--strategy uncertainty needs a model, and there are too few labels for one:"
            f" {_NEEDED[several]}; leave --strategy out, or give RESULTS"
        )
    probabilities = margins = None
    if guesser is not None:
        probabilities = guesser.probabilities(features[: len(pool)])
        margins = guesser.margins(probabilities)
    placed = on_main_axes(features)
    candidates = Candidates(placed[: len(pool)], placed[len(pool) :], margins)
    if number > len(pool):
        about.append(
            remarks.remark(
                "HS801",
                f"You asked for {number:,} images, and there are {len(pool):,} to choose from:"
                " all of them are suggested.",
            )
        )
    chosen = strategies.STRATEGIES[strategy](
        candidates, min(number, len(pool)), np.random.default_rng(seed)
    )
    return Selection(
        Suggestions(
            data=data.name,
            strategy=strategy,
            method=_METHODS[strategy],
            guesser="" if guesser is None else guesser.title,
            classes=() if guesser is None else guesser.classes,
            unlabelled=len(pool),
            repeated=repeated,
            labelled=len(labelled),
            images=_images(data, pool, chosen, guesser, probabilities, margins),
            forecast=None
            if guesser is None
            else forecast(
                guesser.curve, guesser.labelled, len(chosen), PRECISION if several else ACCURACY
            ),
            target=data.target,
            imported=data.is_imported,
            remarks=[*about, *_about_sample(data, labelled)],
        ),
        pool[chosen],
    )


def _check(data: FeatureSet, number: int, strategy: str) -> None:
    if number < 1:
        raise UsageError("--n must be 1 or more")
    if strategy not in STRATEGIES:
        raise UsageError(f"no strategy {one_line(strategy)}; choose among {', '.join(STRATEGIES)}")
    if data.is_labelled.all():
        several = data.target == MULTI_LABEL
        cells = f"{UNKNOWN} in the column labels" if several else "empty cells in the column label"
        raise InputError(
            f"all {count(len(data), 'image')} of {one_line(data.name)} are labelled; embed more"
            f" images, with {cells}, or give a store of unlabelled images"
        )
    everything = dataclasses.replace(data, label=np.zeros(len(data), np.int32))
    check_features(everything)


def _outside_test(data: FeatureSet) -> NDArray[np.bool_]:
    return np.array([split != "test" for split in data.split], bool)


def _pool(
    data: FeatureSet, near_duplicates: bool, about: list[Remark]
) -> tuple[NDArray[np.intp], int]:
    """Return the images to choose from, and how many are left out as copies of others.

    Unlabelled images of the split named test are left out: who chooses them no longer draws them.
    """
    unlabelled, outside = ~data.is_labelled, _outside_test(data)
    if tested := int(np.sum(unlabelled & ~outside)):
        about.append(
            remarks.remark(
                "HS803",
                f"{count(tested, 'unlabelled image')} of the split test"
                f" {'was' if tested == 1 else 'were'} not considered. Label"
                f" {'it' if tested == 1 else 'them'} all, or none.",
            )
        )
    free = np.flatnonzero(unlabelled & outside)
    group = find_duplicates(data, near_duplicates).group
    new = free[~np.isin(group[free], group[data.is_labelled])]
    _, first = np.unique(group[new], return_index=True)
    pool = new[np.sort(first)]
    if not len(pool):
        raise InputError(
            f"there is nothing to choose from in {one_line(data.name)}: every unlabelled image is"
            " a copy of a labelled one, or in the split test"
        )
    return pool, len(free) - len(pool)


def _fitted(
    data: FeatureSet, labelled: NDArray[np.intp], features: NDArray[np.float32], seed: int
) -> Guesser | None:
    if not len(labelled):
        return None
    scored = np.isin(labelled, representative(data, labelled))
    if data.label_sets is not None:
        return label_model.fit(features, data.label_sets[labelled], scored, data.classes, seed)
    return model.fit(features, data.label[labelled], scored, data.classes, seed)


def _about_labels(data: FeatureSet, labelled: NDArray[np.intp]) -> list[Remark]:
    """Say why there is no model."""
    reason = "Fewer than two classes have two labelled images"
    if data.label_sets is not None:
        reason = "No label is known to be on two images and missing on two others"
    elif len(names := {data.classes[code] for code in data.label[labelled].tolist()}) < 2:
        reason = f"All labels are {one_line(names.pop())}" if names else "No image has a label"
    if not len(labelled):
        reason = "No image has a label"
    return [
        remarks.remark(
            "HS802", f"{reason}, so there is no model yet, no guess, and no learning curve."
        )
    ]


def _check_classes(data: FeatureSet, guesser: Guesser) -> None:
    if (guesser.thresholds is None) == (data.target == MULTI_LABEL):
        kinds = ("one class", "several labels")
        own, other = kinds if guesser.thresholds is None else kinds[::-1]
        raise InputError(
            f"the model gives {own} an image, and images of {one_line(data.name)} have {other};"
            " suggest from the store alone"
        )
    codes = np.unique(data.label[data.label >= 0]).tolist()
    if data.label_sets is not None:
        codes = np.flatnonzero((data.label_sets == 1).any(axis=0)).tolist()
    present = {data.classes[code] for code in codes}
    strange = sorted(present - set(guesser.classes))
    if strange:
        raise InputError(
            f"{one_line(data.name)} has labels that the model does not know, such as"
            f" {one_line(strange[0])}; train it again with headstart train-heads, or suggest from"
            " the store alone"
        )


def _images(
    data: FeatureSet,
    pool: NDArray[np.intp],
    chosen: NDArray[np.intp],
    guesser: Guesser | None,
    probabilities: NDArray[np.floating] | None,
    margins: NDArray[np.floating] | None,
) -> list[SuggestedImage]:
    rows = pool[chosen]
    if guesser is None or probabilities is None or margins is None:
        return [SuggestedImage(data.path[row]) for row in rows]
    own, apart = probabilities[chosen], margins[chosen].tolist()
    if guesser.thresholds is not None:
        return [
            _with_labels(data.path[row], values, margin, guesser.classes, reached)
            for row, values, margin, reached in zip(
                rows, own, apart, own >= guesser.thresholds, strict=True
            )
        ]
    return [
        SuggestedImage(data.path[row], guesser.classes[code], float(values[code]), margin)
        for row, code, values, margin in zip(
            rows, own.argmax(axis=1).tolist(), own, apart, strict=True
        )
    ]


def _with_labels(
    path: str,
    probabilities: NDArray[np.floating],
    margin: float,
    classes: Sequence[str],
    reached: NDArray[np.bool_],
) -> SuggestedImage:
    """Return an image with the labels whose probabilities reach their thresholds."""
    labels = [
        GuessedLabel(classes[code], float(probabilities[code]))
        for code in np.flatnonzero(reached).tolist()
    ]
    least = min((each.confidence for each in labels), default=1 - float(probabilities.max()))
    text = label_text.join(each.label for each in labels)
    return SuggestedImage(path, text, least, margin, labels)


def _about_sample(data: FeatureSet, labelled: NDArray[np.intp]) -> list[Remark]:
    """Say so if nearly all labelled images were chosen, so that nothing can be scored fairly."""
    free = int(np.sum(data.is_labelled & ~data.is_suggested))
    if free >= SCORED:
        return []
    return [
        remarks.remark(
            "HS804",
            f"{count(free, 'labelled image')} {'was' if free == 1 else 'were'} not chosen by"
            " suggest, too few to score a model fairly. Label some with --strategy random, too.",
        )
    ]
