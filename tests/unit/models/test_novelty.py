"""The distance to the training images, in numpy and in the graph."""

import numpy as np
import pytest
from headstart.core.linalg import normalise
from headstart.heads import HEADS
from headstart.heads.folds import stratified_folds
from headstart.heads.training_set import TrainingSet
from headstart.models import bundle, novelty
from headstart.models.predict import Model


def clusters(n, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return (np.eye(12)[labels] * 5 + rng.normal(0, 0.5, (n, 12))).astype(np.float32), labels


def test_what_is_alike_is_near_and_what_is_not_is_far():
    features, labels = clusters(300, 0)
    reference = novelty.learn(features, labels, np.arange(300))
    fresh, _ = clusters(300, 1)
    assert np.mean(reference.distances(fresh) > reference.threshold) < 0.06
    assert (reference.distances(-fresh) > reference.threshold).all()


def test_an_image_is_not_near_because_of_its_copies():
    features, labels = clusters(100, 0)
    twice, group = np.repeat(features, 10, axis=0), np.repeat(np.arange(100), 10)
    apart = novelty.learn(twice, np.repeat(labels, 10), group)
    naive = novelty.learn(twice, np.repeat(labels, 10), np.arange(1000))
    assert apart.threshold > naive.threshold + 1e-3


def test_what_is_kept_is_bounded_and_holds_every_class():
    features, _ = clusters(5000, 0)
    labels = np.r_[np.zeros(4990, int), np.arange(1, 11)]
    rare = np.full((11, 12), -9, np.float32) + np.eye(11, 12, dtype=np.float32)
    features[4989:] = rare
    reference = novelty.learn(features, labels, np.arange(5000))
    assert len(reference.rows) == novelty.MAX_REFERENCE
    cosine = normalise(rare[1:]) @ reference.rows.astype(np.float32).T
    assert (cosine.max(axis=1) > 0.9999).all()


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_images(n):
    reference = novelty.learn(np.ones((n, 4), np.float32), np.arange(n), np.zeros(n, int))
    assert reference is None


@pytest.mark.slow
def test_the_graph_says_what_numpy_says(tiny_backbone, tmp_path):
    features, labels = clusters(60, 3)
    data = TrainingSet(features, labels, stratified_folds(labels, 3, seed=0))
    estimator = HEADS["knn"].search(data).estimator
    reference = novelty.learn(
        features, labels, np.arange(60), out_of_fold=probabilities_of(features, labels)
    )
    out = tmp_path / "model.onnx"
    head = bundle.TrainedHead(estimator, ("a", "b", "c"), {}, reference, family="knn")
    bundle.bundle(tiny_backbone, head, features, out)
    model = Model(out)
    assert model.unusual == reference.unusual
    images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)
    answers = model.answer(images)
    np.testing.assert_allclose(answers.distance, reference.distances(answers.features), atol=1e-5)
    assert model.threshold == pytest.approx(reference.threshold)
    assert model.facts["novelty"]["images"] == 60
    assert (model.facts["ir_version"], model.facts["min_onnxruntime"]) == (8, "1.14")


def probabilities_of(features, labels, sharpness=4.0):
    """Return probabilities by the distance to the centres of the known clusters."""
    centres = np.stack([features[labels == code].mean(axis=0) for code in range(3)])
    scores = sharpness * normalise(features) @ normalise(centres).T
    weights = np.exp(scores)
    return weights / weights.sum(axis=1, keepdims=True)


def test_the_second_mark_is_for_one_in_twenty_and_finds_what_lies_between_classes():
    features, labels = clusters(600, 0)
    reference = novelty.learn(
        features, labels, np.arange(600), out_of_fold=probabilities_of(features, labels)
    )
    mark = reference.unusual
    fresh, codes = clusters(600, 1)
    marked = mark.marks(reference.distances(fresh), probabilities_of(fresh, codes))
    assert 0.01 < marked.mean() < 0.12
    between = (fresh[codes == 0][:100] + fresh[codes == 1][:100]) / 2
    weights = np.full((100, 3), [0.49, 0.49, 0.02])
    assert mark.marks(reference.distances(between), weights).mean() > 0.9


def test_without_probabilities_there_is_no_second_mark():
    features, labels = clusters(60, 0)
    assert novelty.learn(features, labels, np.arange(60)).unusual is None
    nothing = np.full((60, 3), np.nan)
    assert novelty.learn(features, labels, np.arange(60), out_of_fold=nothing).unusual is None
