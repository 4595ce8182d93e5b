"""The model card and the example beside a model."""

from __future__ import annotations

import dataclasses

import pytest
from factories import comparison
from headstart.core.errors import OutputError
from headstart.core.results import (
    CostScores,
    GroupAccuracy,
    GroupScores,
    OperatingPoint,
    OperatingPoints,
    PredictionSets,
    SetScores,
)
from headstart.models.bundle.model_card import CARD, CLASSES_SHOWN, EXAMPLE, card, write_companions


def test_the_card_has_data_scores_limits_and_licence():
    text = card(comparison())
    for words in (
        "# Model card: garments",
        "- Head: linear SVM (C = 10.0), chosen by cross-validation.",
        "3,600 for training, 30 for testing",
        "- Classes (3): hat, pants, shirt.",
        "| accuracy | 0.800 | 0.750 to 0.840 |",
        "| macro F1 | 0.795 | – |",
        "Accuracy of the baseline raw pixels: 33.3%.",
        "- Lowest recalls: hat 80%, pants 80%, shirt 80%.",
        "- “hat” has few images.",
        "Weights of the backbone: Apache-2.0.",
    ):
        assert words in text


def test_thresholds_and_groups_are_on_the_card():
    described = comparison()
    point = OperatingPoint(
        0.95, True, 0.8, 0.7, 0.97, (0.95, 0.98), 0.96, 0.72, (0.6, 0.8), 0.96, (0.9, 0.99)
    )
    missed = dataclasses.replace(point, target=0.99, reached=False)
    insights = dataclasses.replace(
        described.insights,
        operating_points=OperatingPoints("knn", "", 1200, [point, missed], []),
        prediction_sets=PredictionSets(
            0.95, 0.5, [0.1], [SetScores("adaptive", 0.951, (0.9, 1), 1.2, 0.8)]
        ),
        group_answers=GroupScores(
            "vote", 40, 90, 0, 0, 0, [GroupAccuracy("knn", 0.9, (0.8, 1), 0.7)], []
        ),
        costs=CostScores(2.0, 1.5, 0.5, (0.1, 0.9), 0.8),
    )
    text = card(dataclasses.replace(described, insights=insights))
    assert "predict --at 95%" in text
    assert "| 95 % | 0.800 | 70.0% | 72.0% | 96.0% (90.0% to 99.0%) |" in text
    assert "| 99 % |" not in text
    assert "adaptive sets hold it for 95.1%" in text
    assert "90.0% (80.0% to 100.0%) of 40 groups" in text
    assert "0.5 saved (0.1 to 0.9)" in text
    assert "## Thresholds" not in card(described)


def test_a_score_that_is_undefined_has_no_row():
    described = comparison()
    head = dataclasses.replace(described.heads[0], roc_auc=None, per_class={})
    text = card(dataclasses.replace(described, heads=[head]))
    assert "ROC AUC" not in text
    assert "Lowest recalls" not in text


def test_a_test_split_of_copies_gives_no_scores():
    described = comparison()
    protocol = described.protocol | {"n_leaked": described.protocol["n_test"]}
    text = card(dataclasses.replace(described, protocol=protocol))
    assert "no scores on new images" in text
    assert "| accuracy |" not in text
    assert "Cross-validated accuracy" in text


def test_with_some_copies_the_accuracy_without_them_is_stated():
    described = comparison()
    scores = {"test_accuracy_without_leakage": 0.7, "test_accuracy_without_leakage_ci": (0.5, 0.9)}
    head = dataclasses.replace(described.heads[0], **scores)
    assert "accuracy is 0.700 (0.500 to 0.900)" in card(
        dataclasses.replace(described, heads=[head])
    )


def test_many_classes_are_counted():
    names = [f"species {i}" for i in range(CLASSES_SHOWN + 7)]
    k = len(names)
    text = card(comparison(names, [[int(i == j) for j in range(k)] for i in range(k)]))
    assert f"species {CLASSES_SHOWN - 1} and 7 more." in text
    assert f"species {CLASSES_SHOWN}," not in text


@pytest.mark.parametrize("name", ["*bold*", "a\n# heading", "[link](http://x)", "<b>", "`code`"])
def test_names_are_text_and_not_markdown(name):
    text = card(comparison([name, "pants", "shirt"]))
    assert name not in text
    assert text.count("\n#") == 5


def test_card_and_example_are_written_or_the_reason_is_named(tmp_path):
    write_companions(str(tmp_path), comparison())
    assert (tmp_path / CARD).read_text(encoding="utf-8") == card(comparison())
    compile((tmp_path / EXAMPLE).read_text(encoding="utf-8"), EXAMPLE, "exec")
    (tmp_path / "folder" / CARD).mkdir(parents=True)
    with pytest.raises(OutputError, match=CARD):
        write_companions(tmp_path / "folder", comparison())
