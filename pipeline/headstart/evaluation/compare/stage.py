"""The comparison itself: tune on the training images, score once on the test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.core import remarks
from headstart.core.costs import Costs
from headstart.core.names import warning_about
from headstart.core.parallel import run_beside
from headstart.core.records import FeatureSet
from headstart.core.results import Comparison, Insights, Remark
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.division import divide
from headstart.evaluation.compare.identity import inputs_digest, is_streamed, provenance
from headstart.evaluation.compare.insights import (
    HELD_OUT,
    Suspects,
    cost,
    decide,
    decide_for_groups,
    describe_duplicates,
    describe_label_errors,
    find_label_errors,
    learn_curve,
)
from headstart.evaluation.compare.remarks import remark
from headstart.evaluation.compare.scoring import (
    Entry,
    HeldOut,
    about_leakage,
    about_size,
    about_the_choice,
    conclude,
    score_baselines,
    score_groups,
    score_heads,
)
from headstart.evaluation.compare.start import Start, starting
from headstart.evaluation.compare.training import Searched, Trainer
from headstart.evaluation.duplicates import Duplicates
from headstart.evaluation.group_answers import Grouping, paths_of
from headstart.evaluation.splits import (
    Protocol,
    check_features,
    describe_dataset,
    describe_protocol,
)
from headstart.heads import HEADS


@dataclass(frozen=True)
class Outcome:
    """The fitted heads, in the order of `Comparison.heads`, and the rows behind a `Comparison`.

    ``grouping`` are the user's groups of the scored images, None without any.
    """

    entries: list[Entry]
    protocol: Protocol
    duplicates: Duplicates
    suspects: Suspects
    grouping: Grouping | None = None

    @property
    def best(self) -> Entry:
        """The head that cross-validation chose."""
        return self.entries[0]


def compare(
    stores: Sequence[FeatureSet],
    config: CompareConfig,
    named_groups: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
    step: Callable[[str], None] = lambda name: None,
    chosen: Callable[[str], None] = lambda digest: None,
) -> tuple[Comparison, Outcome]:
    """Tune every head by cross-validation on the training images and score it once on the test.

    With several stores, all backbones and heads share images, folds and test split.
    Cross-validation alone chooses the best head, never the test; a paired test compares each other
    head with it, see `score_heads`. The same data and configuration give the same results, except
    for times.

    Args:
        stores: one or more labelled feature sets, of different extractions.
        config: what to compare and how.
        named_groups: the group of an image by its path, for images that must not be divided among
            folds or between training and test: one patient, one scene, one burst.
        progress: called with one line when a head is fitted.
        step: called with the name of each step when it begins; `count_steps` says how many.
        chosen: called with the digest of the best head's features as soon as these are known, with
            one store before the search.

    Returns:
        The record of the comparison, to whose ``provenance`` the caller adds ``created`` and
        ``command``, and the fitted heads.
    """

    def notice(named: Mapping[str, FeatureSet]) -> None:
        for warning in remarks.without(about_disk(named), config.ignore):
            if progress:
                progress(warning.text)

    with starting(stores, config, step, notice) as start:
        return _compare(start, stores, config, named_groups or {}, progress, step, chosen)


def count_steps(stores: Sequence[FeatureSet], config: CompareConfig) -> int:
    """Return how many steps `compare` has: one a head, and four more."""
    return 4 + len(config.heads) * len(stores)


def _compare(
    start: Start,
    stores: Sequence[FeatureSet],
    config: CompareConfig,
    named_groups: Mapping[str, str],
    progress: Callable[[str], None] | None,
    step: Callable[[str], None],
    chosen: Callable[[str], None],
) -> tuple[Comparison, Outcome]:
    named, data, duplicates = start.named, start.data, start.duplicates
    protocol, about_division = divide(data, duplicates, named_groups, config)
    about_data = [*about_weights(stores), *about_disk(named), *start.about_alignment]
    about_data += about_division
    about_data += about_other_features(named)
    test = HeldOut.of(data, protocol, config.seed)
    trainer = Trainer.of(data, protocol, config, progress, step)
    if len(stores) == 1:
        chosen(data.digest)
    searched = trainer.search(named)
    if len(stores) > 1:
        chosen(searched.entries[0].data.digest)
    simple = run_beside(lambda: trainer.baselines(data))
    suspects, insights = _insights(searched, protocol, duplicates, step)
    step("baselines")
    heads = score_heads(searched.entries, test)
    baselines = score_baselines(simple.result(), test)
    about = remark(searched.entries, simple.result(), test, protocol, named_groups or {})
    best = searched.entries[0]
    operating, sets = decide(best, protocol, config.targets)
    grouping = scores = None
    if named_groups:
        grouping = Grouping.of(paths_of(data, protocol.test), named_groups, config.group_answer)
        points, group_sets = decide_for_groups(
            best, protocol, config.targets, named_groups, config.group_answer
        )
        scores = dataclasses.replace(
            score_groups(searched.entries, heads, test, grouping),
            operating_points=points,
            prediction_sets=group_sets,
        )
    costs = None
    if config.costs is not None:
        costs = cost(best, protocol, Costs(np.array(config.costs)), test.worth)
    comparison = Comparison(
        dataset=describe_dataset(data, protocol),
        extraction={"digest": best.data.digest, "document": best.data.extraction},
        protocol=describe_protocol(data, protocol, config)
        | {"class_weight": config.class_weight or "none"},
        heads=heads,
        baselines=baselines,
        best=best.head.name,
        best_backbone=best.backbone,
        backbones=[describe_backbone(name, named[name], searched.scores[name]) for name in named],
        insights=dataclasses.replace(
            insights,
            remarks=remarks.without(about, config.ignore),
            operating_points=operating,
            prediction_sets=sets,
            group_answers=scores,
            costs=costs,
        ),
        warnings=remarks.without(
            [
                *about_data,
                *about_the_choice(heads),
                *about_leakage(heads, test),
                *about_size(best),
            ],
            config.ignore,
        ),
        provenance=provenance(
            inputs_digest(stores, config, named_groups), dict(zip(named, stores, strict=True))
        ),
        conclusion=conclude(heads, test),
    )
    return comparison, Outcome(searched.entries, protocol, duplicates, suspects, grouping)


def describe_backbone(name: str, store: FeatureSet, scores: dict[str, float]) -> dict[str, Any]:
    """Return an entry of the ``backbones`` of ``results.json``."""
    return {
        "backbone": name,
        "digest": store.digest,
        "document": store.extraction,
        "dim": store.features.shape[1],
        "scores": scores,
    }


def _insights(
    searched: Searched,
    protocol: Protocol,
    duplicates: Duplicates,
    step: Callable[[str], None],
) -> tuple[Suspects, Insights]:
    """Return the labels in doubt, and all insights, on the best head's features."""
    best = searched.entries[0]
    rivals = [entry for entry in searched.entries if entry.backbone == best.backbone]
    step("doubtful labels")
    doubtful = run_beside(lambda: find_label_errors(searched.training, protocol, rivals))
    if searched.training.streamed:  # blocks of two readers would take twice the memory
        doubtful.result()
    step("learning curve")
    curve = learn_curve(searched.training, _single(rivals), protocol)
    suspects = doubtful.result()
    return suspects, Insights(
        duplicates=describe_duplicates(best.data, duplicates, protocol),
        label_errors=describe_label_errors(suspects, best.data.classes),
        learning_curve=curve,
    )


