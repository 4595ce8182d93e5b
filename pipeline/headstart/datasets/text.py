"""The gate for text from outside: names, labels and paths of every source pass through here.

Bytes must be UTF-8. NUL and lone surrogates are refused, because neither files nor stores can hold
them. Class names are compared and kept in the form NFC, so that two spellings of one word are one
class; a file's name keeps the form that its file system needs.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from headstart.core.errors import InputError, one_line

_SURROGATE = re.compile("[\ud800-\udfff]")
_IMPOSSIBLE = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")


def decoded(value: bytes, where: str, what: str) -> str:
    """Return the text of bytes in UTF-8; an `InputError` that quotes them if they are not."""
    try:
        return value.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{where}: {what} {value[:40]!r} is not UTF-8; save it as UTF-8") from None


def has_surrogates(value: str) -> bool:
    """Tell whether a text has lone surrogates, which bytes that are not UTF-8 become."""
    return _SURROGATE.search(value) is not None


def checked(value: str, where: str, what: str) -> str:
    """Return a text that stores and file systems can hold; else raise an `InputError`."""
    if "\0" in value:
        raise InputError(f"{where}: {what} {one_line(value)} has a NUL character; remove it")
    if not value.isascii() and has_surrogates(value):
        raise InputError(
            f"{where}: {what} {one_line(value)} has half a character (a lone surrogate); correct it"
        )
    return value


def checked_file_name(value: str, where: str) -> str:
    """Return a path; bytes that are not UTF-8 may be in it, as `os.fsdecode` returns them."""
    if "\0" in value or (not value.isascii() and _IMPOSSIBLE.search(value)):
        checked(value, where, "the name")
    return value


@lru_cache(maxsize=1 << 14)
def class_name(label: str) -> str:
    """Return a label in the form NFC."""
    return label if label.isascii() else unicodedata.normalize("NFC", label)


def forms(path: str) -> tuple[str, ...]:
    """Return a path as it is, in the form NFC and in the form NFD, without repetitions.

    >>> len(forms("cat/1.jpg")), len(forms("Caf\u00e9/1.jpg"))
    (1, 2)
    """
    if path.isascii():
        return (path,)
    spellings = (path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD")))
    return tuple(dict.fromkeys(spellings))


def lookalike(name: str) -> str:
    """Return a key that is equal for names that differ only in case, blanks or widths.

    >>> lookalike("a  B") == lookalike("A\u00a0b")
    True
    """
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
