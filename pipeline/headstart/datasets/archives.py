"""Members of tar and zip archives, read in place and never unpacked.

An archive is refused if unpacking it could do harm: it has names outside its folder, links or
devices, overlapping entries, or files that unpack to far more than an image. It is also refused if
images would be lost silently: it is truncated, has data after its end, or repeats a name.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from headstart.core.errors import ImageError, InputError, one_line
from headstart.datasets import signatures, storage, text, zip_names
from headstart.datasets.reader import ContainerFile, ContainerReader, Entry, Handle

TAR = ".tar"
ZIP = ".zip"
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
"""Tar archives that are compressed as a whole: single members cannot be read from them."""

MAX_RATIO = 200  # unpacked to packed size; images are compressed already
MAX_KEPT = 1 << 20  # bytes
_BOMB = 16 << 20  # bytes; smaller files are harmless at any ratio
_BLOCK = 512
_ENCRYPTED = 1  # a bit of a zip member's flags


class Member(NamedTuple):
    """A file in an archive; ``size`` is in bytes, unpacked.

    ``start`` is the offset of its bytes in a tar, or its number among the entries of a zip.
    ``content`` is set if the file was read with the listing.
    """

    name: str
    start: int
    size: int
    content: bytes | None = None


class Contents(NamedTuple):
    """The files of an archive in their order, and the names of a zip."""

    members: list[Member]
    names: zip_names.Names | None


def members(place: str, keep: Callable[[str], bool]) -> Contents:
    """List the files of a tar or zip, at a path or URL.

    Files whose name ``keep`` accepts are read with the listing, up to `MAX_KEPT` bytes each, which
    saves a request for each of them later.

    Raises:
        InputError: the archive cannot be read, is damaged, or could do harm.
    """
    shown = one_line(place)
    names: zip_names.Names | None = None
    try:
        with storage.open_file(place) as file:
            if place.lower().endswith(ZIP):
                with zipfile.ZipFile(file) as archive:
                    names = zip_names.read(archive.infolist())
                    entries = list(_zip_members(archive, names.names, shown, keep))
            else:
                entries = list(_tar_members(file, shown, keep))
    except InputError:
        raise
    except (OSError, EOFError) as error:
        raise InputError(f"cannot read {shown}: {storage.reason(error)}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{shown}: the name {error.object[:60]!r} is marked as UTF-8, but is not; write the "
            "archive again with UTF-8 names"
        ) from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, ValueError, RuntimeError) as error:
        expected = signatures.ZIP if place.lower().endswith(ZIP) else signatures.TAR
        mistaken = signatures.of_file(place, expected)
        reason = mistaken or f"damaged or not an archive: {storage.reason(error)}; copy it again"
        raise InputError(f"{shown} is {reason}") from error
    seen: set[str] = set()
    for member in entries:
        _check_name(member.name, shown)
        if member.name in seen:
            raise InputError(
                f"{shown} has {one_line(member.name)} twice; write the archive again with one of "
                "them"
            )
        seen.add(member.name)
    return Contents(entries, names)


def _check_name(name: str, shown: str) -> None:
    text.checked_file_name(name, shown)
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise InputError(
            f"{shown} is refused: {one_line(name)} would be unpacked outside of its folder; write "
            "the archive with relative paths"
        )


def _tar_members(file: BinaryIO, shown: str, keep: Callable[[str], bool]) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (entry := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # no public way to keep none in memory
            if entry.isdir():
                continue
            if not entry.isreg() or entry.issparse():
                kind = "link" if entry.issym() or entry.islnk() else "device or a sparse file"
                raise InputError(
                    f"{shown} is refused: {one_line(entry.name)} is a {kind}; write the archive "
                    "with plain files (tar --dereference --hard-dereference)"
                )
            name = entry.name.removeprefix("./")
            content = None
            if entry.size <= MAX_KEPT and keep(name):
                file.seek(entry.offset_data)
                content = file.read(entry.size)
            yield Member(name, entry.offset_data, entry.size, content)
        _check_end(file, tar.offset, shown)


def _check_end(file: BinaryIO, offset: int, shown: str) -> None:
    """Check that the archive ends after its members; tarfile stops at damage without an error."""
    file.seek(offset)
    mark = file.read(_BLOCK)
    if mark and mark.count(0) != len(mark):
        raise InputError(f"{shown} is damaged at byte {offset:,}; write it again")
    if len(mark) < _BLOCK:
        raise InputError(f"{shown} has no end mark: it is cut off; write it again")
    while block := file.read(1 << 20):
        if block.count(0) != len(block):
            raise InputError(
                f"{shown} has data behind its end: archives were joined; keep them apart, or join "
                "them with tar --concatenate"
            )


def _zip_members(
    archive: zipfile.ZipFile, names: Sequence[str], shown: str, keep: Callable[[str], bool]
) -> Iterator[Member]:
    entries = archive.infolist()
    _check_overlap(entries, shown)
    for number, (entry, name) in enumerate(zip(entries, names, strict=True)):
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if stat.S_ISLNK(kind) or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(
                f"{shown} is refused: {one_line(name)} is a link or a device; write the archive "
                "with plain files"
            )
        if name.endswith("/"):
            continue
        packed = max(entry.compress_size, 1)
        if entry.file_size > _BOMB and entry.file_size > MAX_RATIO * packed:
            raise InputError(
                f"{shown} is refused: {one_line(name)} would unpack from "
                f"{packed:,} to {entry.file_size:,} bytes, as no image does; leave it out"
            )
        name = name.removeprefix("./")
        content = None
        if entry.file_size <= MAX_KEPT and not entry.flag_bits & _ENCRYPTED and keep(name):
            content = archive.read(entry)
        yield Member(name, number, entry.file_size, content)


def _check_overlap(entries: list[zipfile.ZipInfo], shown: str) -> None:
    end, before = 0, ""
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise InputError(
                f"{shown} is refused: {one_line(before)} and {one_line(entry.filename)} share "
                "bytes, so it may unpack to far more than its size; write it again"
            )
        end, before = entry.header_offset + 30 + entry.compress_size, entry.filename


def start(place: str, by_name: Mapping[str, Member], name: str, size: int) -> bytes:
    """Return the first bytes of a member of a local archive; none if it cannot be read."""
    opened = (_Zip if place.lower().endswith(ZIP) else _Tar)(place)
    try:
        return opened.start(by_name[name], size)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError):
        return b""
    finally:
        opened.close()


@dataclass(frozen=True)
class ArchiveReader(ContainerReader):
    """Reads members of archives; the position of an `Entry` is `Member.start`."""

    @staticmethod
    def open(file: ContainerFile) -> Handle:
        """Open an archive."""
        return _Zip(file.place) if file.place.lower().endswith(ZIP) else _Tar(file.place)


class _Tar:
    def __init__(self, place: str) -> None:
        self._file = storage.RangeReader(place)

    def get(self, entry: Entry) -> bytes:
        data = self._file.read(entry.position, entry.size)
        if len(data) != entry.size:
            raise ImageError("the archive ends within it")
        return data

    def start(self, member: Member, size: int) -> bytes:
        return self._file.read(member.start, min(size, member.size))

    def close(self) -> None:
        self._file.close()


class _Zip:
    """An open zip, which several threads can share: zipfile has a lock."""

    def __init__(self, place: str) -> None:
        self._file = storage.open_file(place)
        self._archive = zipfile.ZipFile(self._file)
        self._members = self._archive.infolist()

    def get(self, entry: Entry) -> bytes:
        member = self._members[entry.position]
        if member.flag_bits & _ENCRYPTED:
            raise ImageError("is encrypted")
        with self._archive.open(member) as file:
            data = file.read(entry.size)
            if len(data) != entry.size or file.read(1):
                raise ImageError("is not as long as its archive says")
        return data

    def start(self, member: Member, size: int) -> bytes:
        with self._archive.open(self._members[member.start]) as file:
            return file.read(size)

    def close(self) -> None:
        self._file.close()
