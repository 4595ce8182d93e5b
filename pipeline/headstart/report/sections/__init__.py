"""The sections of the report: each has an entry in `SECTIONS` and a template, ``KEY.html.j2``.

A template gets the variables of `headstart.report.page.context` and the macros of
``macros.html.j2``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.core import artifacts
from headstart.core.errors import count
from headstart.core.group_text import in_words

FOLDER = Path(__file__).parent


def _always(_: Mapping[str, Any]) -> bool:
    return True


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        key: its anchor, and the name of its template.
        short: its name in the table of contents; empty for the title.
        shown: whether the page has it, given the page's context.
        insight: the field of `headstart.core.results.Insights` that ``summary`` takes.
        summary: one line about that insight for the terminal; empty if there is nothing to say.
    """

    key: str
    title: str
    short: str = ""
    shown: Callable[[Mapping[str, Any]], bool] = _always
    insight: str = ""
    summary: Callable[[Any], str] | None = None
    folder: Path = FOLDER

    @property
    def template(self) -> str:
        """The file name of the template."""
        return f"{self.key}.html.j2"


def _about_duplicates(duplicates: Mapping[str, Any]) -> str:
    parts = []
    if duplicates["images"]:
        groups = "group" if duplicates["groups"] == 1 else "groups"
        parts.append(
            f"duplicates.csv: {duplicates['images']:,} duplicate images in"
            f" {duplicates['groups']:,} {groups}"
        )
    if duplicates.get("session_images"):
        parts.append(
            f"sessions.csv: {duplicates['session_images']:,} images that may be of one session"
            " (different photos, same background)"
        )
    return "; ".join(parts)


def expected_errors(tier: Mapping[str, Any]) -> str:
    """Return how many labels of a tier are wrong, by the estimate and the end of its interval."""
    errors, highest = round(tier["errors"]), round(tier["errors_highest"])
    about = f"about {errors:,} wrong" if errors else "probably none wrong"
    return about + (f", at most {highest:,}" if highest > errors else "")


def _noun(tier: str) -> str:
    return tier if tier.endswith("image") else f"{tier} error"


def _about_labels(errors: Mapping[str, Any]) -> str:
    if not errors["suspects"]:
        return ""
    tiers = errors.get("tiers") or []
    if not tiers:  # results before there were tiers
        return f"label_issues.csv: {errors['suspects']:,} of {errors['images']:,} labels to look at"
    parts = [
        f"{count(tier['images'], _noun(tier['tier']))} ({expected_errors(tier)})" for tier in tiers
    ]
    lines = f"label_issues.csv: {', '.join(parts)}"
    pairs = [f"{pair['first']} and {pair['second']}" for pair in errors.get("confused") or []]
    if pairs:
        lines += f". Check where one class ends and the other begins: {', '.join(pairs[:3])}"
    return lines


def _about_doubling(curve: Mapping[str, Any]) -> str:
    doubling = curve["doubling"]
    if not doubling:
        return ""
    low, high = doubling["gain_ci"]
    return (
        f"forecast for twice as many training images: {100 * doubling['gain']:+.1f} percentage"
        f" points of accuracy ({100 * low:+.1f} to {100 * high:+.1f})"
    )


def _about_remarks(remarks: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"remark {remark['code']}: {remark['text']}" for remark in remarks)


def about_thresholds(operating: Mapping[str, Any], option: str = "--at") -> str:
    """Return a line about thresholds of the confidence, for single images or groups."""
    subject = "right answers for groups" if "--groups" in option else "right answers"
    reached = [point for point in operating["points"] if point["reached"]]
    missed = [point for point in operating["points"] if not point["reached"]]
    parts = [
        f"{_percent(point['target'])} from {point['threshold']:.3f} on ({_answered(point)})"
        for point in reached
    ]
    text = f"{subject} by confidence (predict {option}): {', '.join(parts)}" if reached else ""
    if missed:
        text += "; " if text else f"{subject} by confidence: "
        # Rounded down: one just below its target must not read like the target.
        best = math.floor(round(1e4 * max(point["bound"] for point in missed), 6)) / 1e4
        *others, last = [_percent(point["target"]) for point in missed]
        names = f"{', '.join(others)} and {last} are" if others else f"{last} is"
        text += f"{names} not reached, {_percent(best)} at most"
    return text


