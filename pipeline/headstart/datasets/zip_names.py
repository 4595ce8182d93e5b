r"""The names in zip files, which say seldom how they are encoded.

A flag marks names as UTF-8, and an extra field may repeat one in UTF-8. Without either, the
standard says code page 437, but Info-ZIP on Linux and macOS writes UTF-8 all the same, and Windows
the code page of the country. So bytes that are valid UTF-8 are UTF-8; other names are read by the
standard, with a remark. Archives in which only ``\`` separates folders come from old Windows
programs, and are read so.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence

from headstart.core.errors import one_line

_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field: version, checksum of the plain name, UTF-8 name
_SHOWN = 3


def read(entries: Sequence[zipfile.ZipInfo], shown: str) -> tuple[list[str], list[str]]:
    """Return the names of the entries, and remarks on those whose encoding is unknown."""
    names, unknown = [], []
    for entry in entries:
        name, certain = _name(entry)
        names.append(name)
        if not certain:
            unknown.append(name)
    if not any("/" in name for name in names):
        names = [name.replace("\\", "/") for name in names]
    if not unknown:
        return names, []
    examples = ", ".join(one_line(name) for name in unknown[:_SHOWN])
    return names, [
        f"The encoding of {len(unknown):,} names in {shown} is unknown; they are read as code page "
        f"437: {examples}. If that is wrong, write the archive again with UTF-8 names."
    ]


def _name(entry: zipfile.ZipInfo) -> tuple[str, bool]:
    """Return the name of an entry, and whether its encoding is certain."""
    name = entry.orig_filename
    if name.isascii() or entry.flag_bits & _UTF8_FLAG:
        return name, True
    raw = name.encode("cp437")
    for candidate in (_unicode_path(entry.extra, raw), raw):
        try:
            if candidate:
                return candidate.decode("utf-8"), True
        except UnicodeDecodeError:
            continue
    return name, False


def _unicode_path(extra: bytes, raw: bytes) -> bytes:
    """Return the name in the extra field for UTF-8 names, if it belongs to this name."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        content, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(content) > 5:
            (checksum,) = struct.unpack_from("<I", content, 1)
            return content[5:] if checksum == zlib.crc32(raw) else b""
    return b""
