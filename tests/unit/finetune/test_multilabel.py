"""Several labels an image: the masked loss, the division, and what an epoch is judged by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from factories import label_sets
from headstart.core.errors import InputError
from headstart.core.records import Choice
from headstart.finetune.config import FinetuneConfig
from headstart.finetune.division import divide
from headstart.finetune.job import FinetuneJob
from headstart.finetune.multilabel import BinaryCrossEntropy
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, log_loss

STATES = st.sampled_from([0.0, 1.0, float("nan")])


@given(st.lists(st.lists(STATES, min_size=3, max_size=3), min_size=1, max_size=6), st.booleans())
def test_an_unknown_cell_changes_no_gradient(rows, weighted):
    targets = torch.tensor(rows)
    known = ~targets.isnan()
    weights = np.array([[0.5, 1.0, 2.0], [3.0, 1.0, 0.7]], np.float32) if weighted else None
    objective = BinaryCrossEntropy(weights)
    gradients = []
    for value in (0.3, 80.0):  # what the network says of unknown cells
        features = torch.linspace(-2, 2, targets.numel()).reshape(targets.shape)
        logits = torch.where(known, features, value).requires_grad_()
        objective.loss(logits, targets).backward()
        gradients.append(logits.grad)
    assert torch.equal(*gradients)
    assert not gradients[0][~known].any()
    assert bool(gradients[0][known].all())


def test_the_loss_is_that_of_the_cells_that_are_known():
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    targets = torch.tensor([[1.0, 0.0], [float("nan"), 1.0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor([2.0, -1.0, 3.0]), torch.tensor([1.0, 0.0, 1.0])
    )
    assert torch.allclose(BinaryCrossEntropy().loss(logits, targets), expected)
    nothing = torch.full((2, 2), float("nan"))
    assert float(BinaryCrossEntropy().loss(logits, nothing)) == 0


def test_mixed_images_mix_what_is_known():
    from headstart.finetune.training import _mixing

    targets = torch.tensor([[1.0, 0.0], [0.0, float("nan")]])
    _, mixed = _mixing(2)(torch.zeros(2, 3, 4, 4), targets)
    assert not mixed[:, 0].isnan().any()
    assert mixed[:, 1].isnan().all()


def test_an_epoch_is_judged_as_scikit_learn_judges_it():
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 2, (60, 3))
    logits = rng.normal(size=(60, 3)).astype(np.float32)
    tally = BinaryCrossEntropy().tally()
    for part in (slice(25), slice(25, 60)):
        targets = np.where(labels[part] < 0, np.nan, labels[part]).astype(np.float32)
        tally.add(torch.from_numpy(logits[part]), torch.from_numpy(targets))
    known = [labels[:, code] >= 0 for code in range(3)]
    precisions = [average_precision_score(labels[m, i], logits[m, i]) for i, m in enumerate(known)]
    chances = 1 / (1 + np.exp(-logits.astype(float)))
    losses = [log_loss(labels[m, i], chances[m, i]) for i, m in enumerate(known)]
    assert tally.score() == pytest.approx(np.mean(precisions))
    assert tally.loss() == pytest.approx(np.mean(losses))


def test_the_epoch_of_least_loss_comes_first():
    objective = BinaryCrossEntropy()
    records = [{"validation_loss": 0.4, "validation_map": 0.9}, {"validation_loss": 0.3}]
    assert min(records, key=objective.rank) is records[1]


def make_job(data, **config) -> FinetuneJob:
    return FinetuneJob.create("photos", data, Choice("tiny"), FinetuneConfig(**config))


def test_every_part_has_its_share_of_every_label():
    data = label_sets(n=300)
    division = divide(data, seed=0)
    parts = division.train, division.validation, division.test
    assert sorted(np.concatenate(parts).tolist()) == list(range(300))
    for rows in parts:
        assert (np.abs(data.label_sets[rows].mean(0) - data.label_sets.mean(0)) < 0.08).all()
    assert division.drawn
    assert "stratified by label" in division.remarks[-1].text


def test_a_label_that_no_image_beside_the_validation_split_has_is_left_out():
    sets = label_sets(n=120).label_sets.copy()
    split = ["validation" if row < 20 else "test" if row < 40 else "train" for row in range(120)]
    sets[:, 1] = 0
    sets[:6, 1] = 1
    data = label_sets(sets, split=split)
    job = make_job(data)
    assert job.division.classes.tolist() == [0, 2]
    assert any("label 1" in remark.text for remark in job.division.remarks)
    named = job.division.named(data)
    assert named.classes == ("label 0", "label 2")
    assert named.label_sets.shape == (120, 2)
    assert job.targets(job.division.train).shape == (80, 2)
    sets[20:, [0, 2]] = 0
    with pytest.raises(InputError, match="label"):
        divide(label_sets(sets, split=split), seed=0)


def test_rows_outside_the_division_lose_their_labels():
    sets = label_sets(n=120).label_sets.copy()
    sets[7] = -1
    data = label_sets(sets)
    named = divide(data, seed=0).named(data)
    assert named.split[7] == ""
    assert not named.is_labelled[7]
    assert named.is_labelled.sum() == 119


def test_targets_are_unknown_where_labels_are():
    sets = label_sets(n=120).label_sets.copy()
    sets[::3, 2] = -1
    job = make_job(label_sets(sets))
    rows = job.division.train
    targets = job.targets(rows)
    assert np.array_equal(np.isnan(targets), sets[rows] < 0)
    assert np.array_equal(np.nan_to_num(targets, nan=-1), sets[rows])


def test_it_starts_from_the_log_odds_of_a_logistic_regression():
    data = label_sets(n=200)
    job = make_job(data)
    weight, bias = job.start()
    rows = data.features / np.linalg.norm(data.features, axis=1, keepdims=True)
    chances = 1 / (1 + np.exp(-(rows @ weight.T + bias)))
    present = data.label_sets[job.division.train]
    assert chances[job.division.train].mean(0) == pytest.approx(present.mean(0), abs=0.05)
    test = job.division.test
    assert average_precision_score(data.label_sets[test], chances[test]) > 0.8


def test_a_single_label_starts_likewise():
    job = make_job(label_sets(n=120, k=1))
    weight, bias = job.start()
    assert (weight.shape, bias.shape) == ((1, 12), (1,))


def test_balanced_weights_give_both_sides_of_a_label_the_same():
    sets = (np.arange(200)[:, np.newaxis] % np.array([2, 8]) == 0).astype(int)
    job = make_job(label_sets(sets), class_weight="balanced")
    objective, rows = job.objective(), job.division.train
    logits = torch.zeros((len(rows), 2), requires_grad=True)
    objective.loss(logits, torch.from_numpy(job.targets(rows))).backward()
    assert logits.grad.sum(0).abs().max() < 1e-6


def test_the_identity_changes_with_the_labels():
    data = label_sets(n=120)
    other = data.label_sets.copy()
    other[make_job(data).division.train[0], 0] = -1
    assert make_job(data).identity("x") != make_job(label_sets(other)).identity("x")


def test_groups_stay_on_one_side_and_in_one_fold():
    data = label_sets(n=300)
    named = {path: str(row // 5) for row, path in enumerate(data.path)}
    job = FinetuneJob.create("photos", data, Choice("tiny"), FinetuneConfig(), named_groups=named)
    division = job.division
    sides = [{row // 5 for row in rows.tolist()} for rows in (division.train, division.validation)]
    sides.append({row // 5 for row in division.test.tolist()})
    assert sum(map(len, sides)) == len(set.union(*sides)) == 60
    assert job.start().weight.shape[0] == 3
    assert job.identity("") != make_job(data).identity("")
