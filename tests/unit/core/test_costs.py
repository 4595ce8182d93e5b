"""Tables of costs, and the answers that cost least."""

import numpy as np
import pytest
from headstart.core import costs
from headstart.core.errors import InputError

CLASSES = ("bark", "cloth", "drain")
TABLE = "true,drain,cloth,bark\nbark,10,1,0\ncloth,1,0,1\ndrain,0,1,1\n"


def test_rows_and_columns_may_come_in_any_order(tmp_path):
    path = tmp_path / "costs.csv"
    path.write_text(TABLE)
    assert costs.read(path, CLASSES).matrix.tolist() == [[0, 1, 10], [1, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize("separator", [";", "\t", ", "])
def test_spreadsheets_may_separate_by_other_characters(tmp_path, separator):
    path = tmp_path / "costs.csv"
    path.write_text(TABLE.replace(",", separator) + "\n")
    assert costs.read(path, CLASSES).matrix.tolist() == [[0, 1, 10], [1, 0, 1], [1, 1, 0]]


def test_a_negative_cost_is_a_gain():
    table = costs.Costs(np.array([[0, 1], [1, -5]], float))
    assert table.decide(np.array([[0.7, 0.3], [0.9, 0.1]])).tolist() == [1, 0]


def test_the_answer_has_the_least_expected_cost():
    table = costs.Costs(np.array([[0, 1, 10], [1, 0, 1], [1, 1, 0]], float))
    probabilities = np.array([[0.2, 0.3, 0.5], [0.0, 0.1, 0.9], [0.4, 0.4, 0.2]], np.float32)
    codes = table.decide(probabilities)
    expected = probabilities.astype(float) @ table.matrix
    assert codes.tolist() == expected.argmin(axis=1).tolist() == [1, 2, 0]


def test_equal_costs_leave_the_most_probable_class():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 200)
    table = costs.Costs(1 - np.eye(4))
    assert (table.decide(probabilities) == probabilities.argmax(axis=1)).all()
    assert (costs.Costs(np.zeros((4, 4))).decide(probabilities) == probabilities.argmax(1)).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TABLE.replace("drain,0,1,1\n", ""), "no row for the class drain"),
        (TABLE.replace("true,drain", "true,oak"), "no column for the class drain"),
        (TABLE + "oak,1,1,1\n", "no class oak"),
        (TABLE + "bark,1,1,1\n", "more than one row"),
        (TABLE.replace("10", "much"), "no number"),
        (TABLE.replace("drain,0,1,1", "drain,0,1"), "no number"),
        (TABLE.replace("10", "inf"), "no number"),
        (TABLE.replace("10,1,0", "10,1,0,0"), "bark has 4 costs, for 3 classes"),
        (TABLE.replace("10", "nan"), "no number"),
        ("", "no table of costs"),
        ("\0\0true", "no table of costs"),
    ],
)
def test_a_table_that_is_not_whole_is_refused(tmp_path, text, words):
    path = tmp_path / "costs.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        costs.read(path, CLASSES)
    with pytest.raises(InputError, match="cannot read"):
        costs.read(tmp_path / "missing.csv", CLASSES)
