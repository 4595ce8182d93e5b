"""Graphs of heads compute what scikit-learn computes, from any runtime's operators."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from headstart.heads.calibrated import CalibratedClassifier
from headstart.heads.knn import GaussianWeights
from headstart.heads.onnx_graphs import knn, svm
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC


def votes(**params):
    return make_pipeline(
        Normalizer(), KNeighborsClassifier(**params, metric="euclidean", algorithm="brute")
    )


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("k", [2, 3, 12])
def test_machines_are_what_scikit_learn_works_out(kernel, k):
    rng = np.random.default_rng(k)
    labels = np.repeat(np.arange(k), rng.integers(5, 20, k))  # classes of different sizes
    centres = rng.normal(size=(k, 16))
    features = (centres[labels] + rng.normal(size=(len(labels), 16))).astype(np.float32)
    rows = Normalizer().transform(features)
    machine = SVC(kernel=kernel, C=3, gamma=2.0).fit(rows, labels)
    calibrated = CalibratedClassifier(machine, "pairs", 7.0, rng.normal(size=k))
    estimator = make_pipeline(Normalizer().fit(features), calibrated)
    graph = svm.convert(estimator, 16)
    onnx.checker.check_model(graph, full_check=True)
    assert len(graph.graph.node) < 40 + 3 * k
    assert {node.domain for node in graph.graph.node} == {""}  # any runtime has them
    fresh = rng.normal(size=(300, 16)).astype(np.float32) * 3
    fresh[0] = 0  # has no norm
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    for some in (fresh, fresh[:1]):
        found = session.run(["scores"], {"X": some})[0]
        np.testing.assert_allclose(found, estimator.predict_proba(some), atol=2e-6)


@pytest.mark.parametrize("gamma", [0.0, 8.0])
@pytest.mark.parametrize("k", [2, 3, 12])
def test_calibrated_votes_are_what_scikit_learn_works_out(gamma, k):
    rng = np.random.default_rng(k)
    labels = np.repeat(np.arange(k), rng.integers(5, 20, k))
    features = (rng.normal(size=(k, 16))[labels] + rng.normal(size=(len(labels), 16))).astype("f4")
    rows = Normalizer().transform(features)
    voters = votes(n_neighbors=4, weights=GaussianWeights(gamma))[-1].fit(rows, labels)
    calibrated = CalibratedClassifier(voters, "shares", 1.5, rng.normal(size=k), 0.03)
    estimator = make_pipeline(Normalizer().fit(features), calibrated)
    graph = knn.convert(estimator, 16)
    onnx.checker.check_model(graph, full_check=True)
    assert {node.domain for node in graph.graph.node} == {""}  # any runtime has them
    fresh = rng.normal(size=(300, 16)).astype(np.float32) * 3
    fresh[:8] = features[:8]  # copies of training images
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    for some in (fresh, fresh[:1]):
        found = session.run(["scores"], {"X": some})[0]
        np.testing.assert_allclose(found, estimator.predict_proba(some), atol=1e-5)
    # What has no norm is as far from all: which neighbours count is chance, but it is an answer.
    assert session.run(["scores"], {"X": 0 * fresh[:1]})[0].sum() == pytest.approx(1)
