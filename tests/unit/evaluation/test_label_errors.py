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
    assert sorted(found.suspects) == list(range(15))
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
    assert found.quality == pytest.approx(shares[np.arange(90), labels])
    assert set(found.suggested) <= set(codes.tolist())


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