def _about_groups(scores: Mapping[str, Any]) -> str:
    line = in_words(scores, artifacts.GROUP_PREDICTIONS)
    operating = scores.get("operating_points")
    return f"{line}\n{about_thresholds(operating, '--groups --at')}" if operating else line


def _about_costs(costs: Mapping[str, Any]) -> str:
    low, high = costs["saved_ci"]
    return (
        f"mean cost of an image: {costs['cost']:.4g}; decided by expected cost (predict --costs):"
        f" {costs['decided']:.4g}, {costs['saved']:.4g} saved ({low:.4g} to {high:.4g}),"
        f" {costs['accuracy']:.1%} right"
    )


def _answered(point: Mapping[str, Any]) -> str:
    share = f"{_percent(point['share'], 0)} answered"
    if point["test_accuracy"] is None:
        return f"{share}; not tested on other images"
    low, high = point["test_accuracy_ci"]
    right = f"{_percent(point['test_accuracy'], 1)} right, {100 * low:.1f}–{100 * high:.1f}"
    return f"{share}; test: {_percent(point['test_share'], 0)} answered, {right}"


def _percent(share: float, digits: int = 2) -> str:
    """Return a share in percent, without zeros at the end."""
    return f"{round(100 * share, digits):g} %"


SECTIONS: tuple[Section, ...] = (
    Section("results", "Comparison of heads", "Heads"),
    Section(
        "remarks",
        "Remarks",
        shown=lambda page: bool(page["insights"]["remarks"]),
        insight="remarks",
        summary=_about_remarks,
    ),
    Section("confusion", "Confusions"),
    Section("classes", "Scores by class", "Classes"),
    Section(
        "curves",
        "Calibration and learning curve",
        "Curves",
        insight="learning_curve",
        summary=_about_doubling,
    ),
    Section(
        "operating",
        "Operating points",
        insight="operating_points",
        summary=about_thresholds,
    ),
    Section(
        "costs",
        "Costs of errors",
        "Costs",
        lambda page: bool(page["insights"].get("costs")),
        "costs",
        _about_costs,
    ),
    Section(
        "groups",
        "Groups of images",
        "Groups",
        lambda page: bool(page["groups"]),
        "group_answers",
        _about_groups,
    ),
    Section("errors", "Most confident errors", "Errors", lambda page: page["mistakes"] is not None),
    Section("explore", "Images", shown=lambda page: bool(page["album"].n_shown)),
    Section("map", "Map of the images", "Map", lambda page: page["album"].mapped),
    Section(
        "labels",
        "Labels to look at",
        "Label errors",
        lambda page: bool(page["suspects"]),
        "label_errors",
        _about_labels,
    ),
    Section(
        "duplicates",
        "Duplicates and leakage",
        "Duplicates",
        lambda page: bool(page["duplicates"]),
        "duplicates",
        _about_duplicates,
    ),
    Section("method", "Method"),
    Section("search", "Hyper-parameter search", "Search"),
    Section("data", "Data set", "Data"),
    Section("provenance", "Provenance"),
)

# Of the page about finished models; those of the comparison get the same variables.
_SHARED = {section.key: section for section in SECTIONS}
OF_AN_EVALUATION: tuple[Section, ...] = (
    Section("scores", "Scores"),
    Section("changes", "Changed answers", "Changes", lambda page: page["paired"] is not None),
    _SHARED["confusion"],
    _SHARED["classes"],
    dataclasses.replace(
        _SHARED["curves"],
        title="Calibration",
        short="",
        shown=lambda page: bool(page["best"]["reliability"]["images"]),
    ),
    _SHARED["groups"],
    _SHARED["errors"],
)


def summaries(results: Mapping[str, Any]) -> list[str]:
    """Return a line for the terminal about each insight that has something to report."""
    insights = results["insights"]
    lines = [
        section.summary(insights[section.insight])
        for section in sorted(SECTIONS, key=lambda section: section.insight)
        if section.summary and insights.get(section.insight)
    ]
    return [line for line in lines if line]
