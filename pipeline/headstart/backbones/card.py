"""What a model's card on the Hugging Face hub states: the front matter of its ``README.md``.

Of YAML, only what licences are written in is read: a word, or a list in either of its two forms.
"""

from __future__ import annotations

import re
from pathlib import Path

from headstart.core.errors import one_line

_LARGEST = 2**20  # bytes of a card that are read; pictures may follow
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
_ENTRY = r"(?m)^{}:[ \t]*(\S.*)?((?:\n[ \t]*-[ \t]+\S.*)*)"


def licence_of(card: Path) -> str:
    """Return the licence that a card states, or several with commas; empty if it states none.

    For ``other``, that is its name, or else where it can be read.
    """
    with card.open("rb") as file:
        text = file.read(_LARGEST).decode("utf-8-sig", "replace").replace("\r\n", "\n")
    front = _FRONT_MATTER.match(text)
    if front is None:
        return ""
    licences = _values(front[1], "license")
    if licences == ["other"]:
        links = [f"other ({link})" for link in _values(front[1], "license_link")]
        licences = _values(front[1], "license_name") or links or licences
    return one_line(", ".join(licences))


def _values(front_matter: str, key: str) -> list[str]:
    entry = re.search(_ENTRY.format(key), front_matter)
    if entry is None:
        return []
    first = _plain(entry[1] or "")
    if first.startswith("[") and first.endswith("]"):
        values = first[1:-1].split(",")
    else:
        values = [first, *re.findall(r"\n[ \t]*-[ \t]+(.*)", entry[2])]
    return [value for value in map(_plain, values) if value]


def _plain(value: str) -> str:
    """Return a scalar without its comment and its quotes."""
    return re.sub(r"(^|\s)#.*$", "", value).strip().strip("\"'").strip()
