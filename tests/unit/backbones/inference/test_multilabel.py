"""What int8 loses where images have several labels: by mean average precision and its interval."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from headstart import datasets
from headstart.backbones.inference import multilabel
from headstart.backbones.inference.precision_budget import Budget, Drift
from headstart.backbones.inference.precision_choice import fitting
from headstart.core.errors import BackboneError
from headstart.core.records import ImageRef, LabelSet
from headstart.core.targets import MULTI_LABEL
from sklearn.metrics import average_precision_score

NAMES = ("red", "green", "blue", "grey")


def sample(count, noise=0.8, seed=0):
    """Return images with several labels each, and features that tell them with some noise."""
    rng = np.random.default_rng(seed)
    present = rng.random((count, len(NAMES))) < 0.35
    refs = [
        ImageRef(f"{n}.png", None, "", LabelSet(tuple(np.array(NAMES)[row])))
        for n, row in enumerate(present)
    ]
    axes = rng.normal(size=(len(NAMES), 16))
    features = present @ axes + rng.normal(scale=noise, size=(count, 16)) * len(NAMES)
    return refs, features.astype(np.float32), rng


def test_equal_features_lose_nothing():
    refs, features, _ = sample(120)
    loss = multilabel.compare([features, 3 * features], refs, 1)
    assert loss.images == 120
    assert loss.before == loss.after
    assert loss.error == 0
    assert 0.5 < loss.before < 1


def test_a_loss_beyond_chance_is_outside_of_the_budget():
    refs, features, rng = sample(240)
    blind = rng.normal(size=features.shape).astype(np.float32)
    for other, inside in ((blind, False), (features + 0.02 * blind, True)):
        loss = multilabel.compare([features, other], refs, 1)
        drift = Drift(240, 1.0, 1.0, loss.images, loss.before, loss.after, False, "", loss.error)
        assert drift.within(Budget()) == inside
        assert loss.error > 0


def test_the_standard_error_is_that_of_other_images():
    losses, errors = [], []
    for seed in range(12):
        refs, features, rng = sample(150, seed=seed)
        worse = features + rng.normal(scale=4, size=features.shape).astype(np.float32)
        loss = multilabel.compare([features, worse], refs, 1)
        losses.append(100 * (loss.before - loss.after))
        errors.append(loss.error)
    assert np.mean(errors) == pytest.approx(np.std(losses), rel=0.5)


def test_the_score_is_scikit_learns_in_each_division():
    rng = np.random.default_rng(0)
    labels = (rng.random((40, 3)) < 0.4).astype(np.int8)
    values = rng.normal(size=(2, 40, 3))
    expected = np.mean([average_precision_score(labels, each) for each in values])
    assert multilabel.score(labels, values) == pytest.approx(expected)
    labels[:, 1] = 0  # no image has it
    expected = np.mean(
        [average_precision_score(labels[:, [0, 2]], each[:, [0, 2]]) for each in values]
    )
    assert multilabel.score(labels, values) == pytest.approx(expected)


def test_images_and_labels_of_which_nothing_is_known():
    refs, features, _ = sample(120)
    bare = [dataclasses.replace(ref, labels=None) for ref in refs]
    assert multilabel.compare([features, features], bare, 1) is None
    loss = multilabel.compare([features, features], [*refs[:100], *bare[100:]], 1)
    assert loss == multilabel.compare([features[:100], features[:100]], refs[:100], 1)
    doubted = [
        dataclasses.replace(ref, labels=LabelSet(ref.labels.present, ("rare",))) for ref in refs
    ]
    assert multilabel.compare([features, features], doubted, 1).before == (
        multilabel.compare([features, features], refs, 1).before
    )


def test_rare_labels_count_for_nothing():
    refs, features, _ = sample(120)
    odd = [
        dataclasses.replace(ref, labels=LabelSet((*ref.labels.present, f"own {n % 60}")))
        for n, ref in enumerate(refs)
    ]
    loss = multilabel.compare([features, features], odd, 1)
    assert loss.before == multilabel.compare([features, features], refs, 1).before
    alone = [dataclasses.replace(ref, labels=LabelSet(ref.labels.present[:1])) for ref in refs[:4]]
    assert multilabel.compare([features[:4], features[:4]], alone, 1) is None


def test_features_that_are_not_finite():
    refs, features, _ = sample(40)
    broken = features.copy()
    broken[3, 2] = np.inf
    assert multilabel.compare([features, broken], refs, 1) is None


@pytest.fixture
def listing(image_folder):
    """Give images with the labels bark or cloth, and odd for every other one."""
    listing = datasets.open_source(str(image_folder(per_class=20)))
    images = [
        dataclasses.replace(
            ref, label=None, labels=LabelSet((ref.label, "odd") if n % 2 else (ref.label,))
        )
        for n, ref in enumerate(listing.images)
    ]
    classes = (*listing.classes, "odd")
    return dataclasses.replace(listing, images=images, classes=classes, target=MULTI_LABEL)


def test_int8_is_judged_by_mean_average_precision(tiny_backbone, listing):
    lines = []
    _, facts = fitting(tiny_backbone, "int8", listing, Budget(loss=30), notice=lines.append)
    drift = facts["drift"]
    assert drift["score"] == "mean average precision"
    assert drift["labelled"] == drift["images"]
    assert 0 < drift["accuracy"] <= 1
    assert drift["accuracy_loss_points"] is not None
    assert "; mean average precision of logistic regression " in lines[-1]
    # Other labels of the same images are measured anew.
    swapped = [
        dataclasses.replace(ref, labels=LabelSet(("odd",) if n % 3 else ("bark", "cloth")))
        for n, ref in enumerate(listing.images)
    ]
    other = dataclasses.replace(listing, images=swapped)
    _, again = fitting(tiny_backbone, "int8", other, Budget(loss=100))
    assert again["precision"] == facts["precision"]
    assert again["drift"]["labels"] != drift["labels"]


def test_outside_of_the_budget_both_figures_are_said(tiny_backbone, listing):
    match = r"mean average precision of .*; allowed: .* points of mean average precision lost bey"
    with pytest.raises(BackboneError, match=match):
        fitting(tiny_backbone, "int8", listing, Budget(drift=0.0))
