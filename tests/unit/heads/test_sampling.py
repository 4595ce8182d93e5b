"""Large data: hyper-parameters come from a part of the rows, everything else from all of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from headstart.heads import HEADS, sampling, svm
from headstart.heads.folds import divisions, predefined
from headstart.heads.sampling import tuning_part
from headstart.heads.training_set import TrainingSet
from hypothesis import given
from hypothesis import strategies as st


def training_set(labels, fold, d=8):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(labels.max() + 1, d))
    features = centres[labels] + rng.normal(size=(len(labels), d))
    return TrainingSet(features.astype(np.float32), labels, fold, workers=2)


@pytest.mark.slow
@given(
    st.lists(st.integers(2, 300), min_size=2, max_size=8),
    st.integers(20, 200),
    st.integers(2, 5),
    st.integers(0, 99),
)
def test_every_class_and_fold_keeps_its_share(counts, wanted, folds, seed):
    counts = np.maximum(counts, folds)
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    data = training_set(labels, divisions(labels, folds, seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "ROWS", wanted)
        part = tuning_part(data)
    if len(labels) <= wanted:
        assert part is data
        return
    share = wanted / len(labels)
    kept = np.bincount(part.labels, minlength=len(counts))
    assert (np.abs(kept - np.maximum(counts * share, folds)) <= 1).all()
    # The rows are those of the data, and each is there once.
    where = {row.tobytes(): at for at, row in enumerate(data.features)}
    at = [where[row.tobytes()] for row in part.features]
    assert at == sorted(set(at))
    assert (data.labels[at] == part.labels).all()
    assert (data.fold[:, at] == part.fold).all()
    # What a fold can learn in the data it can learn in the part.
    for number in range(folds):
        inside, whole = (set(one.labels[one.fold[0] != number].tolist()) for one in (part, data))
        assert inside == whole


def test_a_small_validation_split_is_used_whole(monkeypatch):
    monkeypatch.setattr(sampling, "ROWS", 100)
    labels = np.arange(1000) % 4
    held_out = np.zeros(1000, bool)
    held_out[:60] = True
    part = tuning_part(training_set(labels, predefined(held_out)))
    assert (part.fold >= 0).sum() == 60
    assert (part.fold < 0).sum() == 100


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic-regression", "rbf-svm"])
def test_the_choice_is_said_to_be_approximate_and_everything_else_is_of_all_rows(name, monkeypatch):
    monkeypatch.setattr(svm, "MAX_ROWS", 100)
    labels = np.arange(600) % 3
    data = training_set(labels, divisions(labels, 3, 0))
    family = HEADS[name]
    whole = family.search(data)
    monkeypatch.setattr(sampling, "ROWS", 300)
    head = family.search(data)
    assert "chosen on 300 of the rows" in head.approximation
    assert "chosen on" not in whole.approximation
    assert (name == "rbf-svm") == ("Nyström" in head.approximation)
    assert abs(head.cv_accuracy - whole.cv_accuracy) < 0.02
    # The chosen candidate's accuracy is that of all rows, as if the grid had no other.
    changes = {"grid": {"C": (head.params["C"],)}} if "C" in head.params else {}
    if changes:
        monkeypatch.setattr(sampling, "ROWS", 600)
        alone = dataclasses.replace(family, **changes).search(data)
        assert head.cv_accuracy == alone.cv_accuracy
        assert head.out_of_fold == pytest.approx(alone.out_of_fold, abs=1e-6)
    assert head.out_of_fold.shape == (600, 3)
    right = head.out_of_fold.argmax(axis=1) == labels
    assert right.mean() == pytest.approx(head.cv_accuracy, abs=0.01)
    chosen = [one for one in head.grid if one["params"] == head.params]
    assert [each["cv_accuracy"] for each in chosen] == pytest.approx([head.cv_accuracy], abs=0.01)


def test_the_part_depends_on_the_seed_alone(monkeypatch):
    monkeypatch.setattr(sampling, "ROWS", 100)
    labels = np.arange(500) % 5
    data = training_set(labels, divisions(labels, 5, 0))
    one, again = tuning_part(data), tuning_part(dataclasses.replace(data, workers=1))
    other = tuning_part(dataclasses.replace(data, seed=1))
    assert (one.features == again.features).all()
    assert not (one.features == other.features).all()
