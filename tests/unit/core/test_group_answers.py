"""One answer for a group of images."""

import numpy as np
import pytest
from headstart.core.group_answers import FLOOR, Pool, evidence_of


def pool(probabilities, codes, several=False, thresholds=0.5):
    scores = np.array(probabilities)
    chosen = (
        scores >= thresholds if several else np.eye(scores.shape[1], dtype=bool)[scores.argmax(1)]
    )
    return Pool.of(scores, chosen, np.array(codes), several)


def test_the_mean_of_log_probabilities_is_the_geometric_mean_of_the_images():
    scores = [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.25, 0.25]]
    own = pool(scores, [0, 0, 1])
    expected = np.sqrt(np.prod(scores[:2], axis=0))
    first, second = own.probabilities("mean")
    assert first == pytest.approx(expected / expected.sum())
    assert second == pytest.approx(scores[2])
    assert own.classes("mean").tolist() == [1, 0]


def test_one_image_rules_no_class_out():
    sure, doubtful = [1.0, 0.0], [[0.1, 0.9]] * 10
    own = pool([sure, *doubtful], [0] * 11)
    assert own.classes("mean").tolist() == [1]
    assert 0 < own.probabilities("mean")[0, 0] < 1
    assert evidence_of(np.array([0.0]), several=False) == pytest.approx(np.log(FLOOR))


def test_votes_are_counted_and_the_mean_decides_among_equal_ones():
    own = pool([[0.55, 0.45, 0], [0.01, 0.99, 0], [0.2, 0.2, 0.6], [0.3, 0.1, 0.6]], [0, 0, 1, 1])
    assert own.probabilities("vote").tolist() == [[0.5, 0.5, 0], [0, 0, 1]]
    assert own.classes("vote").tolist() == [1, 2]


def test_labels_of_a_group_are_those_whose_mean_log_odds_reach_the_threshold():
    thresholds = np.array([0.5, 0.3])
    own = pool([[0.9, 0.3], [0.2, 0.3], [0.4, 0.31]], [0, 0, 1], True, thresholds)
    odds = np.sqrt(0.9 / 0.1 * 0.2 / 0.8)
    assert own.probabilities("mean")[0] == pytest.approx([odds / (1 + odds), 0.3])
    assert own.labels("mean", thresholds).tolist() == [[True, True], [False, True]]
    # Of two images one has the first label, and the mean decides.
    assert own.labels("vote", thresholds).tolist() == [[True, True], [False, True]]
    assert own.labels("vote", np.array([0.7, 0.3]))[0].tolist() == [False, True]
