"""Label errors: known ones are found, whatever the classes look like."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.evaluation import label_errors
from hypothesis import given
from hypothesis import strategies as st


def probabilities(true, k, confidence, seed=0):
    """Return predictions that favour the true class with a margin that varies."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(true), k))
    logits[np.arange(len(true)), true] += confidence
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)


def test_flipped_labels_are_found_ranked_and_named():
    true = np.arange(300) % 5
    given_labels = true.copy()
    given_labels[:15] = (true[:15] + 1) % 5
    found = label_errors.find(given_labels, probabilities(true, 5, 8.0))
    assert set(range(15)) <= set(found.suspects.tolist())
    assert (found.chance[:15] > 0.8).all()
    assert found.rate == pytest.approx(15 / 300, abs=0.02)
    assert found.highest[:15].min() >= found.chance[:15].min()
    assert found.suggested[:15].tolist() == true[:15].tolist()
    assert (np.diff(found.quality[found.suspects]) >= 0).all()
    assert found.quality[:15].max() < found.quality[15:].min()
    assert (found.suggested != given_labels).all()


def test_right_labels_give_no_suspects():
    true = np.arange(300) % 5
    assert len(label_errors.find(true, probabilities(true, 5, 12.0)).suspects) == 0


def test_codes_may_have_gaps_and_quality_is_the_probability_of_the_label():
    codes = np.array([2, 5, 9])
    true = np.arange(90) % 3
    shares = np.zeros((90, 12))
    shares[:, codes] = probabilities(true, 3, 5.0)
    labels = codes[true]
    labels[0] = codes[1]
    found = label_errors.find(labels, shares)
    assert found.suspects.tolist() == [0]
    assert found.suggested[0] == 2
    assert found.quality.argmin() == 0
    assert set(found.suggested) <= set(codes.tolist())


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(2, 40))
def test_any_labels_and_predictions_are_taken(seed, k, n):
    rng = np.random.default_rng(seed)
    labels = np.r_[np.arange(k), rng.integers(k, size=n)]
    found = label_errors.find(labels, rng.dirichlet(np.full(k, 0.3), size=len(labels)))
    assert len(set(found.suspects.tolist())) == len(found.suspects)
    assert ((found.quality >= 0) & (found.quality <= 1)).all()
    assert (found.suggested != labels).all()


def test_two_images():
    found = label_errors.find(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert found.suggested.tolist() == [1, 0]


@pytest.mark.slow
def test_hard_images_are_no_errors():
    true = np.arange(2000) % 5
    rng = np.random.default_rng(1)
    shares = probabilities(true, 5, 1.5)
    labels = np.array([rng.choice(5, p=row) for row in shares])  # calibrated by construction
    found = label_errors.find(labels, shares)
    assert found.chance.sum() < 0.02 * len(labels)
    assert {found.tier(row) for row in found.suspects[20:]} == {label_errors.HARD}


@pytest.mark.slow
def test_the_expected_errors_are_those_there_are():
    true = np.arange(3000) % 5
    rng = np.random.default_rng(2)
    shares = probabilities(true, 5, 4.0)
    labels = np.array([rng.choice(5, p=row) for row in shares])
    wrong = rng.random(3000) < 0.05
    labels[wrong] = (labels[wrong] + rng.integers(1, 5, wrong.sum())) % 5
    found = label_errors.find(labels, shares)
    listed = [row for row in found.suspects if found.tier(row) != label_errors.HARD]
    assert found.chance[listed].sum() == pytest.approx(wrong[listed].sum(), rel=0.25)
    top = [row for row in listed if found.tier(row) == label_errors.TIERS[0][0]]
    assert wrong[top].mean() > 0.8


def test_ridge_scores_are_scikit_learns():
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import normalize

    rng = np.random.default_rng(0)
    for width in (8, 80):
        unit, labels = normalize(rng.random((60, width))), np.arange(60) % 3
        fit, held_out = np.arange(40), np.arange(40, 60)
        scores = label_errors.ridge_scores(unit, labels, [(fit, held_out)], 3)
        model = Ridge(alpha=1.0).fit(unit[fit], np.eye(3)[labels[fit]])
        assert scores[held_out] == pytest.approx(model.predict(unit[held_out]))
        assert np.isnan(scores[fit]).all()


def test_classes_confused_both_ways_are_named():
    true = np.arange(400) % 4
    shares = probabilities(true, 4, 6.0)
    labels = true.copy()
    pair = np.flatnonzero(true < 2)
    labels[pair[::3]] = 1 - labels[pair[::3]]
    found = label_errors.find(labels, shares)
    (first, second, there, back), *rest = label_errors.confused_both_ways(labels, found)
    assert (first, second, rest) == (0, 1, [])
    assert min(there, back) > 10


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(0, 40), st.floats(0, 6))
def test_confident_learning_suspects_what_cleanlab_does(seed, k, n, confidence):
    from cleanlab.filter import find_label_issues

    rng = np.random.default_rng(seed)
    labels = np.r_[np.arange(k), rng.integers(k, size=n)]
    shares = probabilities(rng.permutation(labels), k, confidence, seed)
    expected = find_label_issues(
        labels,
        shares,
        filter_by="low_self_confidence",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    assert label_errors.suspects_of(labels, shares).tolist() == expected.tolist()


def test_labels_of_an_image_are_suspected_as_by_cleanlabs_tool_for_several_labels():
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class

    rng = np.random.default_rng(0)
    chances = 1 / (1 + np.exp(-(rng.normal(size=(600, 3)) * 5 + [-2, 0, 2])))
    labels = rng.random(chances.shape) < chances
    labels ^= rng.random(labels.shape) < 0.04
    theirs, *_ = find_multilabel_issues_per_class(
        [np.flatnonzero(row).tolist() for row in labels],
        chances,
        filter_by="low_self_confidence",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    for label, rows in enumerate(theirs):
        p = chances[:, label]
        ours = label_errors.suspects_of(labels[:, label].astype(int), np.stack([1 - p, p], axis=1))
        assert set(ours) == {int(row) for row in rows}
