"""The comparison itself: tune on the training images, score once on the test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.core.label_results import LabelComparison, LabelInsights
from headstart.core.records import FeatureSet
from headstart.core.remarks import without
from headstart.core.results import LearningCurve
from headstart.evaluation import multilabel_curve
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.identity import inputs_digest, provenance
from headstart.evaluation.compare.insights import describe_duplicates
from headstart.evaluation.compare.multilabel import description, label_issues, remarks, scoring
from headstart.evaluation.compare.multilabel.division import divide, label_sets, plain
from headstart.evaluation.compare.multilabel.label_issues import Suspect
from headstart.evaluation.compare.multilabel.training import LabelEntry, LabelTrainer, head_names
from headstart.evaluation.compare.stage import (
    about_disk,
    about_other_features,
    about_weights,
    describe_backbone,
)
from headstart.evaluation.compare.start import Start, starting
from headstart.evaluation.duplicates import Duplicates
from headstart.evaluation.group_answers import Grouping, paths_of
from headstart.evaluation.splits import Protocol
from headstart.heads import MEAN, multilabel
from headstart.heads.multilabel.label_set import LabelSet


@dataclass(frozen=True)
class LabelOutcome:
    """The fitted heads, in the order of the results, and the rows behind a comparison."""

    entries: list[LabelEntry]
    protocol: Protocol
    duplicates: Duplicates
    suspects: list[Suspect]
    grouping: Grouping | None = None

    @property
    def best(self) -> LabelEntry:
        """The head that cross-validation chose."""
        return self.entries[0]


def count_steps(stores: Sequence[FeatureSet], config: CompareConfig) -> int:
    """Return how many steps `compare` has: one a head, and four more."""
    return 4 + len(head_names(config)) * len(stores)


def compare(
    stores: Sequence[FeatureSet],
    config: CompareConfig,
    named_groups: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
    step: Callable[[str], None] = lambda name: None,
    chosen: Callable[[str], None] = lambda digest: None,
) -> tuple[LabelComparison, LabelOutcome]:
    """Do what `headstart.evaluation.compare.stage.compare` does, with several labels an image."""
    with starting(stores, config, step) as start:
        return _compare(start, stores, config, named_groups or {}, progress, step, chosen)


def _compare(
    start: Start,
    stores: Sequence[FeatureSet],
    config: CompareConfig,
    named_groups: Mapping[str, str],
    progress: Callable[[str], None] | None,
    step: Callable[[str], None],
    chosen: Callable[[str], None],
) -> tuple[LabelComparison, LabelOutcome]:
    duplicates = start.duplicates
    data, protocol = divide(start.data, duplicates, named_groups, config)
    named = {name: with_labels(store, data) for name, store in start.named.items()}
    trainer = LabelTrainer.of(data, protocol, config, progress, step)
    if len(stores) == 1:
        chosen(data.digest)
    entries, training = trainer.search(named)
    best = entries[0]
    if len(stores) > 1:
        chosen(best.data.digest)
    step("doubtful labels")
    suspects = label_issues.find(best, protocol)
    step("learning curve")
    curve = _learning_curve(entries, training)
    step("baselines")
    test = scoring.HeldOut.of(data, protocol, config.seed)
    heads = scoring.score_heads(entries, test)
    simple = trainer.baselines(data)
    baselines = scoring.score_baselines(simple, test)
    grouping = scores = None
    if named_groups:
        grouping = Grouping.of(paths_of(data, protocol.test), named_groups, config.group_answer)
        scores = scoring.score_groups(entries, heads, test, grouping)
    conflicts = description.label_conflicts(data, duplicates)
    comparison = LabelComparison(
        dataset=description.describe_dataset(data, protocol),
        extraction={"digest": best.data.digest, "document": best.data.extraction},
        protocol=description.describe_protocol(data, protocol, config),
        heads=heads,
        baselines=baselines,
        best=best.head.name,
        best_backbone=best.backbone,
        backbones=[describe_backbone(name, named[name], {}) for name in named],
        insights=LabelInsights(
            duplicates=description.with_conflicts(
                describe_duplicates(data, duplicates, protocol), data, conflicts
            ),
            label_errors=label_issues.describe(suspects, best, protocol),
            co_occurrence=_co_occurrence(data),
            learning_curve=curve,
            remarks=without(remarks.remarks_on(data, protocol, heads, baselines), config.ignore),
            group_answers=scores,
        ),
        warnings=without(
            [
                *about_weights(stores),
                *about_disk(named),
                *start.about_alignment,
                *protocol.warnings,
                *about_other_features({name: plain(store) for name, store in named.items()}),
                *description.about_conflicts(data, conflicts),
                *scoring.about_the_choice(heads),
            ],
            config.ignore,
        ),
        provenance=provenance(
            inputs_digest(stores, config, named_groups), dict(zip(named, stores, strict=True))
        ),
        conclusion=scoring.conclude(heads, test),
    )
    return comparison, LabelOutcome(entries, protocol, duplicates, suspects, grouping)


def with_labels(store: FeatureSet, data: FeatureSet) -> FeatureSet:
    """Return a store with the labels that can be learned."""
    return dataclasses.replace(store, classes=data.classes, label_sets=data.label_sets)


def _learning_curve(entries: Sequence[LabelEntry], training: LabelSet) -> LearningCurve:
    """Return the curve of the best head that is no mean of others, on the best backbone."""
    own = [entry for entry in entries if entry.backbone == entries[0].backbone]
    best = next(entry for entry in own if entry.head.name != MEAN)
    (family,) = multilabel.by_name([best.head.name])
    return multilabel_curve.learning_curve(
        training,
        lambda part: family.answers(best.head.params, part),
        best.head.name,
        best.backbone,
    )


def _co_occurrence(data: FeatureSet) -> list[list[int]]:
    present = (label_sets(data) > 0).astype(np.int64)
    counts: list[list[int]] = (present.T @ present).tolist()
    return counts
