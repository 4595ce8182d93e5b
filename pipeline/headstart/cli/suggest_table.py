"""Suggested images as lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from headstart.core.errors import count, one_line

if TYPE_CHECKING:
    from headstart.core.suggestions import Suggestions

WIDTH = 80
FEW = 5  # images that are shown if a table has all


def lines(result: Suggestions, shown: int | None = None) -> Iterator[str]:
    """Yield the lines; ``shown`` images at most, all for None."""
    copies = f", without {count(result.repeated, 'duplicate')}" if result.repeated else ""
    yield from _folded(
        f"{one_line(result.data)}: {count(result.unlabelled, 'unlabelled image')}{copies};"
        f" {result.labelled:,} labelled"
    )
    yield from _folded(
        f"{count(len(result.images), 'image')} to label, {result.strategy}: {result.method}"
    )
    if result.guesser:
        yield from _folded(f"guesses by {result.guesser}")
    for image in result.images[:shown]:
        guess = ""
        if image.labels:
            guess = ": " + ", ".join(
                f"{one_line(each.label)}? ({each.confidence:.0%})" for each in image.labels
            )
        elif image.confidence is not None:
            name = one_line(image.label) if image.labels is None else "none of the labels"
            guess = f": {name}? ({image.confidence:.0%})"
        yield f"  {one_line(image.path)}{guess}"
    rest = len(result.images[shown or len(result.images) :])
    if rest:
        yield f"  and {rest:,} more"
    if result.forecast is not None:
        yield from _folded(result.forecast.text)
    for remark in result.remarks:
        yield from _folded(f"remark {remark.code}: {remark.text}")


def _folded(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False)
