"""Remarks with codes: how they are made, and left out by `--ignore`."""

from __future__ import annotations

from collections.abc import Iterable

from headstart.core.errors import UsageError, near_matches, one_line
from headstart.core.remark_kinds import KINDS
from headstart.core.results import Remark


def remark(code: str, text: str) -> Remark:
    """Return a remark of a kind."""
    return Remark(KINDS[code].topic, text, code)


def former(text: str) -> Remark:
    """Return a remark of a version in which it had no code."""
    return Remark("", text, "")


def parse(codes: str | Iterable[str]) -> tuple[str, ...]:
    """Return codes from texts with one or several, separated by commas, each once and in order.

    Raises:
        UsageError: there is no such code.
    """
    texts = [codes] if isinstance(codes, str) else codes
    names = [name.strip().upper() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        if name not in KINDS:
            raise UsageError(
                f"no remark {one_line(name)}; {near_matches(name, KINDS)}docs/remarks.md lists all"
            )
    return tuple(sorted(set(names)))


def without(remarks: Iterable[Remark], codes: Iterable[str]) -> list[Remark]:
    """Return the remarks of other kinds."""
    return [remark for remark in remarks if remark.code not in set(codes)]
