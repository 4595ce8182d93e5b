"""Scores, thresholds and intervals of several labels: `headstart.evaluation.metrics.multilabel`."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.core.errors import InputError
from headstart.evaluation.metrics import multilabel
from headstart.evaluation.metrics.multilabel import areas, units
from headstart.evaluation.metrics.multilabel.jackknife import Precisions
from headstart.evaluation.metrics.multilabel.thresholds import Rule, thresholds
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    hamming_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

PREVALENCE = np.array([0.04, 0.1, 0.3, 0.6])


def sample(n: int, seed: int, size: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, probabilities and groups of ``size`` images that are alike."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n) // size
    labels = (rng.random((n // size, 4))[groups] < PREVALENCE).astype(np.int8)
    alike = rng.normal(size=(n // size, 4))[groups]
    scores = 1.8 * labels + 0.8 * alike + 0.6 * rng.normal(size=labels.shape) - 2
    return labels, 1 / (1 + np.exp(-scores)), groups


def test_scores_are_those_of_scikit_learn() -> None:
    labels, chances, _ = sample(300, 0)
    cuts = np.array([0.1, 0.2, 0.3, 0.5])
    predicted = chances >= cuts
    scores = multilabel.scores(labels, chances, cuts)
    expected = {
        "macro_ap": average_precision_score(labels, chances),
        "macro_auc": roc_auc_score(labels, chances),
        "micro_f1": f1_score(labels, predicted, average="micro"),
        "macro_f1": f1_score(labels, predicted, average="macro"),
        "subset_accuracy": (labels == predicted).all(axis=1).mean(),
        "hamming_loss": hamming_loss(labels, predicted),
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    of_labels = multilabel.per_label(labels, chances, cuts)
    np.testing.assert_allclose(
        of_labels.precision, precision_score(labels, predicted, average=None)
    )
    np.testing.assert_allclose(of_labels.recall, recall_score(labels, predicted, average=None))
    np.testing.assert_array_equal(of_labels.support, labels.sum(axis=0))


def test_unknown_cells_count_for_nothing() -> None:
    labels, chances, _ = sample(300, 1)
    cuts = np.full(4, 0.3)
    part = labels.copy()
    part[200:, 1] = -1
    whole = multilabel.per_label(labels[:200], chances[:200], cuts)
    masked = multilabel.per_label(part, chances, cuts)
    for name, column in masked._asdict().items():
        np.testing.assert_allclose(column[1], getattr(whole, name)[1], err_msg=name)
    changed = chances.copy()
    changed[200:, 1] = 1 - changed[200:, 1]
    assert multilabel.scores(part, chances, cuts) == multilabel.scores(part, changed, cuts)


def test_a_label_of_no_image_has_no_scores_and_spoils_no_others() -> None:
    labels, chances, _ = sample(100, 2)
    labels[:, 0], labels[:, 1] = 0, -1
    cuts = np.full(4, 0.3)
    of_labels = multilabel.per_label(labels, chances, cuts)
    assert np.isnan(of_labels.average_precision[:2]).all()
    scores = multilabel.scores(labels, chances, cuts)
    assert scores["macro_ap"] == pytest.approx(of_labels.average_precision[2:].mean())
    intervals = multilabel.intervals(labels, chances, cuts, seed=0)
    assert np.isnan(intervals.per_label["average_precision"][:2]).all()
    assert intervals.scores["macro_ap"] is not None
    nothing = multilabel.scores(np.full_like(labels, -1), chances, cuts)
    assert set(nothing.values()) == {None}


@st.composite
def rated(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    n = draw(st.integers(2, 30))
    chances = np.round(rng.random((n, 1)), draw(st.integers(1, 3)))
    return (rng.random((n, 1)) < 0.4).astype(np.int8), chances


def _at(labels: np.ndarray, chances: np.ndarray, cut: float) -> tuple[float, float, float]:
    predicted = chances >= cut
    hits, present = int((predicted & (labels == 1)).sum()), int(labels.sum())
    total = int(predicted.sum())
    return hits / max(total, 1), hits / present, 2 * hits / (total + present)


@given(rated(), st.sampled_from([("f1", 0.0), ("precision", 0.7), ("recall", 0.8)]))
def test_a_threshold_is_the_best_of_all_that_there_are(pair, rule) -> None:
    labels, chances = pair
    result = thresholds(labels, chances, Rule(*rule))
    if labels.min() == labels.max():
        return
    tried = [_at(labels, chances, cut) for cut in np.unique(chances)]
    precision, recall, f1 = _at(labels, chances, result.values[0])
    if rule[0] == "f1":
        assert f1 == pytest.approx(max(each[2] for each in tried))
    elif rule[0] == "recall":
        assert recall >= 0.8 - 1e-9
        assert precision == pytest.approx(max(p for p, r, _ in tried if r >= 0.8 - 1e-9))
    elif allowed := [r for p, r, _ in tried if p >= 0.7 - 1e-9]:
        assert result.reached[0]
        assert precision >= 0.7 - 1e-9
        assert recall == pytest.approx(max(allowed))
    else:
        assert not result.reached[0]
        assert precision == pytest.approx(max(p for p, _, _ in tried))
    assert result.values[0] not in chances or result.values[0] == 0


def test_a_target_out_of_reach_and_labels_without_a_choice_are_reported() -> None:
    labels = np.array([[0, 0, 1], [1, 0, 1], [0, 0, 1]], np.int8)
    chances = np.array([[0.9, 0.1, 0.9], [0.5, 0.2, 0.8], [0.1, 0.3, 0.7]])
    result = thresholds(labels, chances, Rule("precision", 0.9))
    np.testing.assert_array_equal(result.reached, [False, False, True])
    for rule in (Rule("accuracy"), Rule("recall", 1.5)):
        with pytest.raises(InputError):
            thresholds(labels, chances, rule)


@pytest.mark.long
@pytest.mark.parametrize("size", [1, 4])
def test_intervals_cover_the_scores_of_many_images(size: int, monkeypatch) -> None:
    monkeypatch.setattr(units, "DRAWS", 100)
    monkeypatch.setattr(units, "LEAST_DRAWS", 100)
    cuts = np.full(4, 0.3)
    labels, chances, _ = sample(100_000, 999)
    true, of_labels = (
        multilabel.scores(labels, chances, cuts),
        multilabel.per_label(labels, chances, cuts),
    )
    names = ("macro_ap", "macro_auc", "micro_f1", "macro_f1", "subset_accuracy", "hamming_loss")
    covered, by_label = [], []
    for seed in range(40):
        drawn = sample(400, seed, size)
        intervals = multilabel.intervals(drawn[0], drawn[1], cuts, seed, drawn[2])
        covered.append(
            [low <= true[name] <= high for name in names for low, high in [intervals.scores[name]]]
        )
        ends = intervals.per_label["average_precision"]
        by_label.append(
            (ends[:, 0] <= of_labels.average_precision)
            & (of_labels.average_precision <= ends[:, 1])
        )
    assert np.mean(covered) >= 0.92
    assert np.mean(covered, axis=0).min() >= 0.8
    assert np.mean(by_label) >= 0.92


def test_areas_of_a_resample_are_those_of_the_images_repeated() -> None:
    labels, chances, _ = sample(60, 4)
    labels[::7, 2] = -1
    chances = np.round(chances, 1)  # equal probabilities
    weights = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), size=3)
    ours = areas.weighted_areas(labels, chances, weights.T.astype(np.float32))
    for number, times in enumerate(weights):
        rows = np.repeat(np.arange(60), times)
        for label in range(4):
            some = rows[labels[rows, label] >= 0]
            y, p = labels[some, label], chances[some, label]
            if len(np.unique(y)) == 2:
                expected = average_precision_score(y, p), roc_auc_score(y, p)
                np.testing.assert_allclose([each[number, label] for each in ours], expected, 1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_shifts_are_those_of_scores_without_each_image_or_group(size: int, monkeypatch) -> None:
    labels, chances, groups = sample(60, 7, size)
    labels[::7, 2] = -1
    labels[:, 0] = 0
    labels[5, 0] = 1  # a single image
    labels[::9, 1] = 1
    chances = np.round(chances, 1)  # equal probabilities
    chosen = units.Units(labels, groups)
    result = Precisions.of(labels, chances, chosen)
    np.testing.assert_array_equal(result.alone, [True, False, False, False])
    assert not result.shifts[:, 0].any()
    for left_out in range(chosen.number):
        for label in range(1, 4):
            rows = (groups != left_out) & (labels[:, label] >= 0)
            expected = average_precision_score(labels[rows, label], chances[rows, label])
            assert result.observed[label] + result.shifts[left_out, label] == pytest.approx(
                expected
            )
    monkeypatch.setattr(units, "LEAST_DRAWS", 5)
    monkeypatch.setattr(units, "CELLS", 5 * len(labels))
    joined = Precisions.of(labels, chances, units.Units(labels, groups))
    assert len(joined.shifts) == (60 if size == 1 else 5)


def test_few_images_with_a_label_widen_intervals_and_shift_them_down() -> None:
    labels, chances, _ = sample(2000, 8)
    cuts = np.full(4, 0.3)
    rare = labels.copy()
    rare[np.flatnonzero(labels[:, 1] == 1)[3:], 1] = -1
    full = multilabel.intervals(labels, chances, cuts, 0)
    few = multilabel.intervals(rare, chances, cuts, 0)
    whole, part = (each.per_label["average_precision"] for each in (full, few))
    assert np.diff(part[1])[0] > 3 * np.diff(whole[1])[0]
    score = multilabel.per_label(rare, chances, cuts).average_precision[1]
    assert part[1].mean() < score
    halves = multilabel.intervals(labels, chances, cuts, 0, worth=0.5)
    for name, ends in full.scores.items():
        if name != "calibration_error":
            ratio = np.diff(halves.scores[name])[0] / np.diff(ends)[0]
            assert ratio == pytest.approx(2**0.5, rel=0.1), name


@pytest.mark.slow
def test_a_better_head_is_told_from_the_best_and_an_equal_one_is_not() -> None:
    labels, chances, groups = sample(600, 5, 2)
    noise = np.random.default_rng(6).normal(size=chances.shape)
    alike = np.clip(chances + 0.01 * noise, 0, 1)
    worse = np.clip(chances + 0.5 * noise, 0, 1)
    same, close, far = multilabel.compare_with(labels, chances, [chances, alike, worse], groups)
    assert same.p == 1
    assert not close.decided
    assert close.interval[0] <= 0 <= close.interval[1]
    assert far.decided
    assert far.interval[1] < 0
    bonferroni = multilabel.compare_with(labels, chances, [alike, worse], groups, True)
    assert all(each.p >= few.p for each, few in zip(bonferroni, (close, far), strict=True))


@pytest.mark.slow
def test_no_verdict_hangs_on_a_label_of_few_images() -> None:
    rng = np.random.default_rng(7)
    labels = np.zeros((400, 3), np.int8)
    labels[:9, 0], labels[::3, 1], labels[::4, 2] = 1, 1, 1
    best = rng.random((400, 3))
    best[:9, 0] += 1  # perfect on the rare label, chance elsewhere
    other = best.copy()
    other[:, 0] = rng.random(400)
    np.testing.assert_array_equal(multilabel.few_positives(labels), [True, False, False])
    [verdict] = multilabel.compare_with(labels, best, [other])
    assert verdict.difference < -0.2
    assert not verdict.decided
    labels[:40:2, 0] = 1
    best[:, 0] = labels[:, 0] + rng.random(400)
    best[:, 1:] += 0.7 * labels[:, 1:]
    other = best + [0, 0.9, 0.9] * rng.normal(size=(400, 3))
    assert multilabel.compare_with(labels, best, [other])[0].decided
