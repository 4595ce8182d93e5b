"""One ONNX file from a backbone and a head: every head, every kind of vote, and what is refused."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from headstart.backbones.inference.description import (
    INPUT,
    LABEL,
    METADATA,
    OUTPUT,
    PROBABILITIES,
)
from headstart.backbones.inference.runner import Runner, open_session
from headstart.core.errors import HeadstartError
from headstart.heads import HEADS
from headstart.heads.calibration import calibrate
from headstart.heads.search import TrainingSet, stratified_folds
from headstart.models import bundle
from headstart.models.bundle import knn_graph, svm_graph
from headstart.models.predict import Model
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC

CLASSES = ("bark", "cloth", "drain")


def training_set(images, backbone):
    features = Runner(backbone).embed(images)
    labels = np.arange(len(features)) % len(CLASSES)
    features += labels[:, None] * np.linspace(0, 0.03, features.shape[1], dtype=np.float32)
    return TrainingSet(features, labels, stratified_folds(labels, 3, seed=0))


def votes(**params):
    return make_pipeline(
        Normalizer(), KNeighborsClassifier(**params, metric="euclidean", algorithm="brute")
    )


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(7).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def data(images, tiny_backbone):
    return training_set(images, tiny_backbone)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_agrees_with_scikit_learn(name, data, images, tiny_backbone, tmp_path):
    head = HEADS[name].search(data)
    out = tmp_path / "model.onnx"
    agreement = bundle.bundle(tiny_backbone, head.estimator, CLASSES, data.features, {}, out)
    assert agreement.rows == len(images)
    assert agreement.labels >= bundle.MIN_AGREEMENT
    assert agreement.max_difference <= bundle.MAX_DIFFERENCE
    feeds = {INPUT: images}
    label, scores = open_session(out).run([LABEL, PROBABILITIES], feeds)
    expected = head.estimator.predict_proba(Runner(tiny_backbone).embed(images))
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    np.testing.assert_array_equal(label, scores.argmax(axis=1))


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("k", [1, 4, 9])
def test_every_vote_of_neighbours_agrees(weights, k, data, tiny_backbone, tmp_path):
    params = {"n_neighbors": k, "weights": weights}
    estimator = votes(**params).fit(data.features, data.labels)
    rng = np.random.default_rng(k)
    fresh = data.features + rng.normal(0, 0.01, data.features.shape).astype(np.float32)
    out = tmp_path / "model.onnx"
    agreement = bundle.bundle(tiny_backbone, estimator, CLASSES, fresh, {}, out)
    assert agreement.max_difference <= 1e-4
    if weights == "distance" and k > 1:
        shares = estimator.predict_proba(fresh)
        assert not np.allclose(shares * k, np.round(shares * k)), "votes must not weigh the same"


def test_the_file_says_what_it_is(data, tiny_backbone, tmp_path):
    estimator = votes(n_neighbors=3).fit(data.features, data.labels)
    out = tmp_path / "model.onnx"
    bundle.bundle(tiny_backbone, estimator, CLASSES, data.features, {"test_accuracy": 0.5}, out)
    model = Model(out)
    assert model.classes == CLASSES
    assert model.backbone == Runner(tiny_backbone).backbone
    metadata = {prop.key: prop.value for prop in onnx.load(out).metadata_props}
    assert json.loads(metadata["headstart.model"])["test_accuracy"] == 0.5
    assert METADATA in metadata


def test_a_class_never_trained_on_is_not_among_the_answers(data, tiny_backbone, tmp_path):
    kept = data.labels != 1
    estimator = votes(n_neighbors=3)
    estimator.fit(data.features[kept], data.labels[kept])
    out = tmp_path / "model.onnx"
    bundle.bundle(tiny_backbone, estimator, CLASSES, data.features, {}, out)
    assert Model(out).classes == ("bark", "drain")


def test_a_model_that_does_not_agree_is_not_written(data, tiny_backbone, tmp_path, monkeypatch):
    estimator = votes(n_neighbors=3).fit(data.features, data.labels)
    out = tmp_path / "model.onnx"
    out.write_bytes(b"the former model")
    monkeypatch.setattr(bundle, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(HeadstartError, match="does not agree"):
        bundle.bundle(tiny_backbone, estimator, CLASSES, data.features, {}, out)
    assert out.read_bytes() == b"the former model"
    assert list(tmp_path.iterdir()) == [out]


def test_what_cannot_be_converted_is_said(data, tiny_backbone, tmp_path):
    class Strange:
        classes_ = np.arange(3)

    out = tmp_path / "model.onnx"
    with pytest.raises(HeadstartError, match="cannot be converted"):
        bundle.bundle(tiny_backbone, Strange(), CLASSES, data.features, {}, out)


def test_names_of_the_backbone_stay_apart_from_those_of_the_head(data, tiny_backbone, tmp_path):
    estimator = votes(n_neighbors=3).fit(data.features, data.labels)
    out = tmp_path / "model.onnx"
    bundle.bundle(tiny_backbone, estimator, CLASSES, data.features, {}, out)
    names = [output for node in onnx.load(out).graph.node for output in node.output]
    assert len(names) == len(set(names))
    assert OUTPUT in names


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("k", [2, 3, 12])
def test_machines_are_what_scikit_learn_works_out(kernel, k):
    rng = np.random.default_rng(k)
    labels = np.repeat(np.arange(k), rng.integers(5, 20, k))  # classes of different sizes
    centres = rng.normal(size=(k, 16))
    features = (centres[labels] + rng.normal(size=(len(labels), 16))).astype(np.float32)
    rows = Normalizer().transform(features)
    machine = SVC(kernel=kernel, C=3, gamma=2.0).fit(rows, labels)
    scores = machine.decision_function(rows)
    scores = np.stack([-scores, scores], axis=1) if k == 2 else scores
    data = TrainingSet(features, labels, stratified_folds(labels, 3, seed=0))
    estimator = make_pipeline(Normalizer().fit(features), calibrate(machine, scores, data)[0])
    assert svm_graph.is_machine(estimator)
    graph = svm_graph.machine_graph(estimator, 16)
    onnx.checker.check_model(graph, full_check=True)
    assert len(graph.graph.node) < 40 + 3 * k
    fresh = rng.normal(size=(300, 16)).astype(np.float32) * 3
    fresh[0] = 0  # has no norm
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    for some in (fresh, fresh[:1]):
        found = session.run(["scores"], {"X": some})[0]
        np.testing.assert_allclose(found, estimator.predict_proba(some), atol=2e-6)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("k", [2, 3, 12])
def test_calibrated_votes_are_what_scikit_learn_works_out(weights, k):
    rng = np.random.default_rng(k)
    labels = np.repeat(np.arange(k), rng.integers(5, 20, k))
    features = (rng.normal(size=(k, 16))[labels] + rng.normal(size=(len(labels), 16))).astype("f4")
    rows = Normalizer().transform(features)
    voters = votes(n_neighbors=4, weights=weights)[-1].fit(rows, labels)
    shares = voters.predict_proba(rows + rng.normal(0, 0.05, rows.shape).astype("f4"))
    data = TrainingSet(features, labels, stratified_folds(labels, 3, seed=0))
    estimator = make_pipeline(Normalizer().fit(features), calibrate(voters, shares, data)[0])
    assert knn_graph.is_neighbours(estimator)
    graph = knn_graph.neighbours_graph(estimator, 16)
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


def test_other_estimators_are_left_to_skl2onnx(data):
    for name in HEADS:
        estimator = HEADS[name].search(data).estimator
        assert svm_graph.is_machine(estimator) == name.endswith("svm")
        assert knn_graph.is_neighbours(estimator) == (name == "knn")
    by_city_block = make_pipeline(Normalizer(), KNeighborsClassifier(metric="manhattan"))
    assert not knn_graph.is_neighbours(by_city_block.fit(data.features, data.labels))
