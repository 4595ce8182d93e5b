"""Scores of one answer for each group of images."""

import csv
import io

import numpy as np
import pytest
from headstart.core.errors import InputError
from headstart.evaluation.group_answers import (
    Grouping,
    ImageAnswers,
    Scored,
    label_table,
    score,
    score_labels,
    table,
)

CLASSES = ("bark", "cloth")


def grouping(codes, answer="mean"):
    paths = [f"{row}.png" for row in range(len(codes))]
    named = {path: f"p{code}" for path, code in zip(paths, codes, strict=True) if code >= 0}
    return Grouping.of(paths, named, answer)


def answers(first, title="head", known=True):
    """Answers whose probability of the first class is ``first``."""
    scores = np.column_stack([first, 1 - np.array(first)])
    predicted = scores.argmax(axis=1)
    return ImageAnswers.of_classes(title, scores if known else None, predicted, 2)


def test_groups_are_scored_and_their_images_beside_them():
    true = np.array([0, 0, 0, 1, 1, 1])
    result = score(
        grouping([0, 0, 0, 1, 1, -1]), true, [answers([0.9, 0.4, 0.6, 0.4, 0.9, 0.1])], CLASSES
    )
    assert (result.groups, result.images, result.single) == (3, 6, 1)
    (own,) = result.scores
    assert own.accuracy == pytest.approx(2 / 3)
    assert own.image_accuracy == pytest.approx(4 / 6)
    assert own.accuracy_ci[0] < own.accuracy < own.accuracy_ci[1]
    (error,) = result.errors
    assert (error.group, error.images, error.true, error.predicted) == ("p1", 2, "cloth", "bark")


def test_groups_of_several_labels_or_of_training_images_are_not_scored():
    true, own = np.array([0, 1, 1, 1]), answers([0.9, 0.1, 0.2, 0.3])
    leaked = np.array([False, False, False, True])
    result = score(grouping([0, 0, 1, 2]), true, [own], CLASSES, Scored(leaked=leaked))
    assert (result.groups, result.contradicting, result.leaked) == (1, 1, 1)
    nothing = score(grouping([0, 0]), true[:2], [answers([0.9, 0.1])], CLASSES)
    assert (nothing.groups, nothing.scores) == (0, [])


def test_a_second_head_is_compared_on_the_same_groups():
    true = np.repeat([0, 1], 40)
    codes = np.arange(80) // 2
    right, wrong = np.where(true == 0, 0.9, 0.1), np.where(true == 0, 0.9, 0.8)
    result = score(grouping(codes), true, [answers(right), answers(wrong, "other")], CLASSES)
    assert [row.accuracy for row in result.scores] == [1, 0.5]
    assert result.scores[1].difference == -0.5
    assert result.scores[1].p < 0.001
    assert result.scores[0].p is None


def test_related_groups_widen_the_interval():
    true = np.zeros(60, int)
    own = answers(np.where(np.arange(60) < 30, 0.9, 0.1))
    related = np.arange(60) // 10
    plain, wide = (
        score(grouping(np.arange(60)), true, [own], CLASSES, Scored(related=of))
        .scores[0]
        .accuracy_ci
        for of in (None, related)
    )
    assert wide[0] < plain[0]
    assert wide[1] > plain[1]


def test_without_probabilities_the_images_vote():
    true = np.zeros(3, int)
    plain = answers([0.9, 0.8, 0.1], known=False)
    with pytest.raises(InputError, match="vote"):
        score(grouping([0, 0, 0]), true, [plain], CLASSES)
    assert score(grouping([0, 0, 0], "vote"), true, [plain], CLASSES).scores[0].accuracy == 1


def test_an_ungrouped_image_is_not_mixed_up_with_a_group_of_its_name():
    own = Grouping.of(["a", "b"], {"b": "a"})
    assert own.codes.tolist() == [0, 1]


def test_a_label_on_which_the_images_of_a_group_differ_is_not_scored_there():
    labels = np.array([[1, 0], [1, 1], [0, 1], [-1, 1]] * 5, np.int8)
    codes = np.repeat(np.arange(10), 2)
    scores = np.where(labels > 0, 0.9, 0.1)
    own = ImageAnswers("head", scores, scores >= 0.5, np.array([0.5, 0.5]))
    result = score_labels(grouping(codes), labels, [own], 0)
    assert (result.groups, result.images, result.contradicting) == (10, 20, 5)
    assert result.scores[0].map == pytest.approx(1)
    assert result.scores[0].subset_accuracy == 1
    rows = list(csv.DictReader(io.StringIO(label_table(grouping(codes), labels, own, ["a", "b"]))))
    assert [row["true"] for row in rows[:2]] == ["a", "b"]


def test_the_table_has_a_row_for_each_group():
    true = np.array([0, 0, 0, 1])
    text = table(grouping([0, 0, 1, 1]), true, answers([0.9, 0.9, 0.2, 0.2]), CLASSES)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["group"] for row in rows] == ["p0", "p1"]
    assert [(row["images"], row["true"], row["correct"]) for row in rows] == [
        ("2", "bark", "true"),
        ("2", "", ""),
    ]
    assert float(rows[0]["p:bark"]) == pytest.approx(0.9)
