"""The labels of an image as one text, in tables: joined by ``|`` in the order of the classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SEPARATOR = "|"
UNKNOWN = "?"  # in place of the labels of an image that nobody looked at
TRUE = "true:"  # begins the name of a column that says whether images have a label: 1, 0 or empty


def join(names: Iterable[str]) -> str:
    """Return the labels as one text; empty without any."""
    return SEPARATOR.join(names)


def split(text: str, names: Sequence[str]) -> list[str]:
    """Return the labels in a text, where ``names`` are all labels there are.

    Names may have the separator in them, as those of columns and lists may.

    Raises:
        ValueError: then the text can be read in several ways, or in none.

    >>> split("a|c", ["a", "b", "c"]), split("x|y|z", ["x|y", "z"])
    (['a', 'c'], ['x|y', 'z'])
    """
    if not any(SEPARATOR in name for name in names):
        return [part for part in text.split(SEPARATOR) if part]
    readings: list[tuple[list[str], str]] = [([], text)]
    for name in names:
        readings += [
            ([*parts, name], rest[len(name) + 1 :])
            for parts, rest in readings
            if rest == name or rest.startswith(name + SEPARATOR)
        ]
    whole = [parts for parts, rest in readings if not rest]
    if len(whole) != 1:
        raise ValueError(f"{text!r} can be read in {len(whole)} ways")
    return whole[0]
