"""Comparison of a fine-tuned network with heads for several labels on the frozen one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from headstart.core.label_results import LabelComparison
from headstart.core.records import FeatureSet
from headstart.core.remarks import without
from headstart.core.rows import take
from headstart.evaluation.compare.alignment import beside_tuned
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.multilabel import remarks, scoring
from headstart.evaluation.compare.multilabel.stage import LabelOutcome, compare, with_labels
from headstart.evaluation.compare.multilabel.training import LabelEntry, LabelTrainer
from headstart.evaluation.compare.network import NAME, TITLE, TunedNetwork
from headstart.evaluation.compare.stage import describe_backbone
from headstart.heads.multilabel.trained import TrainedWeights


def compare_tuned(
    frozen: FeatureSet,
    tuned: FeatureSet,
    network: TunedNetwork,
    config: CompareConfig,
    progress: Callable[[str], None] | None = None,
    named_groups: Mapping[str, str] | None = None,
) -> tuple[LabelComparison, LabelOutcome]:
    """Do what `headstart.evaluation.compare.finetuned.compare_tuned` does, with several labels.

    The network is calibrated, and its thresholds are chosen, on the validation split, as those of
    heads are; all are ranked by macro average precision there.
    """
    names, stores = beside_tuned(frozen, tuned)
    comparison, outcome = compare(stores[:1], config, named_groups, progress)
    data = outcome.best.data
    stores = [with_labels(store, data) for store in stores]
    entries = [dataclasses.replace(entry, backbone=names[0]) for entry in outcome.entries]
    entries.append(_entry(names[-1], stores[-1], network, outcome, config))
    entries.sort(key=lambda entry: -entry.head.cv_score)
    test = scoring.HeldOut.of(data, outcome.protocol, config.seed)
    heads, best = scoring.score_heads(entries, test), entries[0]
    about = remarks.remarks_on(data, outcome.protocol, heads, comparison.baselines)
    groups = None
    if outcome.grouping is not None:
        groups = scoring.score_groups(entries, heads, test, outcome.grouping)
    about_choice = without(scoring.about_the_choice(heads), config.ignore)
    comparison = dataclasses.replace(
        comparison,
        heads=heads,
        best=best.head.name,
        best_backbone=best.backbone,
        extraction={"digest": best.data.digest, "document": best.data.extraction},
        backbones=[describe_backbone(*pair, {}) for pair in zip(names, stores, strict=True)],
        insights=dataclasses.replace(
            comparison.insights, remarks=without(about, config.ignore), group_answers=groups
        ),
        warnings=list(dict.fromkeys([*comparison.warnings, *about_choice])),
        conclusion=scoring.conclude(heads, test),
    )
    return comparison, dataclasses.replace(outcome, entries=entries)


def _entry(
    name: str,
    store: FeatureSet,
    network: TunedNetwork,
    outcome: LabelOutcome,
    config: CompareConfig,
) -> LabelEntry:
    protocol = outcome.protocol
    trainer = LabelTrainer.of(store, protocol, config, None, lambda step: None)
    training = trainer.training_set(take(store.features, protocol.train), store)
    own = network.rows_of(store.classes)
    weights = TrainedWeights(
        name=NAME, title=TITLE, weight=network.weight[own], bias=network.bias[own]
    )
    head = dataclasses.replace(
        weights.search(training), params=network.facts, seconds=network.seconds, grid=[]
    )
    return trainer.entry(name, store, take(store.features, protocol.test), head)
