from __future__ import annotations

import base64
import copy
import csv
import hashlib
import json
import os
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from headstart.core.errors import InputError, OutputError
from headstart.core.records import Backbone, Comparison, Extraction, HeadResult, Preprocess
from headstart.report import (
    figures,
    formatting,
    plots,
    render,
    store_paths,
    write_plots,
    write_report,
)
from headstart.report.tables import read_history
from hypothesis import given
from hypothesis import strategies as st

VOID = {"meta", "link", "br", "img", "hr", "input"}
CLASSES = ["hat", "pants", "shirt"]
SVG = "{http://www.w3.org/2000/svg}"
CONFUSION = [[8, 0, 2], [1, 9, 0], [3, 0, 7]]


class Page(HTMLParser):
    """A page as tests see it: tags in order, words, table rows; crossed tags are an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.style = ""
        self.scripts: list[str] = []
        self._words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] == ["style"]:
            self.style += data
            return
        if self._open[-1:] == ["script"]:
            self.scripts.append(data)
            return
        self._words.append(data)
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self._words).split())

    def row(self, *start: str) -> list[str]:
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        return next(row for row in rows if row[: len(start)] == list(start))

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def head(name: str, confusion: Sequence[Sequence[int]], verdict: str, **params: Any) -> HeadResult:
    n = sum(map(sum, confusion))
    accuracy = sum(row[i] for i, row in enumerate(confusion)) / n
    against: dict[str, Any] = {}
    if verdict in ("tie", "worse"):
        against = {"difference": -0.012, "difference_ci": (-0.03, 0.004), "mcnemar_p": 0.21}
    return HeadResult(
        name=name,
        title=formatting.title(name),
        params=params,
        cv_accuracy=0.7912,
        cv_std=0.0123,
        test_accuracy=accuracy,
        test_accuracy_ci=(max(accuracy - 0.05, 0.0), min(accuracy + 0.04, 1.0)),
        macro_f1=0.7946,
        log_loss=0.4321,
        seconds=1.26,
        verdict=verdict,
        confusion=[list(row) for row in confusion],
        grid=[
            {"params": params, "cv_accuracy": 0.7912, "cv_std": 0.0123},
            {"params": dict.fromkeys(params, 0.5), "cv_accuracy": 0.55, "cv_std": 0.02},
        ],
        backbone="tiny-net" if verdict else "",
        balanced_accuracy=0.7777,
        roc_auc=0.9111,
        ece=0.0654,
        intervals={"balanced_accuracy": (0.7, 0.84), "roc_auc": (0.88, 0.95), "ece": (0.03, 0.1)},
        per_class={},
        reliability={
            "images": [0, 10, n - 10],
            "confidence": [None, 0.6, 0.9],
            "accuracy": [None, 0.5, 0.95],
        },
        predict_seconds=0.0123,
        **against,
    )


def comparison(
    classes: Sequence[str] = CLASSES, confusion: Sequence[Sequence[int]] = CONFUSION
) -> dict[str, Any]:
    """A small, consistent ``results.json``: 10 test images a class, three heads, two baselines."""
    k, n = len(classes), sum(map(sum, confusion))
    constant = [[0] * (k - 1) + [sum(row)] for row in confusion]
    extraction = Extraction(
        Backbone(
            name="tiny-net",
            source="a test",
            weights_sha256="ab" * 32,
            licence="Apache-2.0",
            layer="top",
            pool="average",
            precision="float32",
            dim=8,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            preprocess=Preprocess(resize=256, crop=224),
        )
    )
    return Comparison(
        dataset={
            "name": "garments",
            "classes": list(classes),
            "images": {
                "train": dict.fromkeys(classes, 1200),
                "test": {name: sum(row) for name, row in zip(classes, confusion, strict=True)},
            },
            "n_images": 1200 * k + n,
            "failures": 2,
            "failure_reasons": {"truncated": 2},
            "test_split": "predefined",
        },
        extraction={"digest": extraction.digest, "document": extraction.to_json()},
        protocol={
            "folds": 5,
            "repeats": 1,
            "seed": 7,
            "validation": "cross-validation",
            "tuned_on": "5-fold cross-validation on train + validation",
            "n_train": 1200 * k,
            "n_test": n,
            "scoring": "accuracy",
            "interval": "95 % bootstrap, 2000 resamples",
            "test_split": "The test split came with the data set.",
        },
        heads=[
            head("linear-svm", confusion, "best", C=10.0),
            head("rbf-svm", confusion, "tie", C=1.0, gamma=0.3),
            head("knn", confusion, "worse", n_neighbors=5),
        ],
        baselines=[
            head("raw-pixels", constant, ""),
            head("most-frequent", constant, ""),
        ],
        best="linear-svm",
        warnings=["“hat” has few images."],
        provenance={
            "software": {"numpy": "2.1.0"},
            "created": "2025-03-01T10:20:30+00:00",
            "machine": {"cores": 2},
            "command": "headstart train-heads g.h5 --out run",
            "inputs": "cd" * 32,
        },
        best_backbone="tiny-net",
        backbones=[{"backbone": "tiny-net", "scores": {}}],
    ).to_json()


def prediction(path: str, true: str, predicted: str, probability: float) -> dict[str, str]:
    rest = (1 - probability) / (len(CLASSES) - 1)
    return {
        "path": path,
        "true": true,
        "predicted": predicted,
        "correct": str(int(true == predicted)),
        **{f"p:{name}": str(probability if name == predicted else rest) for name in CLASSES},
    }


def square(k: int, hits: int = 8) -> list[list[int]]:
    """Each class is found ``hits`` times, and taken for the next one twice."""
    return [[hits if i == j else 2 if j == (i + 1) % k else 0 for j in range(k)] for i in range(k)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results.json").write_text(json.dumps(comparison()), encoding="utf-8")
    return tmp_path


# ---- what the page says --------------------------------------------------------------------------


def test_the_finding_comes_first_in_words() -> None:
    text = Page(render(comparison())).text
    assert (
        "Best head: linear SVM, 80.0 % right on 30 test images (95 % interval 75.0–84.0 %),"
        " a tie with RBF SVM. Raw pixels get 33.3 %; always answering “shirt” gets 33.3 %."
    ) in text
    assert text.index("Best head:") < text.index("“hat” has few images.") < text.index("Macro-F1")


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        (["tie", "tie"], ", a tie with RBF SVM and kNN."),
        (["worse", "worse"], ", measurably ahead of all other heads."),
        (["worse"], ", measurably ahead of the other head."),
        ([], "75.0–84.0 %). Raw"),
    ],
)
def test_the_finding_says_how_the_others_did(verdicts: list[str], words: str) -> None:
    results = comparison()
    results["heads"] = results["heads"][: len(verdicts) + 1]
    for rival, verdict in zip(results["heads"][1:], verdicts, strict=True):
        rival["verdict"] = verdict
    assert words in Page(render(results)).text


def test_the_leaderboard_holds_every_figure() -> None:
    page = Page(render(comparison()))
    assert page.row("RBF SVM C = 1, gamma = 0.3") == [
        "RBF SVM C = 1, gamma = 0.3",
        "80.0 % 75.0–84.0 %",
        "",
        "79.1 % ± 1.2",
        "0.795",
        "0.432",
        "1.3",
        "tie",
    ]
    assert page.row("Most frequent class")[1] == "33.3 % 28.3–37.3 %"


def test_further_scores_have_their_intervals() -> None:
    page = Page(render(comparison()))
    assert page.row("RBF SVM", "−1.2 −3.0 to 0.4") == [
        "RBF SVM",
        "−1.2 −3.0 to 0.4",
        "0.210",
        "77.8 % 70.0–84.0",
        "0.911 0.880–0.950",
        "0.065 0.030–0.100",
        "0.012",
    ]
    assert page.row("Linear SVM", "–")[:3] == ["Linear SVM", "–", "–"]
    assert "Without leakage" not in page.text


def test_the_accuracy_without_leakage_is_shown_where_images_leaked() -> None:
    results = comparison()
    for head in results["heads"]:
        head["test_accuracy_without_leakage"] = 0.75
        head["test_accuracy_without_leakage_ci"] = (0.6, 0.86)
    assert "75.0 % 60.0–86.0" in Page(render(results)).row("RBF SVM", "−1.2 −3.0 to 0.4")


def test_an_approximate_head_says_so() -> None:
    results = comparison()
    assert "approximate" not in Page(render(results)).text
    results["heads"][1]["approximation"] = "Nyström, 500 rows"
    assert "approximate: Nyström, 500 rows" in Page(render(results)).text


def test_heads_of_several_backbones_are_told_apart() -> None:
    results = comparison()
    results["backbones"] = [
        {"backbone": "tiny-net", "scores": {"LogME": 0.5}},
        {"backbone": "huge", "scores": {"LogME": 1.25, "H-score": 3}},
    ]
    results["heads"][1] |= {"name": "linear-svm", "title": "linear SVM", "backbone": "huge"}
    page = Page(render(results))
    assert "Best head: linear SVM on tiny-net, 80.0 %" in page.text
    assert "a tie with linear SVM on huge" in page.text
    assert page.row("Backbone") == ["Backbone", "LogME", "H-score"]
    assert page.row("tiny-net") == ["tiny-net", "0.500", "–"]
    assert page.row("huge") == ["huge", "1.250", "3.000"]


def test_figures_that_a_baseline_has_not_are_dashes() -> None:
    results = comparison()
    results["baselines"][1] |= {
        "log_loss": float("inf"),
        "macro_f1": None,
        "cv_std": float("nan"),
        "cv_accuracy": None,
    }
    assert Page(render(results)).row("Most frequent class")[3:] == ["–", "–", "∞", "1.3", "–"]


def test_the_confusion_matrix_is_a_table_with_headers() -> None:
    page = Page(render(comparison()))
    assert page.row("True") == ["True", *CLASSES]
    for name, counts in zip(CLASSES, CONFUSION, strict=True):
        assert page.row(name, str(counts[0])) == [name, *map(str, counts)]
    assert "“shirt” taken for “hat”, 3 of 10 times (30.0 %)." in page.text


def test_confusions_come_by_count_and_then_by_share_of_the_class() -> None:
    text = Page(render(comparison(confusion=[[90, 2, 0], [2, 8, 0], [3, 0, 7]]))).text
    places = [
        text.index(f"“{true}” taken for “{answer}”, {times}")
        for true, answer, times in [
            ("shirt", "hat", "3 of 10 times (30.0"),
            ("pants", "hat", "2 of 10 times (20.0"),
            ("hat", "pants", "2 of 92 times (2.2"),
        ]
    ]
    assert places == sorted(places)


def test_classes_have_their_scores() -> None:
    page = Page(render(comparison()))
    assert page.row("shirt", "0.778") == ["shirt", "0.778", "0.700", "0.737", "", "10"]
    assert "Lowest F1: “hat” (0.727), “shirt” (0.737), “pants” (0.947)." in page.text


def test_a_class_without_images_or_answers_has_dashes_and_a_note() -> None:
    page = Page(render(comparison(confusion=[[9, 0, 1], [0, 0, 0], [0, 0, 4]])))
    assert page.row("pants", "–") == ["pants", "–", "–", "–", "", "0"]
    assert "nothing to divide by" in page.text


def test_method_data_and_provenance_are_there() -> None:
    page = Page(render(comparison()))
    for words in (
        "best accuracy in: 5-fold cross-validation on train + validation (seed 7). Each head was"
        " then refitted on all 3,600 training images",
        "The test split came with the data set. Its 30 images took no part",
        "the same test images are resampled for both",
        "2 images could not be used: truncated (2).",
        "Backbone tiny-net",
        "shorter side to 256 px (bicubic, antialiased), central 224 × 224 px",
        "mean 0.5, 0.5, 0.5; std 0.25, 0.25, 0.25",
        "Licence of the weights Apache-2.0",
        comparison()["extraction"]["digest"],
        "Created 2025-03-01 10:20 UTC",
        "headstart train-heads g.h5 --out run",
        "RBF SVM 2 candidates; chosen: C = 1, gamma = 0.3",
    ):
        assert words in page.text
    assert page.row("all classes") == ["all classes", "3,600", "30", "3,630"]
    assert page.row("10", "79.1 % ± 1.2")[-1] == "chosen"
    assert page.row("0.5", "55.0 % ± 2.0")[-1] == ""


def test_provenance_may_be_empty_and_its_time_any_text() -> None:
    results = comparison()
    results["provenance"] = {}
    assert "To make these figures again" not in Page(render(results)).text
    results["provenance"] = {"created": "yesterday", "machine": ["two", "cores"], "software": None}
    text = Page(render(results)).text
    assert "Created yesterday Machine two, cores" in text


def test_records_are_rendered_like_their_json() -> None:
    results = comparison()
    assert isinstance(results["heads"][0]["test_accuracy_ci"], tuple)
    assert render(results) == render(json.loads(json.dumps(results)))


def test_no_errors_and_no_warnings_and_no_baselines() -> None:
    results = comparison(confusion=[[5, 0, 0], [0, 5, 0], [0, 0, 5]])
    results |= {"warnings": [], "baselines": []}
    page = Page(render(results, []))
    assert "got every test image right" in page.text
    assert "There are none." in page.text
    assert "Before you rely on this" not in page.text
    assert "Baselines" not in page.text
    assert "triangle" not in page.text


# ---- plots and sizes -----------------------------------------------------------------------------


def test_intervals_share_one_axis_and_what_lies_outside_is_pointed_at() -> None:
    page = Page(render(comparison()))
    assert page.text.count("triangle") == 1
    dots = page.values("cx")
    assert len(dots) == 3  # the heads; both baselines lie far below the axis
    assert len(set(dots)) == 1
    assert ("path", ("class", "d")) in page.tags


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_axis_holds_its_values_with_few_round_ticks(values: list[float]) -> None:
    axis = figures.axis(values)
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    assert (axis.low, axis.high) == pytest.approx((axis.ticks[0], axis.ticks[-1]))
    assert 2 <= len(axis.ticks) <= 6
    assert all(0 <= tick <= 1.0001 for tick in axis.ticks)
    assert all(5 <= float(axis.at(value)[:-1]) <= 95 for value in values)


@given(st.data())
def test_class_scores_agree_with_each_other(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 5))
    row = st.lists(st.integers(0, 9), min_size=k, max_size=k)
    confusion = data.draw(st.lists(row, min_size=k, max_size=k))
    found = figures.cells(confusion)
    counts = [[i, j, n] for i, line in enumerate(confusion) for j, n in enumerate(line)]
    assert figures.cells({"shape": [k, k], "cells": counts}) == found
    scores = figures.class_scores([str(i) for i in range(k)], found)
    assert sum(score.support for score in scores) == sum(map(sum, confusion))
    for i, score in enumerate(scores):
        assert (score.recall is None) == (score.support == 0)
        assert (score.precision is None) == (not any(line[i] for line in confusion))
        if score.precision and score.recall:
            mean = 2 / (1 / score.precision + 1 / score.recall)
            assert score.f1 == pytest.approx(mean)


def test_two_classes() -> None:
    page = Page(render(comparison(["cat", "dog"], [[9, 1], [0, 10]])))
    assert page.row("cat", "9") == ["cat", "9", "1"]
    assert "“cat” taken for “dog”, 1 of 10 times (10.0 %)." in page.text


def test_forty_classes_are_a_matrix_and_more_are_pairs() -> None:
    names = [f"species {i}" for i in range(120)]
    assert "Confusion matrix" in Page(render(comparison(names[:40], square(40)))).text
    page = Page(render(comparison(names, square(120))))
    assert "Confusion matrix" not in page.text
    assert "beyond 40 classes this page shows the most confused pairs instead" in page.text
    assert "The 30 most confused of 120 confused pairs" in page.text
    assert page.row("species 0", "species 1") == ["species 0", "species 1", "2", "10", "20.0 %"]
    assert page.row("species 119", "0.800") == ["species 119", "0.800", "0.800", "0.800", "", "10"]


def test_a_matrix_without_its_zeros_says_the_same() -> None:
    names = [f"species {i}" for i in range(120)]
    dense = comparison(names, square(120))
    sparse = copy.deepcopy(dense)
    for head in [*sparse["heads"], *sparse["baselines"]]:
        cells = [[i, j, n] for i, row in enumerate(head["confusion"]) for j, n in enumerate(row)]
        head["confusion"] = {"shape": [120, 120], "cells": [cell for cell in cells if cell[2]]}
    assert render(sparse) == render(dense)


@pytest.mark.parametrize("k", [2, 3, 60])
def test_plots_are_written_as_drawings_of_the_results(tmp_path: Path, k: int) -> None:
    names = ["<b>&'\"", "سلام", *(f"{i}, a long name that is cut somewhere" for i in range(58))][:k]
    document = json.dumps(comparison(names, square(k)))
    (tmp_path / "results.json").write_text(document, encoding="utf-8")
    paths = write_plots(tmp_path)
    assert [path.stem for path in paths] == ["heads", "confusion", "reliability", "learning-curve"]
    drawn = {path.stem: ElementTree.parse(path).getroot() for path in paths}
    texts = {
        name: ["".join(t.itertext()) for t in root.iter(f"{SVG}text")]
        for name, root in drawn.items()
    }
    assert {"Linear SVM", "best", "tie", "Raw pixels"} <= set(texts["heads"])
    assert len(list(drawn["heads"].iter(f"{SVG}circle"))) == 5
    shown = set(texts["confusion"])
    if k <= plots.MATRIX_CLASSES:
        assert {"<b>&'\"", "سلام", "8", "2"} <= shown
    else:
        assert len([text for text in shown if " → " in text]) == plots.PAIRS
        assert "<b>&'\" → سلام" in shown
    assert "calibration error 0.065" in texts["reliability"][0]
    assert len(list(drawn["reliability"].iter(f"{SVG}circle"))) == 2
    write_plots(tmp_path)
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(
        path.name for path in paths
    )


def test_the_learning_curve_shows_sizes_law_and_forecast() -> None:
    points = [
        {"images": 20.0 * 2**i, "accuracy": 0.6 + 0.05 * i, "accuracy_ci": [0.5, 0.9]}
        for i in range(6)
    ]
    doubling = {"images": 1600, "accuracy": 0.9, "accuracy_ci": [0.85, 0.95]}
    law = {"ceiling": 0.95, "scale": 1.0, "exponent": 0.3}
    curve = {"head": "knn", "points": points, "fit": law, "doubling": doubling}
    for one, circles in (
        (curve, 7),
        (curve | {"fit": None, "doubling": None}, 6),
        (curve | {"points": points[:1], "fit": None, "doubling": None}, 1),
        (curve | {"points": [], "fit": None, "doubling": None}, 0),
        (None, 0),
    ):
        drawn = plots.learning_curve({"heads": [], "insights": {"learning_curve": one}})
        root = ElementTree.fromstring(drawn)
        found = list(root.iter(f"{SVG}circle"))
        assert len(found) == circles
        xs = [float(circle.get("cx")) for circle in found]
        assert xs == sorted(set(xs))
        assert ("90.0 %" in drawn) == (circles == 7)
        assert (circles > 0) == ("Learning curve of k" in drawn)
        assert "nan" not in drawn


# ---- safety and form -----------------------------------------------------------------------------


@pytest.mark.parametrize("mistakes", [None, [prediction("a.jpg", "hat", "shirt", 0.9)]])
def test_the_page_loads_nothing_and_runs_its_own_scripts_only(
    mistakes: list[dict[str, str]] | None,
) -> None:
    page = Page(render(comparison(), mistakes))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"iframe", "object", "embed", "audio", "video"}
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {name for name in names if name.startswith("on")}
    assert all(src.startswith("data:image/webp;base64,") for src in page.values("src"))
    assert all(href.startswith("#") or href == "data:," for href in page.values("href"))
    assert "url(" not in page.style
    assert "@import" not in page.style
    policy = next(text for text in page.values("content") if text.startswith("default-src 'none'"))
    assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    _, *programs = page.scripts
    for program in programs:
        digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_every_reference_has_its_target_and_every_scroller_the_keyboard() -> None:
    html = render(comparison(), [prediction("a.jpg", "hat", "shirt", 0.9)])
    page = Page(html)
    identifiers = page.values("id")
    assert len(set(identifiers)) == len(identifiers)
    links = [href[1:] for href in page.values("href") if href.startswith("#")]
    assert set(links + page.values("aria-labelledby")) <= set(identifiers)
    assert html.count('class="scroll"') == html.count('tabindex="0"') > 0
    assert [tag for tag, _ in page.tags].count("h1") == 1


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "</title></style><h1>",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_only_text(name: str) -> None:
    def page(text: str) -> Page:
        results = comparison([text, "pants", "shirt"])
        results["dataset"]["name"] = text
        results["dataset"]["failure_reasons"] = {text: 2}
        results["warnings"] = [text]
        results["provenance"] |= {"command": text, "machine": {text: text}, "created": text}
        results["protocol"]["test_split"] = text
        results["extraction"]["document"]["backbone"]["source"] = text
        results["heads"][1]["params"] = {text: text}
        mistake = prediction(text, "shirt", "hat", 0.9) | {"predicted": text, f"p:{text}": "0.9"}
        return Page(render(results, [mistake]))

    hostile = page(name)
    assert hostile.tags == page("harmless").tags
    assert hostile.text.count(name) > 10


@given(st.text(st.characters(), max_size=20))
def test_any_class_name_gives_the_same_page_structure(name: str) -> None:
    html = render(comparison([name, "pants", "shirt"]))
    assert Page(html).tags == Page(render(comparison())).tags
    assert html.encode("utf-8").decode("utf-8") == html


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("襯衫", "襯衫"),
        ("قميص", "قميص"),
        ("क्\u200dष", "क्\u200dष"),
        ("caf\udce9", "caf\\xe9"),
        ("a\ud800b", "a\\ud800b"),
        ("a\u202eb", "a\\u202eb"),
        ("a\nb\x00", "a\\nb\\x00"),
    ],
)
def test_names_of_any_script_are_shown_and_broken_ones_spelled_out(name: str, shown: str) -> None:
    assert f"<bdi>{shown}</bdi>" in render(comparison([name, "pants", "shirt"]))


def _luminance(colour: Sequence[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Contrast ratio of WCAG 2.2, with sRGB colours on the 0…1 scale."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_have_the_contrast_of_wcag_aa(scheme: int) -> None:
    style = Page(render(comparison())).style
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = {
        name: [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        for name, digits in re.findall(r"--([a-z-]+): #([0-9a-f]{6});", block)
    }
    for text in ("ink", "muted", "accent"):
        assert _contrast(colours[text], colours["paper"]) >= 4.5
    assert _contrast(colours["ink"], colours["raised"]) >= 4.5
    shades = re.findall(r"--(hit|miss): (\d+) (\d+) (\d+);", block)
    assert len(shades) == 2
    least = float(re.search(r"--least: ([.\d]+)", block)[1])
    strongest = {"hit": 0.08 + 0.47, "miss": least + 0.46}
    assert "rgb(var(--hit) / calc(.08 + .47 * var(--s)))" in style
    assert "rgb(var(--miss) / calc(var(--least) + .46 * var(--s)))" in style
    for kind, *channels in shades:
        alpha = strongest[kind]
        cell = [
            alpha * int(channel) / 255 + (1 - alpha) * paper
            for channel, paper in zip(channels, colours["paper"], strict=True)
        ]
        assert _contrast(colours["ink"], cell) >= 4.5


# ---- predictions ---------------------------------------------------------------------------------


def test_the_most_confident_errors_come_first_and_are_thirty_at_most() -> None:
    rows = [prediction(f"right/{i}.jpg", "hat", "hat", 0.99) for i in range(5)]
    rows += [prediction(f"wrong/{i}.jpg", "hat", "shirt", 0.4 + i / 100) for i in range(40)]
    page = Page(render(comparison(confusion=[[5, 0, 40], [0, 5, 0], [0, 0, 5]]), rows))
    shown = [row for row in page.rows if row[-1].startswith(("right/", "wrong/"))]
    assert [row[-1] for row in shown] == [f"wrong/{i}.jpg" for i in range(39, 9, -1)]
    assert shown[0] == ["hat", "shirt", "0.790", "wrong/39.jpg"]
    assert "The 30 of 40 wrong answers" in page.text


def test_without_predictions_there_is_no_list_of_errors() -> None:
    assert "most confident errors" not in Page(render(comparison())).text
    assert "lists none of the 6 wrong answers" in Page(render(comparison(), [])).text


@pytest.mark.parametrize("broken", ["p:shirt", "path", "true", "predicted"])
def test_predictions_that_lack_something_are_refused(broken: str) -> None:
    row = prediction("a.jpg", "hat", "shirt", 0.9)
    del row[broken]
    with pytest.raises(InputError, match=r"^the predictions cannot .* train-heads again$"):
        render(comparison(), [row])


# ---- files ---------------------------------------------------------------------------------------


def _write_predictions(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "predictions.csv").open(
        "w", encoding="utf-8", errors="surrogateescape", newline=""
    ) as file:
        writer = csv.DictWriter(file, list(prediction("", "hat", "hat", 1.0)))
        writer.writeheader()
        writer.writerows(rows)


def test_the_report_is_what_render_returns(folder: Path) -> None:
    rows = [
        prediction("a,\n“b”.jpg", "hat", "shirt", 0.9),
        prediction("caf\udce9.jpg", "pants", "hat", 0.6),
        prediction("c.jpg", "hat", "hat", 0.7),
    ]
    _write_predictions(folder, rows)
    path = write_report(folder)
    assert path == folder / "report.html"
    html = path.read_text(encoding="utf-8")
    assert html == render(comparison(), rows)
    assert "caf\\xe9.jpg" in html


def test_an_empty_table_of_predictions_is_no_failure(folder: Path) -> None:
    _write_predictions(folder, [])
    assert "lists none of the 6 wrong answers" in write_report(folder).read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b"path,true\na,b\n", b"\xff\xfe\x00"])
def test_a_foreign_table_of_predictions_is_refused(folder: Path, content: bytes) -> None:
    (folder / "predictions.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"predictions\.csv has no column .* or remove the file$"):
        write_report(folder)


def test_predictions_with_an_impossible_row_are_refused(folder: Path) -> None:
    _write_predictions(folder, [prediction("a.jpg", "hat", "shirt", 0.5) | {"p:shirt": "much"}])
    with pytest.raises(InputError, match=r"predictions\.csv cannot be reported: .*much"):
        write_report(folder)


def test_a_report_is_replaced_and_nothing_else_is_left(folder: Path) -> None:
    (folder / "report.html").write_text("old", encoding="utf-8")
    write_report(folder)
    first = (folder / "report.html").read_bytes()
    write_report(folder)
    assert (folder / "report.html").read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "results.json"]


def test_a_reader_of_the_old_report_keeps_it_whole(folder: Path) -> None:
    (folder / "report.html").write_text("old", encoding="utf-8")
    with (folder / "report.html").open(encoding="utf-8") as reader:
        write_report(folder)
        assert reader.read() == "old"  # a new file took the name; the old one was not written to


def test_a_report_that_cannot_be_written_leaves_no_trace(folder: Path) -> None:
    (folder / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"^cannot write .*report\.html: [^\n]+$"):
        write_report(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "results.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_an_output_error(folder: Path) -> None:
    folder.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            write_report(folder)
    finally:
        folder.chmod(0o700)


def test_an_old_report_survives_results_that_went_bad(folder: Path) -> None:
    (folder / "report.html").write_text("old", encoding="utf-8")
    (folder / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError):
        write_report(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("missing", ["", "nowhere"])
def test_no_results_means_train_first(tmp_path: Path, missing: str) -> None:
    with pytest.raises(InputError, match=r"^there is no .*results\.json; run headstart train-h"):
        write_report(tmp_path / missing)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"9" * 5000,
        b"[]",
        b"3",
        b'{"schema": 1}',
        b'{"schema": 2}',
        b'{"schema": "1\\n"}',
        b'{"name": "of another program"}',
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_foreign_results_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(InputError, match=r"results\.json[^\n]*run headstart train-heads again$"):
        write_report(tmp_path)


def test_results_that_are_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").mkdir()
    with pytest.raises(InputError, match=r"^cannot read [^\n]*results\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("keys", "value", "complaint"),
    [
        (["schema"], 3, "its schema is 3, not 2"),
        (["best"], "mlp", "the best head is not among the heads"),
        (["heads"], [], "the best head is not among the heads"),
        (["heads"], {}, "heads is no list"),
        (["heads", 0, "confusion"], [[1]], "confusion matrix of linear-svm is not 3 by 3"),
        (["heads", 0, "confusion", 1], [1, 2], "confusion matrix of linear-svm is not 3 by 3"),
        (["heads", 0, "confusion", 1, 1], -1, r"heads\[0\]\.confusion is not usable"),
        (["heads", 1, "test_accuracy"], None, r"heads\[1\]\.test_accuracy is not usable"),
        (["heads", 1, "test_accuracy"], float("nan"), r"heads\[1\]\.test_accuracy is not usable"),
        (["heads", 1, "test_accuracy_ci"], [0.5], "interval of rbf-svm has not two ends"),
        (
            ["heads", 0, "confusion"],
            {"shape": [3, 3], "cells": [[0, 3, 1]]},
            "confusion is not usable",
        ),
        (["heads", 0, "confusion"], {"shape": [2, 2], "cells": []}, "linear-svm is not 3 by 3"),
        (["heads", 0, "confusion"], {"cells": []}, "confusion is not usable"),
        (["heads", 0, "intervals"], {"ece": [1]}, r"heads\[0\]\.intervals is not usable"),
        (["heads", 0, "reliability", "images"], [1], r"heads\[0\]\.reliability is not usable"),
        (["heads", 1, "difference_ci"], [1], r"heads\[1\]\.difference_ci is not usable"),
        (["backbones", 0, "scores"], {"LogME": "much"}, r"backbones\[0\]\.scores is not usable"),
        (["heads", 1, "seconds"], 10**400, r"heads\[1\]\.seconds is not usable"),
        (["dataset", "classes"], [], "there are no classes"),
        (["dataset", "images", "train"], [1, "x"], "dataset.images is not usable"),
        (["dataset"], None, "dataset is no object"),
        (["extraction", "document"], {}, r"extraction\.document\.backbone is missing"),
        (["warnings"], "none", "warnings is no list"),
        (["provenance"], None, "provenance is not usable"),
    ],
)
def test_results_of_the_wrong_shape_are_refused(
    keys: list[str | int], value: object, complaint: str
) -> None:
    results: Any = copy.deepcopy(comparison())
    part = results
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    with pytest.raises(InputError, match=f"^the results cannot be reported: .*{complaint}; run"):
        render(results)


@pytest.mark.parametrize("key", sorted(comparison().keys() - {"schema"}))
def test_every_part_of_the_results_is_needed(key: str) -> None:
    results = comparison()
    del results[key]
    with pytest.raises(InputError, match=f"{key} is missing"):
        render(results)


@pytest.mark.parametrize(
    "curve", [7, {}, {"head": "knn", "points": [{"images": 3, "accuracy": 2}]}, {"points": []}]
)
def test_a_learning_curve_that_cannot_be_drawn_is_refused(curve: object) -> None:
    with pytest.raises(InputError, match="learning_curve"):
        render(comparison() | {"insights": {"learning_curve": curve}})


@pytest.mark.parametrize("named", [None, 7, "text", [3], {"a": 1}])
def test_odd_names_of_stores_are_passed_over(folder: Path, named: object) -> None:
    document = json.loads((folder / "results.json").read_text())
    document["provenance"]["stores"] = named
    (folder / "results.json").write_text(json.dumps(document))
    assert store_paths(folder) == []


def test_before_the_first_epoch_nothing_was_trained(tmp_path: Path) -> None:
    epochs = [
        {"epoch": 0, "train_loss": 0.0, "validation_loss": 0.9},
        {"epoch": 1, "train_loss": 0.8, "validation_loss": 0.7},
    ]
    (tmp_path / "history.json").write_text(json.dumps({"epochs": epochs}))
    found = read_history(tmp_path / "history.json")
    assert (found["train_loss"], found["validation_loss"]) == ([None, 0.8], [0.9, 0.7])


@pytest.mark.parametrize("content", ["{", "7", "[3]", '{"epochs": 1}'])
def test_a_history_that_is_none_is_refused_in_one_line(folder: Path, content: str) -> None:
    (folder / "history.json").write_text(content)
    with pytest.raises(InputError) as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", ["label_issues.csv", "duplicates.csv"])
def test_a_foreign_table_beside_the_results_is_refused(folder: Path, table: str) -> None:
    (folder / table).write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="has no column"):
        write_report(folder)
