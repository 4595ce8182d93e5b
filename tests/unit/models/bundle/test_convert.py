"""A finished model in fp16 and int8: what it answers, what it says of itself, what is refused."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from factories import with_facts
from headstart.backbones.inference.description import MODEL_METADATA
from headstart.backbones.inference.precision_choice import Budget, Drift
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import BackboneError, InputError
from headstart.models import bundle
from headstart.models.bundle import multilabel, single_label
from headstart.models.predict import Model

OPEN = Budget(drift=2.0, loss=100.0)


@pytest.fixture
def photos(image_folder):
    return str(image_folder(classes=("bark", "cloth", "drain"), per_class=12))


@pytest.mark.slow
@pytest.mark.parametrize("kind", bundle.KINDS)
def test_it_is_the_model_with_another_network(kind, tiny_classifier, photos, tmp_path):
    out = tmp_path / "small.onnx"
    hashes = np.random.default_rng(0).integers(0, 256, (9, 32), np.uint8)
    source = with_facts(tiny_classifier, tmp_path / "source.onnx", trained_on=hashes)
    change = bundle.write_variant(source, kind, photos, out, OPEN)
    before, after = Model(source), Model(out)  # the seal and the certificate hold
    assert len(after.trained_on) == 9
    assert after.trained_on == before.trained_on
    assert after.backbone.precision.partition("+")[0] == kind
    assert (after.classes, after.threshold) == (before.classes, before.threshold)
    crops = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), np.uint8)
    a, b = before.answer(crops), after.answer(crops)
    assert not np.array_equal(a.features, b.features)
    # The head and the distance are the same functions, of other features.
    weight = next(
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(out).graph.initializer
        if tensor.name == "weight"
    )
    scores = np.exp(b.features @ weight)
    np.testing.assert_allclose(b.probabilities, scores / scores.sum(1, keepdims=True), atol=1e-5)
    assert b.distance == pytest.approx(
        1 - b.features[:, 0] / np.linalg.norm(b.features, axis=1), abs=1e-5
    )
    assert change.images == change.labelled == 36  # the test split alone
    assert 0.98 < change.min_cosine <= change.mean_cosine < 1
    assert 0 < change.mean_difference <= change.max_difference < 0.5
    facts = json.loads(Runner(out).metadata[MODEL_METADATA])
    assert facts["variant"]["kind"] == kind
    assert facts["variant"]["accuracy"] == change.accuracy


@pytest.mark.slow
def test_over_the_budget_it_is_refused_with_the_figures(tiny_classifier, photos, tmp_path):
    out = tmp_path / "small.onnx"
    with pytest.raises(
        BackboneError, match=r"^small.onnx was not written: int8 is outside the bud"
    ):
        bundle.write_variant(tiny_classifier, "int8", photos, out, Budget(drift=0.0, loss=100.0))
    assert list(tmp_path.glob("*.onnx")) == []
    assert list(tmp_path.glob(".*partial")) == []


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [True, False])
def test_the_limit_of_the_loss_is_said(tiny_classifier, photos, image_folder, tmp_path, labelled):
    impossible, of = Budget(drift=2.0, loss=-101.0), r"% of the labels changed"
    if labelled:
        of = r"points of accuracy lost"
    else:
        photos = str(image_folder("unlabelled", classes=("",), splits=("",), per_class=4))
    match = rf"allowed: mean cosine -1 and -101 {of} beyond chance; raise the budget with"
    with pytest.raises(BackboneError, match=match):
        bundle.write_variant(tiny_classifier, "fp16", photos, tmp_path / "s.onnx", impossible)


@pytest.mark.parametrize(
    ("change", "budget", "inside"),
    [
        ({"accuracy": 0.89}, Budget(loss=0.5), False),
        ({"accuracy": 0.89}, Budget(loss=1.5), True),
        ({"accuracy": 0.89, "loss_error": 0.5}, Budget(loss=0.5), True),  # as chance does
        ({"accuracy": 0.88, "loss_error": 0.5}, Budget(loss=0.5), False),
        ({"accuracy": None, "accuracy_before": None, "loss_error": 1.4}, Budget(loss=0.5), True),
        ({"accuracy": None, "accuracy_before": None}, Budget(loss=0.5), False),
        ({"accuracy": None, "accuracy_before": None}, Budget(loss=5), True),
        ({"mean_cosine": 0.9}, Budget(), False),
        ({}, Budget(), True),
    ],
)
def test_the_budget(change, budget, inside):
    facts = {
        "images": 100,
        "equal_labels": 0.98,
        "max_difference": 0.1,
        "mean_difference": 0.01,
        "mean_cosine": 0.99,
        "min_cosine": 0.9,
        "labelled": 100,
        "accuracy_before": 0.9,
        "accuracy": 0.9,
        "unlike_before": None,
        "unlike": None,
    }
    measured = bundle.Change(**(facts | change))
    assert measured.within(budget) == inside
    if measured.accuracy is not None:  # the rule that features in int8 are judged by
        error = measured.loss_error
        drift = Drift(100, measured.mean_cosine, 0.9, 100, 0.9, measured.accuracy, False, "", error)
        assert drift.within(budget) == inside
        assert (f"a loss of {drift.loss:.1f} ± 0.5 points" in str(measured)) == (error > 0)


def test_the_standard_error_of_a_loss():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    before, after = (np.eye(3)[truth] + rng.normal(0, 0.6, (400, 3)) for _ in range(2))
    lost = (before.argmax(1) == truth) - (after.argmax(1) == truth).astype(float)
    error = single_label.loss_error(truth, before, after)
    assert error == pytest.approx(100 * lost.std(ddof=1) / 20, abs=1e-3)
    known = np.append(truth, -1)  # a class that the model does not know counts for nothing
    more = [np.vstack([each, each[:1]]) for each in (before, after)]
    assert single_label.loss_error(known, *more) == error
    assert single_label.loss_error(truth, before, before) == 0
    assert single_label.loss_error(truth[:1], before[:1], after[:1]) == 0  # nothing to say it by


def test_the_standard_error_of_a_loss_of_average_precision():
    rng = np.random.default_rng(0)
    draws, errors = [], []
    for _ in range(30):
        truth = (rng.random((200, 4)) < 0.3).astype(np.int8)
        before, after = (truth + rng.normal(0, 0.8, truth.shape) for _ in range(2))
        draws.append(multilabel.score(truth, before) - multilabel.score(truth, after))
        errors.append(multilabel.loss_error(truth, before, after))
    assert np.mean(errors) == pytest.approx(100 * np.std(draws), rel=0.3)
    assert multilabel.loss_error(truth, before, before) == 0
    assert multilabel.loss_error(np.full_like(truth, -1), before, after) == 0


@pytest.mark.slow
def test_without_a_test_split_others_than_those_that_calibrate_measure(
    tiny_classifier, image_folder, tmp_path
):
    root = image_folder("flat", classes=("bark", "cloth"), splits=("",), per_class=40)
    change = bundle.write_variant(tiny_classifier, "int8", str(root), tmp_path / "s.onnx", OPEN)
    assert change.images == 80 - 64


@pytest.mark.slow
def test_what_cannot_be_done_is_said(tiny_classifier, tiny_backbone, photos, tmp_path):
    with pytest.raises(InputError, match="is the model itself"):
        bundle.write_variant(tiny_classifier, "fp16", photos, tiny_classifier)
    with pytest.raises(InputError, match="no such file or folder"):
        bundle.write_variant(tiny_classifier, "fp16", "absent", tmp_path / "s.onnx")
    with pytest.raises(BackboneError, match="not a classifier"):
        bundle.write_variant(tiny_backbone, "fp16", photos, tmp_path / "s.onnx")
    half = tmp_path / "half.onnx"
    bundle.write_variant(tiny_classifier, "fp16", photos, half, OPEN)
    with pytest.raises(BackboneError, match="is in fp16 already"):
        bundle.write_variant(half, "int8", photos, tmp_path / "s.onnx")
