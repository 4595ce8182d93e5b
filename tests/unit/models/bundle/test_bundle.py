"""One ONNX file from a backbone and a head: every head, every kind of vote, and what is refused."""

import json

import numpy as np
import onnx
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
from headstart.heads.calibrated import CalibratedClassifier
from headstart.heads.calibration import SHARES
from headstart.heads.folds import stratified_folds
from headstart.heads.knn import GaussianWeights
from headstart.heads.training_set import TrainingSet
from headstart.heads.votes import tied
from headstart.models import bundle
from headstart.models.predict import Model
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

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


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_every_head_agrees_with_scikit_learn(name, data, images, tiny_backbone, tmp_path):
    head = HEADS[name].search(data)
    out = tmp_path / "model.onnx"
    agreement = bundle.bundle(
        tiny_backbone,
        bundle.TrainedHead(head.estimator, CLASSES, {}, family=name),
        data.features,
        out,
    )
    assert agreement.rows == len(images)
    assert agreement.labels >= bundle.MIN_AGREEMENT
    assert agreement.max_difference <= bundle.MAX_DIFFERENCE
    feeds = {INPUT: images}
    label, scores = open_session(out).run([LABEL, PROBABILITIES], feeds)
    expected = head.estimator.predict_proba(Runner(tiny_backbone).embed(images))
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    np.testing.assert_array_equal(label, scores.argmax(axis=1))


def test_a_part_of_many_rows_is_compared_from_the_first_to_the_last(
    data, tiny_backbone, tmp_path, monkeypatch
):
    compared = []
    head = HEADS["logistic-regression"].search(data)
    predict = head.estimator.predict_proba
    monkeypatch.setattr(bundle, "_COMPARED", 7)
    monkeypatch.setattr(
        head.estimator, "predict_proba", lambda rows: compared.append(rows) or predict(rows)
    )
    agreement = bundle.bundle(
        tiny_backbone,
        bundle.TrainedHead(head.estimator, CLASSES, {}, family="logistic-regression"),
        data.features,
        tmp_path / "model.onnx",
    )
    assert agreement.rows == len(compared[0]) == 7
    assert np.array_equal(compared[0][[0, -1]], data.features[[0, -1]])


@pytest.mark.parametrize("gamma", [0.0, 8.0])
@pytest.mark.parametrize("k", [1, 4, 9])
def test_every_vote_of_neighbours_agrees(gamma, k, data, tiny_backbone, tmp_path):
    params = {"n_neighbors": k, "weights": GaussianWeights(gamma)}
    normalizer, neighbours = votes(**params).fit(data.features, data.labels)
    estimator = make_pipeline(
        normalizer, CalibratedClassifier(neighbours, SHARES, 1.5, np.array([0.1, 0.0, -0.1]), 0.05)
    )
    rng = np.random.default_rng(k)
    fresh = data.features + rng.normal(0, 0.01, data.features.shape).astype(np.float32)
    out = tmp_path / "model.onnx"
    agreement = bundle.bundle(
        tiny_backbone, bundle.TrainedHead(estimator, CLASSES, {}, family="knn"), fresh, out
    )
    assert agreement.max_difference <= 1e-4
    if gamma and k > 1:
        shares = neighbours.predict_proba(normalizer.transform(fresh))
        assert not np.allclose(shares * k, np.round(shares * k)), "votes must not weigh the same"


def test_the_file_says_what_it_is(data, tiny_backbone, tmp_path):
    estimator = votes(n_neighbors=3).fit(data.features, data.labels)
    out = tmp_path / "model.onnx"
    hashes = np.random.default_rng(0).integers(0, 256, (20, 32), np.uint8)
    bundle.bundle(
        tiny_backbone,
        bundle.TrainedHead(estimator, CLASSES, {"test_accuracy": 0.5}, trained_on=hashes),
        data.features,
        out,
    )
    model = Model(out)
    assert model.classes == CLASSES
    assert all(row.tobytes() in model.trained_on for row in hashes)
    assert model.backbone == Runner(tiny_backbone).backbone
    metadata = {prop.key: prop.value for prop in onnx.load(out).metadata_props}
    assert json.loads(metadata["headstart.model"])["test_accuracy"] == 0.5
    assert METADATA in metadata


