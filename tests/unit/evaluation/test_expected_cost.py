"""What answers cost, and what deciding by expected cost saves."""

import numpy as np
import pytest
from headstart.core.costs import Costs
from headstart.evaluation.expected_cost import measure

TABLE = Costs(np.array([[0.0, 10.0], [1.0, 0.0]]))


def test_the_saving_is_that_of_the_classes_of_least_expected_cost():
    probabilities = np.array([[0.2, 0.8], [0.05, 0.95], [0.9, 0.1], [0.2, 0.8]] * 10)
    true = np.array([0, 1, 0, 1] * 10)
    scores = measure(TABLE, true, probabilities.argmax(axis=1), probabilities)
    assert scores.cost == pytest.approx(10 / 4)  # the first of four is taken for the second class
    assert scores.decided == pytest.approx(1 / 4)  # a fifth is enough to answer the first class
    assert scores.saved == pytest.approx(scores.cost - scores.decided)
    assert scores.saved_ci[0] < scores.saved < scores.saved_ci[1]
    assert scores.accuracy == 0.75
    worth = measure(TABLE, true, probabilities.argmax(axis=1), probabilities, worth=0.5)
    assert worth.saved_ci[0] < scores.saved_ci[0]


def test_without_probabilities_only_the_cost_is_known():
    scores = measure(TABLE, np.array([0, 1]), np.array([1, 1]), None)
    assert (scores.cost, scores.saved) == (5, None)
