"""The mean of heads: its probabilities, its score, its graph and its names."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from factories import training_set
from headstart import heads
from headstart.core.errors import InputError
from headstart.heads import HEADS, MEAN, mean, sampling
from headstart.heads.folds import divisions
from sklearn.ensemble import VotingClassifier

SOME = ("logistic-regression", "rbf-svm", "kernel-ridge", "knn")


@pytest.fixture(scope="module")
def data():
    return training_set(n=240, spread=2.0)


@pytest.fixture(scope="module")
def fitted(data):
    return [HEADS[name].search(data) for name in SOME]


def test_probabilities_are_the_mean_of_the_heads(data, fitted):
    head = mean.combine(fitted, data)
    rows = training_set(n=50, seed=9).features
    each = [member.estimator.predict_proba(rows) for member in fitted]
    assert head.estimator.predict_proba(rows) == pytest.approx(np.mean(each, axis=0))
    assert isinstance(head.estimator, VotingClassifier)
    assert np.array_equal(head.estimator.predict(rows), np.mean(each, axis=0).argmax(axis=1))
    assert head.out_of_fold == pytest.approx(np.mean([m.out_of_fold for m in fitted], axis=0))
    right = head.out_of_fold.argmax(axis=1) == data.labels
    assert head.cv_accuracy == pytest.approx(right.mean(), abs=0.01)
    assert mean.members(head) == list(SOME)
    assert mean.members(fitted[0]) == [SOME[0]]


@pytest.mark.slow
def test_repeats_are_scored_one_by_one_as_those_of_the_heads_are(data):
    """The mean over repeats is a better classifier than the one that ships."""
    fold = divisions(data.labels, 5, 0, repeats=4)
    repeated = dataclasses.replace(data, fold=fold)
    members = [HEADS[name].search(repeated) for name in ("kernel-ridge", "knn")]
    head = mean.combine(members, repeated)
    expected = [
        np.mean(np.mean(parts, axis=0).argmax(axis=1) == data.labels[held_out])
        for *parts, (_, held_out) in zip(*(m.parts for m in members), repeated.folds, strict=True)
    ]
    assert head.cv_accuracy == pytest.approx(np.mean(expected))
    assert head.cv_std == pytest.approx(np.std(expected))
    assert len(head.parts) == 20


def test_a_head_that_was_fitted_on_a_sample_is_averaged_and_said_so(data, fitted):
    part = sampling.on_part(HEADS["knn"].search, data, 100)
    full = dataclasses.replace(part, out_of_fold=fitted[0].out_of_fold)
    head = mean.combine([fitted[0], full], data)
    assert head.out_of_fold == pytest.approx(fitted[0].out_of_fold)
    assert head.approximation.startswith("knn: fitted on 1")


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("square_root", [False, True])
def test_the_graph_answers_as_the_estimator_and_keeps_shared_rows_once(data, square_root):
    import onnxruntime

    data = dataclasses.replace(data, square_root=square_root)
    head = mean.combine([HEADS[name].search(data) for name in SOME], data)
    graph = heads.to_onnx(MEAN, head.estimator, data.features.shape[1])
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    rows = training_set(n=60, seed=7).features
    (scores,) = session.run(None, {"X": rows})
    assert np.abs(scores - head.estimator.predict_proba(rows)).max() < 1e-5
    shapes = [tuple(constant.dims) for constant in graph.graph.initializer]
    assert shapes.count(data.features.shape) == 1  # of kernel ridge and kNN


def test_names(data):
    assert MEAN not in heads.default_heads()
    heads.check_names([MEAN, "knn", "rbf-svm"])
    assert [family.name for family in heads.by_name(["knn", MEAN, "rbf-svm"])] == ["knn", "rbf-svm"]
    for names in ([MEAN], [MEAN, "knn"], [MEAN, "knn", "knn"]):
        with pytest.raises(InputError, match="two or more"):
            heads.check_names(names)
    with pytest.raises(InputError, match="exists"):
        heads.register(dataclasses.replace(HEADS["knn"], name=MEAN))
