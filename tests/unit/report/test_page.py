"""What the page says, in words and tables."""

from __future__ import annotations

import copy
import json

import pytest
from factories import CLASSES, CONFUSION, prediction, results_document, square
from headstart.report import render
from html_page import Page


def test_the_finding_comes_first_in_words():
    text = Page(render(results_document())).text
    assert (
        "Best head: linear SVM, 80.0 % accuracy on 30 test images (95 % interval 75.0–84.0 %),"
        " tied with RBF SVM. Baselines: raw pixels, 33.3 %; always predicting “shirt”, 33.3 %."
    ) in text
    assert text.index("Best head:") < text.index("“hat” has few images.") < text.index("Macro-F1")


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        (["tie", "tie"], ", tied with RBF SVM and kNN."),
        (["worse", "worse"], ", better than all other heads by more than chance."),
        (["worse"], ", better than the other head by more than chance."),
        ([], "75.0–84.0 %). Baselines"),
    ],
)
def test_the_finding_says_how_the_others_did(verdicts: list[str], words: str):
    results = results_document()
    results["heads"] = results["heads"][: len(verdicts) + 1]
    for rival, verdict in zip(results["heads"][1:], verdicts, strict=True):
        rival["verdict"] = verdict
    assert words in Page(render(results)).text


def test_the_conclusion_calls_heads_as_the_tables_do():
    results = results_document() | {"conclusion": "Use linear-svm on my-knn, or rbf-svm."}
    assert "Use linear SVM on my-knn, or RBF SVM." in Page(render(results)).text


def test_the_leaderboard_holds_every_figure():
    page = Page(render(results_document()))
    assert page.row("RBF SVM C = 1, gamma = 0.3") == [
        "RBF SVM C = 1, gamma = 0.3",
        "80.0 % 75.0–84.0 %",
        "",
        "79.1 % spread 1.2",
        "0.795",
        "0.432",
        "1.3",
        "tie",
    ]
    assert page.row("Most frequent class")[1] == "33.3 % 28.3–37.3 %"


def test_further_scores_have_their_intervals():
    page = Page(render(results_document()))
    assert page.row("RBF SVM", "−1.2 −3.0 to 0.4") == [
        "RBF SVM",
        "−1.2 −3.0 to 0.4",
        "0.210",
        "3.1",
        "77.8 % 70.0–84.0",
        "0.911 0.880–0.950",
        "0.054 0.030–0.100",
        "0.032",
        "0.012",
    ]
    assert page.row("Linear SVM", "–")[:3] == ["Linear SVM", "–", "–"]
    assert "Without leakage" not in page.text


def test_the_accuracy_without_leakage_is_shown_where_images_leaked():
    results = results_document()
    for head in results["heads"]:
        head["test_accuracy_without_leakage"] = 0.75
        head["test_accuracy_without_leakage_ci"] = (0.6, 0.86)
    assert "75.0 % 60.0–86.0" in Page(render(results)).row("RBF SVM", "−1.2 −3.0 to 0.4")


def test_a_test_split_without_independent_images_is_no_headline():
    results = results_document()
    assert "No test image is independent" not in Page(render(results)).text
    results["protocol"]["n_leaked"] = results["protocol"]["n_test"]
    text = Page(render(results)).text
    assert "No test image is independent" in text
    assert "accuracy on" not in text.partition("No test image")[0]


def test_an_approximate_head_says_so():
    results = results_document()
    assert "approximate" not in Page(render(results)).text
    results["heads"][1]["approximation"] = "Nyström, 500 rows"
    assert "approximate: Nyström, 500 rows" in Page(render(results)).text


def test_heads_of_several_backbones_are_told_apart():
    results = results_document()
    (tiny,) = results["backbones"]
    results["backbones"] = [
        tiny | {"scores": {"LogME": 0.5}},
        tiny | {"backbone": "huge", "scores": {"LogME": 1.25, "H-score": 3}},
    ]
    results["heads"][1] |= {"name": "linear-svm", "title": "linear SVM", "backbone": "huge"}
    page = Page(render(results))
    assert "Best head: linear SVM on tiny-net, 80.0 %" in page.text
    assert "tied with linear SVM on huge" in page.text
    assert page.row("Backbone") == ["Backbone", "LogME", "H-score"]
    assert page.row("tiny-net") == ["tiny-net", "0.500", "–"]
    assert page.row("huge") == ["huge", "1.250", "3.000"]


def test_the_confusion_matrix_is_a_table_with_headers():
    page = Page(render(results_document()))
    assert page.row("True") == ["True", *CLASSES]
    for name, counts in zip(CLASSES, CONFUSION, strict=True):
        assert page.row(name, str(counts[0])) == [name, *map(str, counts)]
    assert "“shirt” predicted as “hat”: 3 of 10 images (30.0 %)." in page.text


def test_confusions_come_by_count_and_then_by_share_of_the_class():
    text = Page(render(results_document(confusion=[[90, 2, 0], [2, 8, 0], [3, 0, 7]]))).text
    places = [
        text.index(f"“{true}” predicted as “{answer}”: {times}")
        for true, answer, times in [
            ("shirt", "hat", "3 of 10 images (30.0"),
            ("pants", "hat", "2 of 10 images (20.0"),
            ("hat", "pants", "2 of 92 images (2.2"),
        ]
    ]
    assert places == sorted(places)


