"""Scores of finished models, and what changes from one to another."""

import dataclasses

import numpy as np
import pytest
from headstart.core.errors import InputError
from headstart.evaluation.answers import Answers
from headstart.evaluation.assess import assess

CLASSES = ("bark", "cloth", "drain")


def answers(predicted, title="new.onnx", classes=CLASSES, sure=0.8, **more):
    """Answers of which each has the probability ``sure``."""
    rest = (1 - sure) / (len(classes) - 1)
    probabilities = np.array(
        [[sure if name == answer else rest for name in classes] for answer in predicted]
    )
    return Answers(title, classes, predicted, probabilities, **more)


def names(labels):
    return [f"{row}.png" for row in range(len(labels))]


def test_scores_are_those_of_the_images_that_count():
    true = ["bark"] * 40 + ["cloth"] * 20 + [None, "oak", "oak", "drain"]
    predicted = ["bark"] * 36 + ["drain"] * 4 + ["cloth"] * 20 + ["bark"] * 3 + [""]
    result = assess("photos", names(true), true, [answers(predicted)])
    (scores,) = result.models
    assert result.images == 60
    assert scores.accuracy == pytest.approx(56 / 60)
    assert scores.per_class["recall"][:2] == [0.9, 1.0]
    assert scores.accuracy_ci[0] < scores.accuracy < scores.accuracy_ci[1]
    assert (result.baseline.label, result.baseline.accuracy) == ("bark", 40 / 60)
    assert {(entry.label, entry.images) for entry in result.skipped} == {("oak", 2), ("", 1)}
    assert sum(entry.images for entry in result.skipped) == 4
    assert any("oak" in remark.text for remark in result.remarks)
    assert [error.predicted for error in result.errors] == ["drain"] * 4


def test_without_probabilities_only_scores_of_labels_are_known():
    true = ["bark", "cloth"] * 30
    plain = dataclasses.replace(answers(true[:50] + ["bark"] * 10), probabilities=None)
    with_them = answers(plain.predicted)
    a, b = (assess("p", names(true), true, [m]).models[0] for m in (plain, with_them))
    assert (a.accuracy, a.accuracy_ci, a.macro_f1) == (b.accuracy, b.accuracy_ci, b.macro_f1)
    assert a.intervals["balanced_accuracy"] == b.intervals["balanced_accuracy"]
    for name in ("log_loss", "roc_auc", "ece", "calibration_error", "reliability"):
        assert getattr(a, name) is None
        assert getattr(b, name) is not None


def test_answers_without_probabilities_may_miss_a_class():
    plain = Answers("labels.csv", ("drain",), ["drain"] * 4)
    result = assess("p", names("1234"), ["bark", "cloth", "drain", "bark"], [plain])
    assert (result.images, result.models[0].accuracy) == (4, 0.25)


def test_changed_images_are_listed_with_their_direction_and_by_class():
    true = ["bark"] * 30 + ["cloth"] * 30
    before = ["bark"] * 30 + ["drain"] * 12 + ["cloth"] * 18
    after = ["drain"] + ["bark"] * 29 + ["bark"] + ["cloth"] * 29
    result = assess("p", names(true), true, [answers(after), answers(before, "old.onnx")])
    paired = result.paired
    directions = [change.direction for change in paired.changes]
    assert (directions.count("gain"), directions.count("loss"), directions.count("other")) == (
        11,
        1,
        1,
    )
    assert paired.difference == pytest.approx(10 / 60)
    assert paired.verdict == "better"
    assert paired.p == pytest.approx(2 * 13 / 2**12)
    bark, cloth = paired.by_class
    assert (bark.gains, bark.losses, cloth.gains, cloth.losses) == (0, 1, 11, 0)
    assert (cloth.recall_before, cloth.recall_after) == (18 / 30, 29 / 30)


def test_two_models_are_compared_on_the_images_that_both_answer():
    true = ["bark", "cloth", "drain"] * 20
    other = answers([label if label != "drain" else "bark" for label in true], classes=CLASSES[:2])
    result = assess("p", names(true), true, [answers(true), other])
    assert result.images == 40
    assert result.models[1].accuracy == 1.0
    assert any("different classes" in remark.text for remark in result.remarks)