def test_a_class_never_trained_on_is_not_among_the_answers(data, tiny_backbone, tmp_path):
    kept = data.labels != 1
    estimator = votes(n_neighbors=3)
    estimator.fit(data.features[kept], data.labels[kept])
    out = tmp_path / "model.onnx"
    bundle.bundle(tiny_backbone, bundle.TrainedHead(estimator, CLASSES, {}), data.features, out)
    assert Model(out).classes == ("bark", "drain")


def test_a_model_that_does_not_agree_is_not_written(data, tiny_backbone, tmp_path, monkeypatch):
    estimator = votes(n_neighbors=3).fit(data.features, data.labels)
    out = tmp_path / "model.onnx"
    out.write_bytes(b"the former model")
    monkeypatch.setattr(bundle, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(HeadstartError, match="does not agree"):
        bundle.bundle(tiny_backbone, bundle.TrainedHead(estimator, CLASSES, {}), data.features, out)
    assert out.read_bytes() == b"the former model"
    assert list(tmp_path.iterdir()) == [out]


def test_what_cannot_be_converted_is_said(data, tiny_backbone, tmp_path):
    class Strange:
        classes_ = np.arange(3)

    out = tmp_path / "model.onnx"
    with pytest.raises(HeadstartError, match="cannot be converted"):
        bundle.bundle(tiny_backbone, bundle.TrainedHead(Strange(), CLASSES, {}), data.features, out)


def test_names_of_the_backbone_stay_apart_from_those_of_the_head(data, tiny_backbone, tmp_path):
    estimator = votes(n_neighbors=3).fit(data.features, data.labels)
    out = tmp_path / "model.onnx"
    bundle.bundle(tiny_backbone, bundle.TrainedHead(estimator, CLASSES, {}), data.features, out)
    names = [output for node in onnx.load(out).graph.node for output in node.output]
    assert len(names) == len(set(names))
    assert OUTPUT in names


def test_copies_with_different_labels_do_not_stop_a_vote(data, tiny_backbone, tmp_path):
    rows = np.concatenate(
        [data.features, data.features]
    )  # each row twice, as one class and another
    labels = np.concatenate([data.labels, (data.labels + 1) % len(CLASSES)])
    estimator = votes(n_neighbors=5, weights=GaussianWeights(1.0)).fit(rows, labels)
    normalise, neighbours = estimator[0], estimator[1]
    shares = CalibratedClassifier(neighbours, SHARES, 1.0, np.zeros(len(CLASSES)), 0.05)
    estimator = make_pipeline(normalise, shares)
    assert tied(estimator, data.features).all()
    agreement = bundle.bundle(
        tiny_backbone,
        bundle.TrainedHead(estimator, CLASSES, {}, family="knn"),
        data.features,
        tmp_path / "model.onnx",
    )
    assert agreement.max_difference <= bundle.MAX_DIFFERENCE
    assert agreement.ties
    assert "with equally near neighbours" in str(agreement)


def test_a_vote_that_is_wrong_without_a_tie_is_not_published(data, tiny_backbone, tmp_path):
    neighbours = votes(n_neighbors=3, weights=GaussianWeights(1.0)).fit(data.features, data.labels)
    shares = CalibratedClassifier(neighbours[1], SHARES, 1.0, np.zeros(len(CLASSES)), 0.05)
    estimator = make_pipeline(neighbours[0], shares)
    assert tied(estimator, data.features).mean() < 0.1
    answer = estimator.predict_proba
    estimator.predict_proba = lambda rows: answer(rows)[:, [1, 0, 2]]
    with pytest.raises(HeadstartError, match="does not agree"):
        bundle.bundle(
            tiny_backbone,
            bundle.TrainedHead(estimator, CLASSES, {}, family="knn"),
            data.features,
            tmp_path / "model.onnx",
        )
