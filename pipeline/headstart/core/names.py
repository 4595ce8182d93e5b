"""Names of networks and of rows: what they say, and how rows of other programs are joined.

Programs name an image by its path from another folder, by its file name, or without the extension.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IMPORTED = "imported:"  # before the name of a network whose features another program computed
RANDOM = "+random"  # in the name of an untrained backbone
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")  # .5 and .123e4567 belong to the name


def is_imported(backbone: str) -> bool:
    """Return whether a backbone's name is that of features that another program computed.

    >>> is_imported("imported:uni-v2"), is_imported("timm:resnet18.a1_in1k")
    (True, False)
    """
    return backbone.startswith(IMPORTED)


def warning_about(backbone: str) -> str:
    """Return the warning to show with results of this backbone; empty if there is none.

    >>> warning_about("timm:resnet18.a1_in1k")
    ''
    """
    if RANDOM not in backbone:
        return ""
    return (
        f"The backbone {backbone} has random weights: it was never trained, so its results say "
        "nothing of the network; they are for trials of the pipeline only."
    )


class Join(NamedTuple):
    """The rows that tables share.

    ``rule`` says what was compared, and ``rows`` has the rows of each table, in the order of the
    first.
    """

    rule: str
    rows: list[NDArray[np.intp]]


def without_extension(name: str) -> str:
    """Return a name without the extension of a file.

    >>> without_extension("a/slide-1.svs"), without_extension("lot-2.5")
    ('a/slide-1', 'lot-2.5')
    """
    return _EXTENSION.sub("", name)


def _last(parts: int) -> Callable[[str], str]:
    return lambda name: "/".join(name.split("/")[-parts:])


_PATHS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("path", str),
    *((f"last {parts} parts of the path", _last(parts)) for parts in (5, 4, 3)),
    ("folder and file name", _last(2)),
    ("file name", _last(1)),
)
_RULES = tuple(
    (f"{title}{end}", path, cut)
    for cut, end in ((str, ""), (without_extension, " without extension"))
    for title, path in _PATHS
)


def join(tables: Sequence[Sequence[str]]) -> Join:
    """Return the rows that several lists of names share, by the rule that joins most of them.

    Of two rules that join equally many, it is the stricter one. A rule is passed over if it gives
    two names of a table the same form. No rows are shared if there is none.

    >>> join([["a/1.jpg", "b/2.jpg"], ["2", "1"]]).rule
    'file name without extension'
    """
    best = Join("", [np.empty(0, np.intp) for _ in tables])
    plain = [[name.replace("\\", "/") for name in table] for table in tables]
    for title, path, cut in _RULES:
        forms = [[path(cut(name)) for name in table] for table in plain]
        places = [{form: row for row, form in enumerate(table)} for table in forms]
        if any(len(rows) < len(table) for rows, table in zip(places, forms, strict=True)):
            continue
        shared = set(places[0]).intersection(*places[1:])
        if len(shared) > len(best.rows[0]):
            order = [form for form in forms[0] if form in shared]
            rows = [np.array([table[form] for form in order], np.intp) for table in places]
            best = Join(title, rows)
        if len(shared) == min(map(len, tables)):
            break
    return best


def repeated(names: Sequence[str]) -> list[str]:
    """Return the names that occur more than once, in order."""
    return [name for name, times in Counter(names).items() if times > 1]