def _single(entries: Sequence[Entry]) -> Entry:
    """Return the first entry that one family can fit again."""
    return next(entry for entry in entries if entry.head.name in HEADS)


def about_weights(stores: Sequence[FeatureSet]) -> list[Remark]:
    """Warn of every backbone that was never trained."""
    named = (str(store.extraction.get("backbone", {}).get("name", "")) for store in stores)
    texts = map(warning_about, dict.fromkeys(named))
    return [remarks.remark("HS344", text) for text in texts if text]


def about_disk(stores: Mapping[str, FeatureSet]) -> list[Remark]:
    """Warn of features that stay on disk, and say what that changes."""
    return [
        remarks.remark(
            "HS343",
            f"The features of {len(data.path):,} images by {name} would take"
            f" {data.features.nbytes / 2**20:,.0f} MiB of memory and stay on disk (--stream-above)."
            " Heads read them in blocks or use a sample of the rows; the results say which. Only"
            " images with the same bytes count as duplicates, labels are judged in one round, and"
            f" the learning curve is scored on {HELD_OUT:,} images per draw.",
        )
        for name, data in stores.items()
        if is_streamed(data)
    ]


def about_other_features(stores: Mapping[str, FeatureSet]) -> list[Remark]:
    """Check the features of all stores but the first, which the division has checked."""
    return [
        dataclasses.replace(warning, text=f"{name}: {warning.text}")
        for name, store in list(stores.items())[1:]
        for warning in check_features(store)
    ]
