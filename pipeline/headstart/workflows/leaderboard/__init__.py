"""The heads of a comparison as rows: values for a data frame, texts for a table.

The target type of the results says what the columns are; each of its modules here has the functions
and the tables ``TITLES``, ``OPTIONAL`` and ``LEFT`` below.
"""

from __future__ import annotations

import html
from typing import Any

from headstart.core import targets
from headstart.core.errors import one_line
from headstart.workflows.leaderboard.shared import in_line, is_tested, provenance

__all__ = [
    "as_html",
    "cells",
    "columns",
    "headline",
    "is_tested",
    "of",
    "provenance",
    "rows",
    "summaries",
    "warnings",
]


def of(results: dict[str, Any]) -> Any:  # noqa: ANN401 - a module
    """Return the module that knows the columns of these results."""
    return targets.by_name(results.get("target", targets.SINGLE_LABEL)).part("leaderboard")


def rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each head, best first, then each baseline: fractions and seconds."""
    own: list[dict[str, Any]] = of(results).rows(results)
    return own


def columns(results: dict[str, Any]) -> list[str]:
    """Return the keys of ``TITLES`` to show."""
    own: list[str] = of(results).columns(results)
    return own


def cells(results: dict[str, Any], row: dict[str, Any]) -> dict[str, str]:
    """Return a row's figures as texts, by the keys of ``TITLES``."""
    own: dict[str, str] = of(results).cells(row)
    return own


def headline(results: dict[str, Any]) -> str:
    """Return the best head and its score."""
    return str(of(results).headline(results))


def summaries(results: dict[str, Any]) -> list[str]:
    """Return one line for each insight that has something to report."""
    own: list[str] = of(results).summaries(results)
    return own


def warnings(results: dict[str, Any]) -> list[str]:
    """Return a line for each warning, which begins with its code."""
    return [in_line(warning) for warning in results["warnings"]]


def as_html(results: dict[str, Any]) -> str:
    """Return the leaderboard as an HTML table, for notebooks."""
    keys, titles = columns(results), of(results).TITLES
    head = "".join(f"<th>{html.escape(titles[key])}</th>" for key in keys)
    body = ""
    for row in rows(results):
        texts = cells(results, row)
        style = ' style="opacity:.6"' if row["kind"] == "baseline" else ""
        body += f"<tr{style}>{''.join(f'<td>{html.escape(texts[key])}</td>' for key in keys)}</tr>"
    caption = f"{one_line(results['dataset']['name'])}: {provenance(results)}"
    if results["conclusion"]:
        caption += f". {one_line(results['conclusion'])}"
    notes = "".join(f"<li>{html.escape(line)}</li>" for line in warnings(results))
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>" + (f"<ul>{notes}</ul>" if notes else "")
    )
