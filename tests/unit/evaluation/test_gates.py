"""Conditions for deployment."""

import pytest
from headstart.core.errors import InputError, UsageError
from headstart.evaluation import gates
from headstart.evaluation.answers import Answers
from headstart.evaluation.assess import assess

TRUE = ["bark", "cloth"] * 50


def evaluation(wrong, *others):
    models = [
        Answers(f"{n}.onnx", ("bark", "cloth"), ["cloth"] * n + TRUE[n:]) for n in (wrong, *others)
    ]
    return assess("photos", [str(row) for row in range(100)], TRUE, models)


@pytest.mark.parametrize(
    "text", ["accuracy=0.85", "accuracy=85%", "macro-f1=.85", "recall:bark=80 %"]
)
def test_a_condition_is_about_the_lower_end_of_the_interval(text):
    minimum = gates.parse(text)
    few = evaluation(2)
    (gate,) = gates.judge(few, [minimum], not_worse=False)
    assert gate.passed
    assert str(minimum) == gate.rule
    assert not gates.judge(evaluation(40), [minimum], not_worse=False)[0].passed


def test_ten_right_answers_are_not_enough():
    ten = assess("p", list("0123456789"), TRUE[:10], [Answers("m", ("bark", "cloth"), TRUE[:10])])
    (gate,) = gates.judge(ten, [gates.parse("accuracy=0.95")], not_worse=False)
    assert ten.models[0].accuracy == 1.0
    assert not gate.passed


@pytest.mark.parametrize(
    "text",
    ["accuracy", "accuracy=", "accuracy=high", "accuracy=0", "accuracy=1.5", "accuracy=101%",
     "acuracy=0.9", "log_loss=0.3", "recall=0.9", "accuracy:bark=0.9", "accuracy=nan"],
)  # fmt: skip
def test_what_cannot_be_read_is_wrong_usage(text):
    with pytest.raises(UsageError):
        gates.parse(text)


def test_a_class_that_the_model_has_not_is_an_error():
    with pytest.raises(InputError, match="no class oak"):
        gates.judge(evaluation(3), [gates.parse("recall:oak=0.5")], not_worse=False)


def test_only_a_model_that_is_worse_by_more_than_chance_fails():
    verdicts = [gates.judge(evaluation(*wrong), [], not_worse=True)[0].passed
                for wrong in ((2, 40), (4, 2), (40, 2))]  # fmt: skip
    assert verdicts == [True, True, False]


def test_a_score_that_cannot_be_computed_fails():
    one = assess("p", ["a"], ["bark"], [Answers("m", ("bark", "cloth"), ["bark"])])
    (gate,) = gates.judge(one, [gates.parse("roc_auc=0.5")], not_worse=False)
    assert not gate.passed
