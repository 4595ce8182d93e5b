"""The ``dataset`` and ``protocol`` of ``results.json``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from headstart.core.errors import count
from headstart.core.records import FeatureSet
from headstart.evaluation import groups, metrics
from headstart.evaluation.splits.config import Rules
from headstart.evaluation.splits.split import HELD_OUT_SHARE, Protocol
from headstart.evaluation.splits.wording import utf8


def describe_dataset(
    data: FeatureSet, protocol: Protocol, images: dict[str, dict[str, int]] | None = None
) -> dict[str, Any]:
    """Return the ``dataset`` of ``results.json``; its image counts are of labelled images.

    ``images`` counts them by split and class, if they may have several.
    """
    names = [utf8(name) for name in data.classes]
    images = _by_class(data, names) if images is None else images
    reasons = Counter(utf8(reason) for _, reason in data.failures)
    return {
        "name": utf8(data.name),
        "classes": names,
        "images": images,
        "n_images": len(data.label),
        "failures": len(data.failures),
        "failure_reasons": dict(sorted(reasons.items())),
        "test_split": "predefined"
        if protocol.predefined
        else ("out of fold" if protocol.out_of_fold else "held out"),
    }


def _by_class(data: FeatureSet, names: list[str]) -> dict[str, dict[str, int]]:
    images: dict[str, dict[str, int]] = {}
    for split, code in zip(data.split, data.label.tolist(), strict=True):
        if code >= 0:
            counts = images.setdefault(utf8(split), dict.fromkeys(names, 0))
            counts[names[code]] += 1
    return images


def describe_protocol(data: FeatureSet, protocol: Protocol, rules: Rules) -> dict[str, Any]:
    """Return the ``protocol`` of ``results.json``."""
    n_test = len(protocol.test)
    used = np.union1d(protocol.train, protocol.test)  # out of fold, they are the same images
    return {
        "folds": protocol.folds,
        "repeats": protocol.repeats,
        "seed": rules.seed,
        "validation": rules.validation,
        "tuned_on": _tuning(data, protocol),
        "n_train": len(protocol.train),
        "n_test": n_test,
        "n_grouped": int(np.sum(groups.sizes(protocol.group[used]) > 1)),
        "n_leaked": int(protocol.leaked.sum()),
        "scored_on": "out of fold" if protocol.out_of_fold else "test split",
        "n_classes": len(np.unique(data.label[protocol.train])),
        "scoring": "accuracy (logistic regression and kNN: log loss)",
        "interval": f"{100 * metrics.LEVEL:.0f} %, Wilson's for accuracy, recall and precision"
        + (", for two thirds as many images" if protocol.out_of_fold else ""),
        "test_split": _test_split(protocol, rules, n_test),
    }


def _test_split(protocol: Protocol, rules: Rules, n_test: int) -> str:
    if protocol.out_of_fold:
        return (
            f"No split is named test, and too few images were given to hold some out"
            f" (--holdout does so all the same): each of the {count(n_test, 'image')} was scored by"
            " models that were fitted without it and its group, and the model that is kept was"
            " fitted on all."
        )
    if protocol.predefined:
        how = f"The data's own split named test: {count(n_test, 'image')}"
    else:
        how = (
            f"No split is named test, so {100 * HELD_OUT_SHARE:.0f} % of each class was held out,"
            f" drawn with seed {rules.seed}, with groups kept on one side:"
            f" {count(n_test, 'image')}"
        )
    return f"{how}, scored once per head after all choices were made."


def _tuning(data: FeatureSet, protocol: Protocol) -> str:
    n_train = len(protocol.train)
    if protocol.validation is not None:
        held_out = int(protocol.validation.sum())
        return (
            f"the data's own split named validation, {count(held_out, 'image')}, after fitting on"
            f" the other {n_train - held_out:,} training images"
        )
    splits = sorted({data.split[row] for row in protocol.train} - {""})
    origin = f" (splits {', '.join(splits)})" if len(splits) > 1 else ""
    apart = groups.sizes(protocol.group[protocol.train]).max() == 1
    together = "" if apart else ", groups kept in one fold"
    again = "" if protocol.repeats == 1 else f", repeated {protocol.repeats} times"
    details = f"{again}{together}," if again or together else ""
    return (
        f"{protocol.folds}-fold stratified cross-validation{details} on {n_train:,}"
        f" training images{origin}"
    )
