"""The errors that Headstart raises on purpose. Any other exception is a bug.

Each message is one line that says what happened and what to do. The command line prints it and
exits with status 1.
"""

from __future__ import annotations

import difflib
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class HeadstartError(Exception):
    """The root of every error that Headstart raises on purpose."""


class InputError(HeadstartError, ValueError):
    """The user's data cannot be used: a missing folder, one class only, a malformed CSV."""


class UsageError(HeadstartError, ValueError):
    """Arguments contradict or require each other; a usage error on the command line."""


class ImageError(HeadstartError):
    """An image cannot be used; the run continues and lists the image in ``failures``."""


class BackboneError(HeadstartError):
    """A backbone is unknown, its weights do not match, or its export failed a check."""


class RunnerError(HeadstartError):
    """ONNX Runtime cannot do what was asked, for instance run on a missing device."""


class StoreError(HeadstartError):
    """A feature store is missing, damaged, in use, or holds features of another extraction."""


class StoreInUse(StoreError):
    """A feature store is being written by another process."""


class OutputError(HeadstartError):
    """A result cannot be written."""


def missing_extra(package: str, extra: str) -> HeadstartError:
    """Return the error for a missing package that an extra of Headstart installs."""
    return HeadstartError(f"{package} is not installed; {how_to_install(extra)}")


def how_to_install(extra: str) -> str:
    """Return the end of a message: how to install the packages of an extra.

    The packages are named, never Headstart itself: it is not on the public package index, so
    anybody could offer something under its name there.
    """
    from importlib import metadata

    try:
        lines = metadata.requires("headstart") or []
    except metadata.PackageNotFoundError:  # run from the source, without an installation
        lines = []
    parts = [line.replace("'", '"').partition(";") for line in lines]
    names = [name.strip() for name, _, marker in parts if f'"{extra}"' in marker]
    return f"install the extra [{extra}] with: pip install " + (
        shlex.join(names) or f"'.[{extra}]' in the folder of Headstart's source"
    )


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "image"), count(1200, "image"), count(2, "class")
    ('1 image', '1,200 images', '2 classes')
    """
    plural = "" if number == 1 else "es" if noun.endswith(("s", "ch", "sh", "x")) else "s"
    return f"{number:,} {noun}{plural}"


def near_matches(name: str, names: Iterable[str]) -> str:
    """Return ``did you mean A or B; `` for a misspelt name, or nothing if none is near.

    >>> near_matches("layer44", ["layer4", "stem"])
    'did you mean layer4; '
    """
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}; " if near else ""


_JOINERS = "\u200c\u200d"


def one_line(text: object) -> str:
    r"""Return ``text`` as one printable line, to quote names and other libraries' errors.

    Line breaks, control characters and bytes that are not UTF-8 are escaped. The zero-width joiners
    of Persian, Indic scripts and emoji are kept.

    >>> one_line("a\nb")
    'a\\nb'
    >>> one_line("caf\udce9")
    'caf\\xe9'
    """
    out = []
    for char in str(text):
        code = ord(char)
        if 0xDC80 <= code <= 0xDCFF:  # a raw byte that os.fsdecode could not read
            out.append(f"\\x{code - 0xDC00:02x}")
        elif char.isprintable() or char in _JOINERS:
            out.append(char)
        else:
            out.append(char.encode("unicode_escape", "backslashreplace").decode("ascii"))
    return "".join(out)
