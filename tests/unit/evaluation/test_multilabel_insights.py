"""What labels tell: `headstart.evaluation.multilabel_insights`."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
from headstart.evaluation import multilabel_insights as insights
from headstart.heads import multilabel
from headstart.heads.multilabel.label_set import LabelSet


def noisy(n: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, calibrated probabilities, and which labels are wrong: 4 %."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(n, 3)) * 5 + [-2, 0, 2]
    chances = 1 / (1 + np.exp(-scores))
    labels = (rng.random(chances.shape) < chances).astype(np.int8)
    wrong = rng.random(labels.shape) < 0.04
    return np.where(wrong, 1 - labels, labels).astype(np.int8), chances, wrong


def test_wrong_labels_of_an_image_come_first() -> None:
    labels, chances, wrong = noisy()
    doubtful = insights.doubtful_labels(labels, chances)
    likely = [each for each in doubtful if each.chance >= 0.5]
    assert len(likely) > 15
    assert np.mean([wrong[each.row, each.label] for each in likely]) > 0.7
    assert all(each.present == labels[each.row, each.label] for each in doubtful)
    assert [each.chance for each in doubtful] == sorted((e.chance for e in doubtful), reverse=True)


def test_the_doubtful_contain_what_cleanlab_suspects_of_several_labels() -> None:
    labels, chances, _ = noisy()
    ours = {(each.row, each.label) for each in insights.doubtful_labels(labels, chances)}
    suspects, *_ = find_multilabel_issues_per_class(
        [np.flatnonzero(row).tolist() for row in labels],
        chances,
        filter_by="low_self_confidence",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    for label, rows in enumerate(suspects):
        assert {(int(row), label) for row in rows} <= ours


def test_unknown_and_constant_labels_are_not_judged() -> None:
    labels, chances, _ = noisy(100)
    labels[:, 0], labels[50:, 1] = 0, -1
    doubtful = insights.doubtful_labels(labels, chances)
    assert all(each.label > 0 and (each.label == 2 or each.row < 50) for each in doubtful)


def test_labels_that_always_occur_together() -> None:
    labels = np.random.default_rng(0).integers(0, 2, (40, 4)).astype(np.int8)
    labels[:, 3] = labels[:, 1]
    labels[:5, 3] = -1
    assert insights.always_together(labels) == [(1, 3)]
    counts = insights.co_occurrence(labels)
    assert counts[1, 3] == counts[3, 3]
    assert counts[0, 2] == ((labels[:, 0] == 1) & (labels[:, 2] == 1)).sum()


def test_duplicates_with_other_labels() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 0], [1, -1]], np.int8)
    assert insights.conflicts(labels, np.array([0, 0, 1, 0])) == [(0, 1, [1])]


@pytest.mark.parametrize("name", ["logistic-regression", "knn"])
def test_more_images_give_a_better_curve(name: str) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 20)).astype(np.float32)
    labels = (rows[:, :3] + 0.5 * rng.normal(size=(400, 3)) > [0, 0.5, 1]).astype(np.int8)
    data = LabelSet(rows, labels, np.arange(400) % 5)
    [family] = multilabel.by_name([name])
    params = {"C": 10.0} if name == "logistic-regression" else {"n_neighbors": 10, "gamma": 5.0}
    curve = insights.learning_curve(data, lambda part: family.answers(params, part), name)
    assert len(curve.points) >= 4
    assert curve.points[-1].accuracy > curve.points[0].accuracy
    for point in curve.points:
        assert point.accuracy_ci[0] <= point.accuracy <= point.accuracy_ci[1]
    assert curve.doubling is not None
    assert curve.doubling.images == 800