def test_classes_have_their_scores():
    page = Page(render(results_document()))
    assert page.row("shirt", "0.778") == ["shirt", "0.778", "0.700", "0.737", "", "10"]
    assert "Lowest F1: “hat” (0.727), “shirt” (0.737), “pants” (0.947)." in page.text


def test_a_class_without_images_or_answers_has_dashes_and_a_note():
    page = Page(render(results_document(confusion=[[9, 0, 1], [0, 0, 0], [0, 0, 4]])))
    assert page.row("pants", "–") == ["pants", "–", "–", "–", "", "0"]
    assert "a score is undefined" in page.text


def test_method_data_and_provenance_are_there():
    page = Page(render(results_document()))
    for words in (
        "best accuracy in: 5-fold cross-validation on train + validation (seed 7). Each head was"
        " then refitted on all 3,600 training images",
        "The test split came with the data set. Its 30 images took no part",
        "One exact test compares each head with the best one",
        "2 images could not be used: truncated (2).",
        "Backbone tiny-net",
        "shorter side to 256 px (bicubic, antialiased), central 224 × 224 px",
        "mean 0.5, 0.5, 0.5; std 0.5, 0.5, 0.5",
        "Licence of the weights Apache-2.0",
        results_document()["extraction"]["digest"],
        "Created 2025-03-01 10:20 UTC",
        "headstart train-heads g.h5 --out run",
        "RBF SVM 2 candidates; chosen: C = 1, gamma = 0.3",
    ):
        assert words in page.text
    assert page.row("all classes") == ["all classes", "3,600", "30", "3,630"]
    assert page.row("10", "79.1 % spread 1.2")[-1] == "chosen"
    assert page.row("0.5", "55.0 % spread 2.0")[-1] == ""


def test_provenance_needs_no_command_and_may_hold_anything_about_the_machine():
    results = results_document()
    results["provenance"] |= {"command": "", "machine": {"cards": ["one", "two"]}}
    text = Page(render(results)).text
    assert "To reproduce these results" not in text
    assert "Machine cards one, two" in text


def test_records_are_rendered_like_their_json():
    results = results_document()
    assert isinstance(results["heads"][0]["test_accuracy_ci"], tuple)
    assert render(results) == render(json.loads(json.dumps(results)))


def test_no_errors_and_no_warnings_and_no_baselines():
    results = results_document(confusion=[[5, 0, 0], [0, 5, 0], [0, 0, 5]])
    results |= {"warnings": [], "baselines": []}
    page = Page(render(results, []))
    assert "classified every scored image correctly" in page.text
    assert "No errors among 15 test images." in page.text
    assert "Before you rely on this" not in page.text
    assert "Baselines" not in page.text
    assert "triangle" not in page.text


def test_intervals_share_one_axis_and_what_lies_outside_is_pointed_at():
    page = Page(render(results_document()))
    assert page.text.count("triangle") == 1
    dots = page.values("cx")
    assert len(dots) == 3  # the heads; both baselines lie far below the axis
    assert len(set(dots)) == 1
    assert ("path", ("class", "d")) in page.tags


def test_two_classes():
    page = Page(render(results_document(["cat", "dog"], [[9, 1], [0, 10]])))
    assert page.row("cat", "9") == ["cat", "9", "1"]
    assert "“cat” predicted as “dog”: 1 of 10 images (10.0 %)." in page.text


@pytest.mark.slow
def test_forty_classes_are_a_matrix_and_more_are_pairs():
    names = [f"species {i}" for i in range(120)]
    assert "Confusion matrix" in Page(render(results_document(names[:40], square(40)))).text
    page = Page(render(results_document(names, square(120))))
    assert "Confusion matrix" not in page.text
    assert "With more than 40 classes" in page.text
    assert "The 30 most confused of 120 confused pairs" in page.text
    assert page.row("species 0", "species 1") == ["species 0", "species 1", "2", "10", "20.0 %"]
    assert page.row("species 119", "0.800") == ["species 119", "0.800", "0.800", "0.800", "", "10"]


@pytest.mark.slow
def test_a_matrix_without_its_zeros_says_the_same():
    names = [f"species {i}" for i in range(120)]
    dense = results_document(names, square(120))
    sparse = copy.deepcopy(dense)
    for head in [*sparse["heads"], *sparse["baselines"]]:
        cells = [[i, j, n] for i, row in enumerate(head["confusion"]) for j, n in enumerate(row)]
        head["confusion"] = {"shape": [120, 120], "cells": [cell for cell in cells if cell[2]]}
    assert render(sparse) == render(dense)


def test_the_most_confident_errors_come_first_and_are_thirty_at_most():
    rows = [prediction(f"right/{i}.jpg", "hat", "hat", 0.99) for i in range(5)]
    rows += [prediction(f"wrong/{i}.jpg", "hat", "shirt", 0.4 + i / 100) for i in range(40)]
    page = Page(render(results_document(confusion=[[5, 0, 40], [0, 5, 0], [0, 0, 5]]), rows))
    shown = [row for row in page.rows if row[-1].startswith(("right/", "wrong/"))]
    assert [row[-1] for row in shown] == [f"wrong/{i}.jpg" for i in range(39, 9, -1)]
    assert shown[0] == ["hat", "shirt", "0.790", "wrong/39.jpg"]
    assert "The 30 most confident of 40 errors" in page.text


def test_without_predictions_there_is_no_list_of_errors():
    assert "Most confident errors" not in Page(render(results_document())).text
    assert "lists none of the 6 errors" in Page(render(results_document(), [])).text
