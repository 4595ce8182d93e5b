"""What a file is that is not one of the formats that are read, told from its first bytes."""

from __future__ import annotations

FORMATS_READ = "JPEG, PNG, WebP, AVIF, BMP, TIFF or GIF"

_SIGNATURES = {  # what users mistake for a format that is read
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"8BPS": "Photoshop",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"\0\0\1\0": "an icon",
    b"\0\0\2\0": "a cursor",
    b"icns": "an icon of macOS",
    b"PK\3\4": "a zip archive",
    b"PK\5\6": "an empty zip archive",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"qoif": "QOI",
    b"gimp xcf": "GIMP",
    b"FLIF": "FLIF",
    b"BPG\xfb": "BPG",
    b"#?RADIANCE": "Radiance HDR",
    b"#?RGBE": "Radiance HDR",
    b"v/1\1": "OpenEXR",
    b"DDS ": "DirectDraw surface",
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"\x93NUMPY": "a NumPy array",
    b"CDF\1": "netCDF",
    b"CDF\2": "netCDF",
    b"SIMPLE  =": "FITS",
    b"FUJIFILMCCD-RAW": "a camera raw",
    b"FOVb": "a camera raw",
    b"\0MRM": "a camera raw",
    b"IIRO": "a camera raw",
    b"IIRS": "a camera raw",
    b"MMOR": "a camera raw",
    b"IIU\0": "a camera raw",
    b"II\xbc\1": "JPEG XR",
    b"\xd7\xcd\xc6\x9a": "a Windows metafile",
    b"\x1aE\xdf\xa3": "video",
    b"\0\0\1\xba": "video",
    b"FLV\1": "video",
    b"OggS": "sound or video",
    b"ID3": "sound",
    b"fLaC": "sound",
    b"SQLite format 3\0": "an SQLite database",
    b"PAR1": "Parquet",
    b"\xd0\xcf\x11\xe0": "a Microsoft Office document or Thumbs.db",
    b"\x7fELF": "a program",
    b"MZ": "a Windows program",
    b"bplist": "a property list",
    b"\0\5\x16\7": "macOS metadata of another file",
    b"\0\5\x16\0": "macOS metadata of another file",
    b"AT&TFORM": "DjVu",
    b"\x01\xda": "SGI",
    b"\x59\xa6\x6a\x95": "Sun raster",
}
_BRANDS = {  # of ISO base media files, by major brand; AVIF is read
    b"crx ": "a camera raw",
    b"qt  ": "video",
    b"M4A ": "sound",
}
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif"}
_TEXTS = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself with: git lfs pull",
    b"/annex/objects/": "a git-annex pointer; fetch the file itself with: git annex get",
    b"data:image/": "an image as base64 text; decode it first",
    b"/9j/": "an image as base64 text; decode it first",
    b"ivborw0kggo": "an image as base64 text; decode it first",
    b"r0lgod": "an image as base64 text; decode it first",
    b"<svg": "HTML, SVG or XML",
    b"<?xml": "HTML, SVG or XML",
    b"<!doctype": "HTML, SVG or XML",
    b"<html": "HTML, SVG or XML",
    b"#define": "an X bitmap",
    b"/* xpm": "an X pixmap",
    b"{\\rtf": "RTF",
}
_BLANKS = b"\xef\xbb\xbf \t\r\n"


def brands(data: bytes) -> list[bytes]:
    """Return the brands of an ISO base media file, major brand first; none for other files."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4], "big"), 256)
    return [data[8:12], *(data[i : i + 4] for i in range(16, end - 3, 4))]


def is_heif(data: bytes) -> bool:
    """Tell whether a file is HEIF, such as HEIC of a phone; AVIF is a format of its own."""
    return not _HEIF.isdisjoint(brands(data)) and not is_avif(data)


def is_avif(data: bytes) -> bool:
    """Tell whether a file says that it is AVIF."""
    return not {b"avif", b"avis"}.isdisjoint(brands(data))


def unknown(data: bytes) -> str:
    """Return the message for a file of another format, which it names if it is known."""
    text = f"not a {FORMATS_READ} image"
    name = name_of(data)
    return f"{text}, but {name}" if name else text


def name_of(data: bytes) -> str:
    """Return what a file of another format is; empty if it is not known."""
    if not data.strip(b"\0"):
        return "only zeros: its content was never written; copy it again"
    match = next((name for start, name in _SIGNATURES.items() if data.startswith(start)), "")
    if match:
        return match
    if names := brands(data):
        return "HEIC" if is_heif(data) else _BRANDS.get(names[0], "video")
    if data[128:132] == b"DICM":
        return "DICOM"
    if data[:4] == b"RIFF":
        return {b"AVI ": "video", b"WAVE": "sound"}.get(data[8:12], "another RIFF file")
    if data[:4] in (b"n+1\0", b"\x5c\1\0\0") or data[344:347] in (b"n+1", b"ni1"):
        return "NIfTI"
    if data[:1] == b"P" and data[1:2] in b"1234567fF" and data[2:3].isspace():
        return "PPM, PGM or PBM"
    return text_name(data)


def text_name(data: bytes) -> str:
    """Return what a text is, such as JSON; empty if it is none in UTF-8 or UTF-16."""
    start = data[:512].lstrip(_BLANKS)
    lower = start.lower()
    match = next((name for text, name in _TEXTS.items() if lower.startswith(text)), "")
    if match or not start:
        return match
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "text"
    try:
        text = data[:256].decode()
    except UnicodeDecodeError as error:
        if error.end < min(len(data), 256):  # not merely cut inside a character
            return ""
        text = data[: error.start].decode()
    if not all(c.isprintable() or c.isspace() for c in text.lstrip("\ufeff")):
        return ""
    return "JSON" if start[:1] in b"{[" else "text"
