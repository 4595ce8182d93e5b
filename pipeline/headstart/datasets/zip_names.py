r"""The names in zip files, which say seldom how they are encoded.

A flag marks names as UTF-8, and an extra field may repeat one in UTF-8. Without either, the
standard says code page 437, but Info-ZIP on Linux and macOS writes UTF-8 all the same, and Windows
the code page of the country. So if all names are valid UTF-8, they are UTF-8; else those that say
nothing are read by the standard, with a remark. Archives in which only ``\`` separates folders
come from old Windows programs, and are read so.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence

from headstart.core.errors import count, one_line

_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field: version, checksum of the plain name, UTF-8 name
_SHOWN = 3


def read(entries: Sequence[zipfile.ZipInfo], shown: str) -> tuple[list[str], list[str]]:
    """Return the names of the entries, and remarks on those whose encoding is unknown."""
    raw = [_raw(entry) for entry in entries]
    utf8 = all(map(_is_utf8, raw))  # a name of another encoding may be valid UTF-8 by chance
    names = [
        name.decode("utf-8") if utf8 else entry.orig_filename
        for name, entry in zip(raw, entries, strict=True)
    ]
    doubtful = [
        number
        for number, (name, entry) in enumerate(zip(names, entries, strict=True))
        if not (name.isascii() or entry.flag_bits & _UTF8_FLAG or (utf8 and not _is_chance(name)))
    ]
    if not any("/" in name for name in names):
        names = [name.replace("\\", "/") for name in names]
    if not doubtful:
        return names, []
    examples = ", ".join(one_line(names[number]) for number in doubtful[:_SHOWN])
    return names, [
        f"{shown} does not say how {count(len(doubtful), 'name')} with other letters "
        f"{'is' if len(doubtful) == 1 else 'are'} encoded; read as "
        f"{'UTF-8' if utf8 else 'code page 437'}: {examples}. If that is wrong, write the archive "
        "again with UTF-8 names."
    ]


def _raw(entry: zipfile.ZipInfo) -> bytes:
    """Return a name in UTF-8 if the entry says so, else as it is in the file."""
    name = entry.orig_filename
    if name.isascii() or entry.flag_bits & _UTF8_FLAG:
        return name.encode("utf-8")
    raw = name.encode("cp437")
    return _unicode_path(entry.extra, raw) or raw


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


def _unicode_path(extra: bytes, raw: bytes) -> bytes:
    """Return the name in the extra field for UTF-8 names, if it belongs to this name."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        content, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(content) > 5:
            (checksum,) = struct.unpack_from("<I", content, 1)
            return content[5:] if checksum == zlib.crc32(raw) else b""
    return b""
