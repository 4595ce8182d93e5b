"""Operating points of a comparison."""

import json

import fastjsonschema
import numpy as np
import pytest
from factories import feature_set
from headstart.evaluation.compare import CompareConfig, TunedNetwork, compare, compare_tuned
from headstart.heads.linear import coefficients, estimator_of
from headstart.report.schema import schema
from headstart.report.sections import summaries


@pytest.mark.slow
def test_operating_points_are_chosen_out_of_fold_and_checked_on_the_test_split():
    data = feature_set(n=900, spread=4, k=3, split=["train"] * 600 + ["test"] * 300)
    config = CompareConfig(heads=("logistic-regression",), targets=(0.9, 0.999))
    comparison, outcome = compare([data], config)
    operating = comparison.insights.operating_points
    reached, missed = operating.points
    assert (reached.reached, missed.reached) == (True, False)
    assert missed.bound < 0.999
    best = outcome.best
    sure = best.probabilities.max(axis=1) >= reached.threshold
    right = best.predicted == data.label[outcome.protocol.test]
    assert reached.test_share == pytest.approx(sure.mean())
    assert reached.test_accuracy == pytest.approx(right[sure].mean())
    answers = best.head.out_of_fold
    beyond = answers.max(axis=1) >= reached.threshold
    labels = data.label[outcome.protocol.train]
    assert reached.accuracy == pytest.approx((answers.argmax(axis=1) == labels)[beyond].mean())
    assert operating.curve[-1].share == 1.0
    (line,) = [line for line in summaries(comparison.to_json()) if line.startswith("right answers")]
    assert "90 %" in line
    assert "99.9 % is not reached" in line
    fastjsonschema.compile(schema())(json.loads(json.dumps(comparison.to_json())))


@pytest.mark.slow
def test_answers_for_all_images_leave_no_test_of_the_thresholds():
    data = feature_set(n=300, spread=3, k=3)
    comparison, _ = compare([data], CompareConfig(heads=("logistic-regression",)))
    assert comparison.protocol["scored_on"] == "out of fold"
    assert all(p.test_share is None for p in comparison.insights.operating_points.points)


@pytest.mark.slow
def test_operating_points_of_a_fine_tuned_network_are_of_its_validation_images():
    split = ["train"] * 300 + ["validation"] * 300 + ["test"] * 300
    data = feature_set(n=900, spread=4, k=3, split=split)
    config = CompareConfig(
        heads=("logistic-regression",), validation="predefined", targets=(0.8, 0.999)
    )
    _, frozen = compare([data], config)
    weight, bias = coefficients(frozen.best.head.estimator)
    network = TunedNetwork(weight * 2, bias * 2, data.classes, {"mode": "head"}, 1.0)
    comparison, _ = compare_tuned(data, data, network, config)
    operating = comparison.insights.operating_points
    assert (operating.head, operating.images) == ("fine-tuned", 300)
    reached, missed = operating.points
    assert (reached.reached, missed.reached) == (True, False)
    answers = estimator_of(network.weight, network.bias, np.arange(3)).predict_proba(data.features)
    sure, right = answers.max(axis=1) >= reached.threshold, answers.argmax(axis=1) == data.label
    unseen, test = np.s_[300:600], np.s_[600:]
    assert reached.share == pytest.approx(sure[unseen].mean())
    assert reached.accuracy == pytest.approx(right[unseen][sure[unseen]].mean())
    assert reached.test_accuracy == pytest.approx(right[test][sure[test]].mean())
    adaptive = comparison.insights.prediction_sets.tested[0]
    assert adaptive.coverage_ci[1] >= 0.95
    (line,) = [line for line in summaries(comparison.to_json()) if line.startswith("right answers")]
    assert "80 %" in line
    fastjsonschema.compile(schema())(json.loads(json.dumps(comparison.to_json())))


@pytest.mark.slow
def test_groups_get_their_answers_of_the_fine_tuned_network():
    split = ["train"] * 300 + ["validation"] * 450 + ["test"] * 150
    data = feature_set(n=900, spread=4, k=3, split=split)
    config = CompareConfig(
        heads=("logistic-regression",), validation="predefined", targets=(0.8, 0.999)
    )
    named = {path: f"{row // 15}-{row % 3}" for row, path in enumerate(data.path)}
    _, frozen = compare([data], config)
    weight, bias = coefficients(frozen.best.head.estimator)
    network = TunedNetwork(weight / 2, bias / 2, data.classes, {"mode": "head"}, 1.0)
    comparison, outcome = compare_tuned(data, data, network, config, named_groups=named)
    answers = estimator_of(network.weight, network.bias, np.arange(3)).predict_proba(data.features)
    groups = comparison.insights.group_answers

    def pooled(rows):
        codes = np.unique([named[data.path[row]] for row in rows], return_inverse=True)[1]
        members = [rows[codes == code] for code in range(max(codes) + 1)]
        scores = np.exp([np.log(answers[own]).mean(axis=0) for own in members])
        true = [data.label[own[0]] for own in members]
        return scores / scores.sum(axis=1, keepdims=True), np.array(true)

    scores, true = pooled(np.arange(750, 900))
    titles = [row.title for row in groups.scores]
    assert titles == [head.title for head in comparison.heads]
    row = groups.scores[titles.index("fine-tuned network")]
    assert row.accuracy == pytest.approx((scores.argmax(axis=1) == true).mean())
    assert row.accuracy_ci[0] < row.accuracy <= row.accuracy_ci[1]
    assert groups.groups == len(true) == len(outcome.grouping.names)
    operating = groups.operating_points
    chosen, right = pooled(np.arange(300, 750))
    assert (operating.head, operating.images) == ("fine-tuned", len(right))
    point = operating.points[0]
    assert point.reached
    sure = chosen.max(axis=1) >= point.threshold
    assert point.share == pytest.approx(sure.mean(), abs=0.01)
    assert point.accuracy == pytest.approx((chosen.argmax(axis=1) == right)[sure].mean(), abs=0.01)
    assert groups.prediction_sets.tested
    fastjsonschema.compile(schema())(json.loads(json.dumps(comparison.to_json())))
