"""Formatting of the page's numbers, names and other values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from headstart.core.errors import one_line

# Ordinary text that Python calls not printable: no-break spaces, and the joiners that
# Persian, Indic scripts and emoji are spelled with.
_SPACES_AND_JOINERS = "\u00a0\u202f\u200c\u200d"


def printable(value: object) -> object:
    """Escape characters that are not printable; the templates apply this to every expression."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "".join(char if char in _SPACES_AND_JOINERS else one_line(char) for char in value)


def percent(value: float | None) -> str:
    """Return a share as a percentage, or a dash if it is undefined."""
    return f"{100 * value:.1f}\u202f%" if value is not None and math.isfinite(value) else "–"


def interval(ends: Sequence[float]) -> str:
    """Return an interval of shares as percentages."""
    return f"{100 * ends[0]:.1f}–{100 * ends[1]:.1f}\u202f%"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with this many decimals, or a dash if it is undefined."""
    if value is None or math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:,.{digits}f}".replace("-", "−")


def value(value: object) -> str:
    """Return a parameter's value."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def label(title: str) -> str:
    """Capitalise a title for the start of a line; kNN stays kNN."""
    return title if title[1:2].isupper() else title[:1].upper() + title[1:]


def conjunction(words: Sequence[str]) -> str:
    """Join words with commas and a last "and"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def moment(text: object) -> str:
    """Return an ISO 8601 time without its seconds; any other text unchanged."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    return f"{moment:%Y-%m-%d %H:%M %Z}".strip()


def facts(values: object) -> str:
    """Return any JSON value as words."""
    if values is None:
        return ""
    if isinstance(values, Mapping):
        return ", ".join(f"{key} {facts(value)}" for key, value in values.items())
    if isinstance(values, list | tuple):
        return ", ".join(map(facts, values))
    return value(values)
