"""A batch like the training images is seldom said to differ, and one with others is."""

import dataclasses

import numpy as np
import pytest
from headstart.core.drift import LEVEL
from headstart.core.training_profile import TrainingProfile
from headstart.evaluation import drift
from headstart.evaluation.drift import Batch, compare
from headstart.models import novelty, profile

NAMES = ["bark", "cloth", "drain"]
CENTRES = np.eye(3, 16, dtype=np.float32) * 4


def images(n, seed, shift=0.0, shares=(0.5, 0.3, 0.2)):
    """Features of three classes around their centres, and calibrated probabilities."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(3, n, p=shares)
    rows = (CENTRES[codes] + rng.normal(size=(n, 16)) + shift).astype(np.float32)
    scores = rows @ CENTRES.T / 2 + np.log([0.5, 0.3, 0.2])
    return rows, codes, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def trained():
    rows, codes, probabilities = images(600, 0)
    alone = np.arange(600)
    reference = novelty.learn(rows, codes, alone, out_of_fold=probabilities)
    shares = np.bincount(codes) / 600
    return profile.learn(rows, shares, alone, reference, probabilities), reference


def batch(trained, rows, probabilities, **changes):
    known, reference = trained
    distance = reference.distances(rows)
    chosen = np.eye(3, dtype=bool)[probabilities.argmax(axis=1)]
    values = {
        "paths": [str(row) for row in range(len(rows))],
        "probabilities": probabilities,
        "distance": distance,
        "unlike": distance > reference.threshold,
        "oddness": distance,
        "labels": [NAMES[code] for code in probabilities.argmax(axis=1)],
        "chosen": chosen,
        "places": known.place(rows),
    }
    return Batch(**values | changes)


def result(trained, made, known=True):
    facts = trained[0] if known else None
    return compare(made, facts, NAMES, 0.99, model="m", data="d", failed=0)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("size", [200, 10, 1])
def test_false_alarms_are_at_most_one_in_twenty(trained, size):
    alarms = [
        result(trained, batch(trained, *images(size, 1 + seed)[::2])).differs for seed in range(200)
    ]
    assert np.mean(alarms) <= LEVEL + 0.03  # two standard errors of 200 draws


def test_a_tenth_of_other_images_is_seen(trained):
    rows, _, probabilities = images(200, 1)
    rows[:20] += 6 * np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    assert result(trained, batch(trained, rows, probabilities)).differs


def test_other_shares_are_seen_and_estimated(trained):
    shares = (0.1, 0.2, 0.7)
    rows, codes, probabilities = images(400, 1, shares=shares)
    found = result(trained, batch(trained, rows, probabilities))
    assert {test.name for test in found.tests if test.differs} >= {"classes"}
    for entry, share in zip(found.classes, np.bincount(codes) / 400, strict=True):
        assert entry.estimated == pytest.approx(share, abs=0.05)
        low, high = entry.estimated_ci
        assert low <= share <= high


@pytest.mark.slow
def test_groups_make_a_batch_of_bursts_worth_its_bursts(trained):
    alarms = {True: [], False: []}
    for seed in range(60):
        rows, _, probabilities = images(20, seed)
        bursts = np.repeat(np.arange(20), 10)
        for known in alarms:
            made = batch(
                trained, rows[bursts], probabilities[bursts], group=bursts if known else None
            )
            assert made.independent == (20 if known else 200)
            alarms[known].append(result(trained, made).differs)
    assert np.mean(alarms[True]) <= 0.1 < np.mean(alarms[False])


def test_the_share_of_unlike_images_has_the_exact_interval(trained):
    rows, _, probabilities = images(100, 1)
    made = batch(trained, rows, probabilities, unlike=np.arange(100) < 3)
    measured = result(trained, made).unlike
    assert measured.value == pytest.approx(0.03)
    assert measured.expected == pytest.approx(0.01)
    assert measured.interval == pytest.approx((0.0062, 0.0852), abs=1e-4)  # Clopper and Pearson


def test_without_a_profile_there_is_no_verdict(trained):
    rows, _, probabilities = images(100, 1)
    found = result(trained, batch(trained, rows, probabilities), known=False)
    assert found.differs is None
    assert not found.tests
    assert found.unlike is not None
    assert found.classes[0].training is found.classes[0].estimated is None


def test_shares_are_not_estimated_from_few_or_foreign_images(trained):
    rows, _, probabilities = images(100, 1)
    foreign = batch(trained, rows, probabilities, unlike=np.arange(100) < 50)
    few = batch(trained, rows[:10], probabilities[:10])
    for made in (foreign, few):
        assert result(trained, made).classes[0].estimated is None


def test_several_labels_have_neither_confidence_nor_classes_among_the_tests(trained):
    rows, _, probabilities = images(100, 1)
    known = dataclasses.replace(trained[0], confidences=(), answers=())
    made = batch(trained, rows, probabilities, single=False)
    found = result((known, trained[1]), made)
    assert [test.name for test in found.tests] == ["unlike", "distance", "features"]
    assert found.confidence is None
    assert found.classes[0].training is not None


def test_adjusted_p_values_are_those_of_holm():
    tests = drift._adjusted([("a", 0.01, ""), ("b", 0.04, ""), ("c", 0.03, "")])
    assert [test.p for test in tests] == pytest.approx([0.03, 0.06, 0.06])
    assert [test.differs for test in tests] == [True, False, False]


def test_a_profile_survives_its_text(trained):
    again = TrainingProfile.from_text(trained[0].to_text(), 3)
    rows = images(5, 3)[0]
    np.testing.assert_allclose(again.place(rows), trained[0].place(rows), atol=1e-3)
    assert again.distances == pytest.approx(trained[0].distances, rel=1e-4)
    with pytest.raises(ValueError, match="classes"):
        TrainingProfile.from_text(trained[0].to_text(), 4)
