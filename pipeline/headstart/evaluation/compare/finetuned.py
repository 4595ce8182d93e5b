"""Comparison of a fine-tuned network with heads on the frozen one, on the same test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from headstart.core.records import FeatureSet
from headstart.core.remarks import without
from headstart.core.results import Comparison
from headstart.core.rows import take
from headstart.evaluation.compare.alignment import beside_tuned
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.insights import decide, decide_for_groups
from headstart.evaluation.compare.network import NAME, TITLE, TunedNetwork
from headstart.evaluation.compare.scoring import (
    Entry,
    HeldOut,
    about_leakage,
    about_the_choice,
    conclude,
    rank,
    score_groups,
    score_heads,
)
from headstart.evaluation.compare.stage import Outcome, compare, describe_backbone
from headstart.heads.linear import estimator_of
from headstart.heads.search import FittedHead, class_probabilities


def compare_tuned(
    frozen: FeatureSet,
    tuned: FeatureSet,
    network: TunedNetwork,
    config: CompareConfig,
    progress: Callable[[str], None] | None = None,
    named_groups: Mapping[str, str] | None = None,
) -> tuple[Comparison, Outcome]:
    """Compare the heads on frozen features with a network that was trained on the same images.

    All are ranked by accuracy on the validation split, so ``config`` needs
    ``validation="predefined"``. ``tuned`` are the features of the fine-tuned network. The operating
    points and sets are the network's, wherever it is among the heads, because it is what ships:
    chosen on the validation split, whose images it has not been trained on. So are those of
    ``named_groups``, the group of an image by its path.
    """
    names, stores = beside_tuned(frozen, tuned)
    comparison, outcome = compare(stores[:1], config, named_groups, progress)
    protocol = outcome.protocol
    codes = {name: code for code, name in enumerate(frozen.classes)}
    classes = np.array([codes[name] for name in network.classes], np.int64)
    estimator = estimator_of(network.weight, network.bias, classes)
    assert protocol.validation is not None
    validation = protocol.train[protocol.validation]
    judged = class_probabilities(
        estimator, take(stores[-1].features, validation), len(frozen.classes)
    )
    unseen = np.full((len(protocol.train), len(frozen.classes)), np.nan)
    unseen[protocol.validation] = judged
    right = judged.argmax(axis=1) == frozen.label[validation]
    head = FittedHead(
        name=NAME,
        title=TITLE,
        params=network.facts,
        cv_accuracy=float(right.mean()),
        cv_std=0.0,
        grid=[],
        estimator=estimator,
        seconds=network.seconds,
        out_of_fold=unseen,
        n_rows=len(protocol.train),
    )
    answers: NDArray[np.float64] = class_probabilities(
        estimator, take(stores[-1].features, protocol.test), len(frozen.classes)
    )
    entries = [dataclasses.replace(entry, backbone=names[0]) for entry in outcome.entries]
    entry = Entry(names[-1], stores[-1], head, answers, 0.0)
    entries.append(entry)
    entries.sort(key=rank)
    operating, sets = decide(entry, protocol, config.targets)
    insights = dataclasses.replace(
        comparison.insights, operating_points=operating, prediction_sets=sets
    )
    comparison = dataclasses.replace(comparison, insights=insights)
    test = HeldOut.of(stores[0], protocol, config.seed)
    comparison = _with_entries(comparison, entries, test, config)
    if outcome.grouping is not None:
        points, group_sets = decide_for_groups(
            entry, protocol, config.targets, named_groups or {}, config.group_answer
        )
        groups = dataclasses.replace(
            score_groups(entries, comparison.heads, test, outcome.grouping),
            operating_points=points,
            prediction_sets=group_sets,
        )
        insights = dataclasses.replace(comparison.insights, group_answers=groups)
        comparison = dataclasses.replace(comparison, insights=insights)
    backbones = [describe_backbone(*pair, {}) for pair in zip(names, stores, strict=True)]
    comparison = dataclasses.replace(comparison, backbones=backbones)
    return comparison, dataclasses.replace(outcome, entries=entries)


def _with_entries(
    comparison: Comparison, entries: list[Entry], test: HeldOut, config: CompareConfig
) -> Comparison:
    heads, best = score_heads(entries, test), entries[0]
    about = [*about_the_choice(heads), *about_leakage(heads, test)]
    return dataclasses.replace(
        comparison,
        heads=heads,
        best=best.head.name,
        best_backbone=best.backbone,
        extraction={"digest": best.data.digest, "document": best.data.extraction},
        warnings=list(dict.fromkeys([*comparison.warnings, *without(about, config.ignore)])),
        conclusion=conclude(heads, test),
    )
