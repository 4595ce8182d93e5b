"""What a table or an archive is if its content is not what its name says.

Files are opened by their names. Where that fails, their first bytes tell what they are.
"""

from __future__ import annotations

from headstart.core.errors import HeadstartError
from headstart.datasets import storage
from headstart.datasets.images import content, header

START = 4096
"""Bytes that are enough to tell."""

CSV, ZIP, TAR = "CSV", "a zip archive", "a tar archive"
PARQUET, ARROW, HDF5 = "Parquet", "an Arrow table", "HDF5"

_TEXT = "text"
_EXTENSIONS = {ZIP: ".zip", TAR: ".tar", PARQUET: ".parquet", ARROW: ".arrow", HDF5: ".h5"}
_WORKBOOK, _OPEN_DOCUMENT = "an Excel workbook", "an OpenDocument table"
_AS_CSV = "save it as CSV in UTF-8"
_REMEDIES = {
    _WORKBOOK: _AS_CSV,
    _OPEN_DOCUMENT: _AS_CSV,
    "JSON": _AS_CSV,
    _TEXT: "if it is a table, rename it to NAME.csv",
    "HTML, SVG or XML": "perhaps a web page came in its place: download it again",
    "empty": "copy it again",
    "only zeros": "it was never written, so copy it again",
    "gzip": "decompress it with gunzip",
    "bzip2": "decompress it with bunzip2",
    "xz": "decompress it with unxz",
    "Zstandard": "decompress it with unzstd",
}
_BINARY = (b"%PDF", b"PAR1")  # though they may begin like text
_LEAST = 9  # bytes below this one are in no text


def mistaken(start: bytes, expected: str) -> str:
    """Return what a file is in place of the ``expected`` kind, and what to do.

    ``start`` is its first bytes. Returns nothing if they are of that kind, or of no kind that is
    known.

    >>> mistaken(b"PAR1" + bytes(8), CSV)
    'Parquet, not CSV; rename it to NAME.parquet'
    """
    kind = _kind(start)
    if not kind or kind == expected or (kind == _TEXT and expected == CSV):
        return ""
    remedy = _REMEDIES.get(kind, "choose another file")
    if kind in _EXTENSIONS:
        remedy = f"rename it to NAME{_EXTENSIONS[kind]}"
    return f"{kind}, not {expected}; {remedy}"


def of_file(place: str, expected: str) -> str:
    """Return what `mistaken` says of the file at a path or URL; nothing if it cannot be read."""
    try:
        with storage.open_file(place) as file:
            return mistaken(file.read(START), expected)
    except (OSError, HeadstartError):
        return ""


def _kind(start: bytes) -> str:
    if not start.strip(b"\0"):
        return "only zeros" if start else "empty"
    if min(start) >= _LEAST and not start.startswith(_BINARY):
        return content.text_name(start)
    if image := header.kind(start):
        return f"{'an' if image == 'AVIF' else 'a'} {image} image"
    if start[257:262] == b"ustar":
        return TAR
    if start.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return ARROW
    name = content.name_of(start)
    if name == _TEXT:  # UTF-16
        return ""
    if name == ZIP and b"[Content_Types].xml" in start:
        return _WORKBOOK if b"xl/" in start else "an Office document"
    if name == ZIP and b"opendocument.spreadsheet" in start:
        return _OPEN_DOCUMENT
    return _WORKBOOK if name.startswith("a Microsoft Office document") else name
