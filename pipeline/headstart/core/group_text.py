"""What the scores of answers for groups of images say, in a line for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.core.choices import GROUP_ANSWERS

METHOD = dict(zip(GROUP_ANSWERS, ("mean log-probability", "vote of the images"), strict=True))


def in_words(scores: Mapping[str, Any], table: str = "") -> str:
    """Return a line about the first head or model of a `GroupScores` as JSON.

    ``table`` is the file that lists the groups.
    """
    opening = f"{table}: " if table else ""
    if not scores["scores"]:
        return f"{opening}no group can be scored{_left_out(scores)}"
    first = scores["scores"][0]
    images = f"of their {_number(scores['images'], 'image')}"
    number = _number(scores["groups"], "group")
    if "map" in first:
        text = f"mAP {_figure(first['map'])}{_ends(first['map_ci'], 1, 3)} of {number}"
        text += f", {_figure(first['image_map'])} {images}"
    else:
        text = f"{first['accuracy']:.1%} of {number} right{_ends(first['accuracy_ci'], 100, 1)}"
        text += f", {first['image_accuracy']:.1%} {images}"
    return f"{opening}one answer a group ({METHOD[scores['answer']]}): {text}{_left_out(scores)}"


def _left_out(scores: Mapping[str, Any]) -> str:
    """Return what is not scored, and how many groups are of one image."""
    several, leaked = scores["contradicting"], scores["leaked"]
    noun = "label" if "map" in (scores["scores"] or [{}])[0] else "group"
    mixed = f"not scored: {_number(several, noun)} on which the images of a group differ"
    if noun == "group":
        mixed = f"not scored: {_number(several, noun)} whose images have several labels"
    parts = {
        f"{_number(scores['single'], 'group')} with one image": scores["single"],
        mixed: several,
        f"not scored: {_number(leaked, 'group')} with images related to training images": leaked,
    }
    return "".join(f"; {text}" for text, times in parts.items() if times)


def _number(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _ends(interval: Any, factor: int, digits: int) -> str:  # noqa: ANN401 - two numbers or None
    if interval is None:
        return ""
    return f" ({factor * interval[0]:.{digits}f}–{factor * interval[1]:.{digits}f})"
