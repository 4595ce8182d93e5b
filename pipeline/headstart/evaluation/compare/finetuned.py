"""Set a fine-tuned network beside the heads on the frozen one, on the same test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.records import FeatureSet
from headstart.core.results import Comparison
from headstart.core.rows import take
from headstart.evaluation.compare.alignment import align, backbone_names
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.scoring import (
    Entry,
    HeldOut,
    about_perfection,
    about_the_choice,
    rank,
    score_heads,
)
from headstart.evaluation.compare.stage import Outcome, compare
from headstart.heads.search import FittedHead, class_probabilities

NAME = "fine-tuned"


def compare_tuned(
    frozen: FeatureSet,
    tuned: FeatureSet,
    estimator: Any,  # noqa: ANN401 - a scikit-learn classifier
    validation: float,
    facts: dict[str, Any],
    seconds: float,
    config: CompareConfig,
    progress: Callable[[str], None] | None = None,
) -> tuple[Comparison, Outcome]:
    """Compare the heads on frozen features with a network that was trained on the same images.

    The heads are fitted and chosen as always, but on the validation split, so that all have their
    accuracy on the same images that none was trained on; the best of all is the best there.

    Args:
        frozen: features of the frozen network, with splits train, validation and test.
        tuned: features of the fine-tuned one.
        estimator: the fine-tuned classifier on these.
        validation: its accuracy on the validation split.
        facts: how it was trained.
        seconds: how long.
        config: with ``validation="predefined"``.
        progress: receives a line when a head is done.
    """
    same = frozen.digest == tuned.digest  # of a frozen base: only the classifier is another
    names = backbone_names([frozen] if same else [frozen, tuned]) * (2 if same else 1)
    first, second = (frozen, frozen) if same else align([frozen, tuned])[0]
    comparison, outcome = compare([first], config, progress=progress)
    protocol = outcome.protocol
    head = FittedHead(
        name=NAME,
        title="fine-tuned network",
        params=facts,
        cv_accuracy=validation,
        cv_std=0.0,
        grid=[],
        estimator=estimator,
        seconds=seconds,
        out_of_fold=np.empty((0, len(first.classes))),
        n_rows=len(protocol.train),
    )
    answers: NDArray[np.float64] = class_probabilities(
        estimator, take(second.features, protocol.test), len(first.classes)
    )
    entries = [dataclasses.replace(entry, backbone=names[0]) for entry in outcome.entries]
    entries.append(Entry(names[1], second, head, answers, 0.0))
    entries.sort(key=rank)
    held_out = HeldOut(
        first.label[protocol.test], protocol.group[protocol.test], protocol.leaked, config.seed
    )
    heads = score_heads(entries, held_out)
    best = entries[0]
    stores = [
        {
            "backbone": name,
            "digest": store.digest,
            "document": store.extraction,
            "dim": store.features.shape[1],
            "scores": {},
        }
        for name, store in zip(names, (first, second), strict=True)
    ][: 1 if same else 2]
    about = [*about_the_choice(heads), *about_perfection(heads, len(protocol.test))]
    comparison = dataclasses.replace(
        comparison,
        heads=heads,
        best=best.head.name,
        best_backbone=best.backbone,
        backbones=stores,
        extraction={"digest": best.data.digest, "document": best.data.extraction},
        warnings=list(dict.fromkeys([*comparison.warnings, *about])),
    )
    return comparison, dataclasses.replace(outcome, entries=entries)