def test_training_images_are_counted_and_left_out_of_a_second_accuracy():
    true = ["bark", "cloth"] * 50
    predicted = true[:80] + ["drain"] * 20
    seen = np.arange(100) < 60
    (scores,) = assess("p", names(true), true, [answers(predicted, trained_on=seen)]).models
    assert (scores.seen, scores.accuracy_unseen) == (60, 0.5)
    every = answers(predicted, trained_on=np.ones(100, bool))
    result = assess("p", names(true), true, [every])
    assert (result.models[0].seen, result.models[0].accuracy_unseen) == (100, None)
    assert any("trained on 100" in remark.text for remark in result.remarks)
    unlisted = assess("p", names(true), true, [answers(predicted, of_a_file=True)])
    assert any("does not list" in remark.text for remark in unlisted.remarks)


def test_one_class_and_few_images_are_remarked():
    result = assess("p", names("123"), ["bark"] * 3, [answers(["bark", "bark", "drain"])])
    texts = " ".join(remark.text for remark in result.remarks)
    assert "one class" in texts
    assert "3 images" in texts
    assert result.models[0].roc_auc is None


@pytest.mark.parametrize("labels", [[None, None], ["oak", None]])
def test_nothing_to_score_is_an_error_that_says_why(labels):
    with pytest.raises(InputError, match="no label"):
        assess("photos", names(labels), labels, [answers(["bark", "bark"])])


def test_images_of_a_group_widen_the_interval():
    true = ["bark", "cloth"] * 60
    predicted = true[:90] + ["drain"] * 30
    group = np.arange(120) // 10
    apart, together = (
        assess("p", names(true), true, [answers(predicted)], of).models[0].accuracy_ci
        for of in (None, group)
    )
    assert together[1] - together[0] > 1.5 * (apart[1] - apart[0])


def test_decisions_by_expected_cost_save_costs(tmp_path):
    rng = np.random.default_rng(0)
    sure = rng.dirichlet(np.ones(3), 2000)
    codes = (sure.cumsum(axis=1) > rng.random((2000, 1))).argmax(axis=1)
    true = [CLASSES[code] for code in codes]
    predicted = [CLASSES[code] for code in sure.argmax(axis=1)]
    table = tmp_path / "costs.csv"
    table.write_text("true,bark,cloth,drain\nbark,0,1,8\ncloth,1,0,1\ndrain,1,1,0\n")
    model = Answers("m", CLASSES, predicted, sure)
    (scores,) = assess("p", names(true), true, [model], costs=table).models
    matrix = np.array([[0, 1, 8], [1, 0, 1], [1, 1, 0]])
    decided = (sure @ matrix).argmin(axis=1)
    assert scores.costs.cost == pytest.approx(matrix[codes, sure.argmax(axis=1)].mean())
    assert scores.costs.decided == pytest.approx(matrix[codes, decided].mean())
    assert 0 < scores.costs.saved_ci[0] < scores.costs.saved < scores.costs.saved_ci[1]
    assert scores.costs.accuracy < scores.accuracy
    plain = dataclasses.replace(model, probabilities=None)
    (scores,) = assess("p", names(true), true, [plain], costs=table).models
    assert scores.costs.saved is None


@pytest.mark.further(
    "tests/unit/evaluation/test_expected_cost.py::test_the_saving_is_that_of_the_classes_of_least_expected_cost"
)
@pytest.mark.slow
def test_the_interval_of_the_cost_saved_holds(tmp_path):
    table = tmp_path / "costs.csv"
    table.write_text("true,bark,cloth,drain\nbark,0,1,8\ncloth,1,0,1\ndrain,1,1,0\n")
    matrix = np.array([[0, 1, 8], [1, 0, 1], [1, 1, 0]])
    rng = np.random.default_rng(1)
    everything = rng.dirichlet(np.ones(3), 200_000)
    gain = ((everything @ matrix)[np.arange(200_000), everything.argmax(axis=1)]
            - (everything @ matrix).min(axis=1)).mean()  # fmt: skip
    covered = 0
    for _ in range(60):
        sure = rng.dirichlet(np.ones(3), 200)
        codes = (sure.cumsum(axis=1) > rng.random((200, 1))).argmax(axis=1)
        predicted = [CLASSES[code] for code in sure.argmax(axis=1)]
        true = [CLASSES[code] for code in codes]
        model = Answers("m", CLASSES, predicted, sure)
        low, high = assess("p", names(true), true, [model], costs=table).models[0].costs.saved_ci
        covered += low <= gain <= high
    assert covered >= 53
