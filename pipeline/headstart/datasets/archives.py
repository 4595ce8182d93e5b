"""Images in tar and zip archives, which are read where they lie and never unpacked.

An archive that could do harm if it were unpacked is refused as a whole: names that lead out of it,
links and devices, entries that share bytes, and what would unpack to far more than an image. So
is one that ends early, goes on behind its end, or names a file twice: its rows would be incomplete
without anybody noticing.
"""

from __future__ import annotations

import atexit
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from headstart.core.errors import ImageError, InputError, one_line
from headstart.datasets import storage as places
from headstart.datasets.images import check_size
from headstart.datasets.storage import State

TAR = ".tar"
ZIP = ".zip"
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
"""Tar archives that are compressed as a whole: nothing in them can be reached by itself."""

MAX_RATIO = 200  # of sizes unpacked and packed; images are compressed already
_BOMB = 16 << 20  # bytes; what unpacks to less does no harm
_BLOCK = 512
MAX_KEPT = 1 << 20


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: its path in the archive.
        start: where its bytes begin in a tar; its place in the list of entries of a zip.
        size: its bytes, unpacked.
        content: its bytes, if they were to be kept.
    """

    name: str
    start: int
    size: int
    content: bytes | None = None


def members(place: str, keep: Callable[[str], bool]) -> list[Member]:
    """List the files of an archive in the order in which they lie there.

    Args:
        place: path or URL of a tar or zip.
        keep: which files of a tar are read at once, by name, up to `MAX_KEPT` bytes: each would
            be a request of its own later.

    Raises:
        InputError: it cannot be read, is damaged, or could do harm.
    """
    shown = one_line(place)
    try:
        with places.open_file(place) as file:
            if place.lower().endswith(ZIP):
                found = list(_zip_members(file, shown))
            else:
                found = list(_tar_members(file, shown, keep))
    except (OSError, EOFError) as error:
        raise InputError(f"cannot read {shown}: {places.reason(error)}") from error
    except (tarfile.TarError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(
            f"{shown} is damaged or no such archive: {places.reason(error)}"
        ) from error
    seen: set[str] = set()
    for member in found:
        _check_name(member.name, shown)
        if member.name in seen:
            raise InputError(
                f"{shown} holds {one_line(member.name)} twice; nobody can tell which counts: "
                "write the archive anew"
            )
        seen.add(member.name)
    return found


def _check_name(name: str, shown: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise InputError(
            f"{shown} is refused: {one_line(name)} would lead out of the folder that it is "
            "unpacked in"
        )


def _tar_members(file: BinaryIO, shown: str, keep: Callable[[str], bool]) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (entry := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
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
    """Look whether the members ended with the archive: tarfile stops at damage without a word."""
    file.seek(offset)
    mark = file.read(_BLOCK)
    if mark and mark.count(0) != len(mark):
        raise InputError(f"{shown} is damaged at byte {offset:,}; write it anew")
    if len(mark) < _BLOCK:
        raise InputError(f"{shown} ends without its end mark: it is cut off; write it anew")
    while block := file.read(1 << 20):
        if block.count(0) != len(block):
            raise InputError(
                f"{shown} goes on behind its end: archives were joined; keep them apart, or join "
                "them with tar --concatenate"
            )


def _zip_members(file: BinaryIO, shown: str) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        _check_overlap(entries, shown)
        for number, entry in enumerate(entries):
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if stat.S_ISLNK(kind) or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise InputError(
                    f"{shown} is refused: {one_line(entry.filename)} is a link or a device; write "
                    "the archive with plain files"
                )
            if entry.is_dir():
                continue
            packed = max(entry.compress_size, 1)
            if entry.file_size > _BOMB and entry.file_size > MAX_RATIO * packed:
                raise InputError(
                    f"{shown} is refused: {one_line(entry.filename)} would unpack from "
                    f"{packed:,} to {entry.file_size:,} bytes, which no image does"
                )
            yield Member(entry.filename.removeprefix("./"), number, entry.file_size)


def _check_overlap(entries: list[zipfile.ZipInfo], shown: str) -> None:
    end, before = 0, ""
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise InputError(
                f"{shown} is refused: {one_line(before)} and {one_line(entry.filename)} share "
                "bytes, which is how small archives unpack to huge ones"
            )
        end, before = entry.header_offset + 30 + entry.compress_size, entry.filename


class Place(NamedTuple):
    """Where an image lies: the number of its archive, and where in it."""

    archive: int
    start: int
    size: int


@dataclass(frozen=True)
class ArchiveReader:
    """Reads images where they lie in archives.

    Attributes:
        archives: paths or URLs, with the state in which each was listed.
        places: where each image lies.
    """

    archives: tuple[tuple[str, State], ...]
    places: dict[str, Place]

    def state(self, path: str) -> State | None:
        """Return the state of an image's archive."""
        archive, state = self.archives[self.places[path].archive]
        return state if places.unchanged(archive, state) else None

    def read(self, path: str) -> tuple[bytes, State]:
        """Return the bytes of an image file.

        Raises:
            ImageError: it cannot be read, or its archive has changed since it was listed.
        """
        number, start, size = self.places[path]
        archive, state = self.archives[number]
        if archive.lower().endswith(ZIP):
            return _unzip(archive, state, start, size), state
        return places.read_range(archive, start, size, state), state

    def only(self, paths: Iterable[str]) -> ArchiveReader:
        """Return a reader of these images alone."""
        return replace(self, places={path: self.places[path] for path in paths})


class _Zip:
    """An opened zip; reading from several threads is safe, as zipfile takes turns at the file."""

    def __init__(self, place: str, known: State) -> None:
        if places.state_of(place) != known:
            raise ImageError("its archive has changed since it was listed")
        self._file = places.open_file(place)
        self.archive = zipfile.ZipFile(self._file)
        self.entries = self.archive.infolist()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


_opening = threading.Lock()


@lru_cache(maxsize=16)
def _opened_once(place: str, known: State) -> _Zip:
    return _Zip(place, known)


atexit.register(_opened_once.cache_clear)  # or the interpreter warns of files left open


def _unzip(place: str, known: State, number: int, size: int) -> bytes:
    check_size(size)
    try:
        with _opening:
            opened = _opened_once(place, known)
        entry = opened.entries[number]
        if entry.flag_bits & 1:
            raise ImageError("is encrypted")
        with opened.archive.open(entry) as file:
            data = file.read(size)
            if len(data) != size or file.read(1):
                raise ImageError("is not as long as its archive says")
    except ImageError:
        raise
    except Exception as error:  # zlib, lzma, zipfile: damage shows in any way
        raise places.cannot_read(error) from None
    return data
