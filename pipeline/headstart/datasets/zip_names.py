r"""The names in zip files, which say seldom how they are encoded.

A flag marks names as UTF-8, and an extra field may repeat one in UTF-8. Without either, the
standard says code page 437, but Info-ZIP on Linux and macOS writes UTF-8 all the same, and Windows
the code page of the country. So if all names are valid UTF-8, they are UTF-8; else those that say
nothing are read by the standard. A name that may be in another encoding as well is unsure: GBK,
Big5, Shift-JIS and EUC-KR share most of their bytes, so no guess is safe. Archives in which only
``\`` separates folders come from old Windows programs, and are read so.
"""

from __future__ import annotations

import shlex
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

from headstart.core.errors import count, one_line

_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field: version, checksum of the plain name, UTF-8 name
_EAST_ASIAN = ("cp932", "gbk", "big5", "cp949")
_SHOWN = 3


class Names(NamedTuple):
    """The names of entries; of those without a declared encoding, which to mention and to doubt."""

    names: list[str]
    undeclared: frozenset[str]
    unsure: frozenset[str]


def read(entries: Sequence[zipfile.ZipInfo]) -> Names:
    """Return the names of the entries."""
    declared = [_declared(entry) for entry in entries]
    raw = [
        entry.orig_filename.encode("cp437")
        for entry, name in zip(entries, declared, strict=True)
        if name is None
    ]
    utf8 = all(map(_is_utf8, raw))  # a name of another encoding may be valid UTF-8 by chance
    guessed = iter([name.decode("utf-8" if utf8 else "cp437") for name in raw])
    names = [next(guessed) if name is None else name for name in declared]
    if not any("/" in name for name in names):
        names = [name.replace("\\", "/") for name in names]
    undeclared = {
        name.removeprefix("./")
        for name, certain in zip(names, declared, strict=True)
        if certain is None and not (utf8 and not _is_chance(name))
    }
    unsure = {name for name in undeclared if _is_chance(name) or not _is_code_page_437(name)}
    return Names(names, frozenset(undeclared), frozenset(unsure))


def remark(undeclared: Collection[str], shown: str) -> str:
    """Return what the user should know about names that no label depends on, or plain ones."""
    return (
        f"{shown} does not say how {count(len(undeclared), 'name')} with other letters "
        f"{'is' if len(undeclared) == 1 else 'are'} encoded: {_examples(undeclared)}. "
        f"If {'that is' if len(undeclared) == 1 else 'those are'} wrong, {_remedy(shown)}."
    )


def problem(labels: Collection[str], shown: str) -> str:
    """Return why labels from uncertain names cannot be used, and what to do."""
    return (
        f"{shown} does not say how its names are encoded, so the "
        f"{'class' if len(labels) == 1 else 'classes'} {_examples(labels)} may be other words; "
        f"{_remedy(shown)}"
    )


def _remedy(shown: str) -> str:
    return (
        f"unpack it in its encoding, such as: unzip -O GBK {shlex.quote(shown)} -d FOLDER (or "
        "CP932, BIG5, CP949, CP1252), and name the folder"
    )


def _examples(names: Collection[str]) -> str:
    shown = sorted(names)[:_SHOWN]
    return one_line(", ".join(shown)) + (", …" if len(names) > _SHOWN else "")


def _declared(entry: zipfile.ZipInfo) -> str | None:
    """Return a name if the entry says in what encoding it is; else None."""
    name = entry.orig_filename
    if name.isascii() or entry.flag_bits & _UTF8_FLAG:
        return name
    return _unicode_path(entry.extra, name.encode("cp437"))


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_chance(name: str) -> bool:
    """Tell whether a name may be UTF-8 by chance: a folder or file of accented letters alone.

    In GBK, a fifth of the usual characters are also the two bytes of such a letter.
    """
    stems = [part.partition(".")[0] for part in name.split("/")]
    return any(
        not stem.isascii() and all("\x80" <= char <= "\u036f" for char in stem if char.isalpha())
        for stem in stems
    )


def _is_code_page_437(name: str) -> bool:
    """Tell whether a name, read so, is a word of Western Europe and nothing else.

    Other encodings show as symbols and frames. Shift-JIS may show as accented letters, but then
    nothing is left of ASCII where it is read as such.
    """
    for part in name.split("/"):
        raw = part.partition(".")[0].encode("cp437")
        if raw.isascii():
            continue
        if not all(
            char.isascii() or unicodedata.name(char, "").startswith("LATIN") for char in part
        ):
            return False
        if any(_is_word_in(encoding, raw) for encoding in _EAST_ASIAN):
            return False
    return True


def _is_word_in(encoding: str, raw: bytes) -> bool:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return not any(char.isascii() and char.isalpha() for char in text)


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """Return the name in the extra field for UTF-8 names, if it belongs to this name."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        content, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(content) > 5:
            (checksum,) = struct.unpack_from("<I", content, 1)
            if checksum == zlib.crc32(raw) and _is_utf8(content[5:]):
                return content[5:].decode()
    return None
