"""Sections: each has its template; a new one is a record, a template and a row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pytest
from factories import insights, learning_curve, results_document
from headstart.cli.leaderboard import show
from headstart.core.results import Count
from headstart.report import render, sections
from headstart.report.schema import of_record
from headstart.report.sections import SECTIONS, Section, summaries
from html_page import Page


@dataclass(frozen=True)
class Toys:
    """Toys among the images."""

    images: Count


def count_toys(toys: Mapping[str, Any]) -> str:
    return f"{toys['images']} toys"


def test_sections_have_a_template_and_a_name_of_their_own():
    assert len({section.key for section in SECTIONS}) == len(SECTIONS)
    listed = {section.template for section in (*SECTIONS, *sections.OF_AN_EVALUATION)}
    assert {path.name for path in sections.FOLDER.glob("*.j2")} == listed


@pytest.mark.slow
def test_a_new_section_is_a_record_a_template_and_a_row(tmp_path, monkeypatch, capsys):
    (tmp_path / "toys.html.j2").write_text("<p>{{ insights.toys.images }} images show toys.</p>")
    toys = Section("toys", "Toys & games", insight="toys", summary=count_toys, folder=tmp_path)
    monkeypatch.setattr(sections, "SECTIONS", (*SECTIONS, toys))
    results = results_document()
    results["insights"]["toys"] = asdict(Toys(7))
    page = Page(render(results))
    assert "Toys & games 7 images show toys." in page.text
    assert "#toys" in page.values("href")
    show(results)
    assert "7 toys" in capsys.readouterr().out
    assert of_record(Toys)["properties"] == {"images": {"$ref": "#/definitions/count"}}


def test_without_the_insight_a_new_section_has_no_summary(monkeypatch):
    toys = Section("toys", "Toys", insight="toys", summary=count_toys)
    monkeypatch.setattr(sections, "SECTIONS", (*SECTIONS, toys))
    assert summaries(results_document()) == []


@pytest.mark.parametrize(
    ("key", "insight", "words"),
    [
        ("duplicates", {"images": 12, "groups": 3}, "duplicates.csv: 12 .* 3 groups"),
        ("duplicates", {"images": 2, "groups": 1}, "duplicates.csv: 2 .* 1 group$"),
        ("label_errors", {"images": 90, "suspects": 4}, "label_issues.csv: 4 of 90"),
    ],
)
def test_insights_have_a_line_on_the_terminal(key, insight, words):
    results = results_document()
    results["insights"][key] |= insight
    (line,) = summaries(results)
    assert re.match(words, line)


def test_the_forecast_is_on_the_terminal():
    results = results_document(insights=insights(learning_curve([20, 40])))
    assert summaries(results) == []
    forecast = {"images": 80, "accuracy": 0.9, "accuracy_ci": [0.8, 0.95]}
    doubling = forecast | {"gain": 0.021, "gain_ci": [-0.01, 0.05]}
    results["insights"]["learning_curve"]["doubling"] = doubling
    (line,) = summaries(results)
    assert "+2.1 percentage points" in line
    assert "(-1.0 to +5.0)" in line


def test_a_target_just_missed_does_not_read_as_reached():
    point = {"target": 0.95, "reached": False, "bound": 0.949997}
    assert "94.99 % at most" in sections.about_thresholds({"points": [point]})


def test_every_target_that_no_threshold_reaches_is_named():
    missed = {"reached": False, "bound": 0.93, "threshold": 0.9, "share": 0.1}
    points = [missed | {"target": target} for target in (0.95, 0.98, 0.99)]
    line = sections.about_thresholds({"points": points})
    assert "95 %, 98 % and 99 % are not reached, 93 % at most" in line
    assert "99 % is not reached" in sections.about_thresholds({"points": points[2:]})
