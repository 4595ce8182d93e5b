"""Features or their square roots: the choice, and what heads make of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnxruntime
import pytest
from factories import training_set
from headstart.heads import feature_map, to_onnx
from headstart.heads.family import Family
from headstart.heads.training_set import TrainingSet, signed_root
from sklearn.naive_bayes import GaussianNB


def skewed(power):
    """Activations whose classes are apart on the scale of ``x ** power``."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    values = np.abs(rng.normal(size=(4, 40)))[labels] + 0.8 * np.abs(rng.normal(size=(400, 40)))
    fold = np.arange(400) // 4 % 5
    return TrainingSet((values ** (1 / power)).astype(np.float32), labels, fold, workers=2)


def test_roots_are_taken_where_they_help():
    assert feature_map.choose(skewed(0.25)).square_root
    assert not feature_map.choose(training_set(n=400, spread=2.0)).square_root


def test_roots_keep_signs():
    values = np.array([[4.0, -9.0, 0.0]])
    assert signed_root(values).tolist() == [[2.0, -3.0, 0.0]]


@pytest.mark.slow
def test_a_head_of_scikit_learn_reads_roots_in_its_graph_too():
    class NaiveBayes(Family):
        def build(self, params, data):
            return GaussianNB()

    data = dataclasses.replace(training_set(n=120), square_root=True)
    head = NaiveBayes("naive-bayes", "naive Bayes").search(data)
    graph = to_onnx("", head.estimator, data.features.shape[1])
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    scores = session.run([graph.graph.output[-1].name], {"X": data.features})[0]
    assert scores == pytest.approx(head.estimator.predict_proba(data.features), abs=1e-4)
