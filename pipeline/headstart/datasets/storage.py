"""Access to local files, and to files behind URLs through fsspec. Only this module uses fsspec."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import re
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from headstart.core.errors import ImageError, InputError, missing_extra, one_line
from headstart.core.files import NO_WAITING, open_handle, read_at
from headstart.datasets.images import check_size

State = tuple[int, int]
"""What changes whenever content does, known without reading it: a size, and a time or a stamp."""

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}


def is_url(data: str) -> bool:
    """Tell whether a source is a URL.

    >>> is_url("s3://bucket/photos"), is_url("torchvision:CIFAR10"), is_url("C:/photos")
    (True, False, False)
    """
    return _URL.match(data) is not None


def state_of(place: str) -> State:
    """Return the state of the file at a path or URL; an `OSError` if it cannot be reached."""
    if is_url(place):
        system, path = file_system(place)
        return state_of_entry(_call(system.info, path)) or (-1, -1)
    info = os.stat(place)  # noqa: PTH116 - places are strings
    if not stat.S_ISREG(info.st_mode):
        raise OSError("not a regular file")
    return info.st_size, info.st_mtime_ns


def unchanged(place: str, state: State) -> bool:
    """Tell whether a file has this state; True for every URL, because asking costs a request."""
    if is_url(place):
        return True
    try:
        return state_of(place) == state
    except OSError:
        return False


def state_of_entry(entry: Mapping[str, Any]) -> State | None:
    """Return the state from fsspec's entry of a file; None if the entry has only a size."""
    keys = ("ETag", "etag", "md5Hash", "checksum", "mtime", "LastModified", "last_modified")
    stamps = [entry[key] for key in (*keys, "updated", "created") if entry.get(key)]
    if not stamps or entry.get("size") is None:
        return None
    stamp = hashlib.sha256(str(stamps[0]).encode()).digest()[:7]
    return int(entry["size"]), int.from_bytes(stamp)


def open_file(place: str) -> BinaryIO:
    """Open a path or URL for reading; the caller closes it."""
    if not is_url(place):
        return open(place, "rb")  # noqa: PTH123 - places are strings
    system, path = file_system(place)
    opened: BinaryIO = _call(system.open, path, "rb")
    return opened


class RangeReader:
    """Reads ranges of bytes from the file at a path or URL; several threads can share it."""

    def __init__(self, place: str) -> None:
        self._system: Any = None
        self._path = place
        if is_url(place):
            self._system, self._path = file_system(place)
        else:
            self._handle = open_handle(place, os.O_RDONLY | NO_WAITING)

    def read(self, start: int, size: int) -> bytes:
        """Return ``size`` bytes from ``start`` on, or fewer at the end of the file."""
        if self._system is None:
            return read_at(self._handle, size, start)
        data: bytes = self._system.cat_file(self._path, start=start, end=start + size)
        return data

    def close(self) -> None:
        """Close the file."""
        if self._system is None:
            os.close(self._handle)


def read_whole(place: str, size: int) -> bytes:
    """Return all bytes of an image behind a URL; an `ImageError` if they cannot be read."""
    check_size(size)
    try:
        system, path = file_system(place)
        data: bytes = system.cat_file(path)
    except FileNotFoundError:
        raise ImageError("file not found") from None
    except Exception as error:  # whatever a file system's library raises
        raise cannot_read(error) from None
    return data


def list_files(url: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the relative name, the URL and fsspec's entry of every file below a URL."""
    system, root = file_system(url)
    system.invalidate_cache()
    prefix = root.rstrip("/") + "/"
    try:
        entries = _call(system.find, root, detail=True)
    except OSError as error:
        raise InputError(f"cannot list {one_line(url)}: {reason(error)}") from error
    for path, entry in sorted(entries.items()):
        if entry.get("type") == "file" and path.startswith(prefix):
            yield path[len(prefix) :], system.unstrip_protocol(path), entry


def is_file(place: str) -> bool:
    """Tell whether a path or URL names a file; an `InputError` if a URL leads nowhere."""
    if not is_url(place):
        return Path(place).is_file()
    system, path = file_system(place)
    try:
        kind = _call(system.info, path)["type"]
    except FileNotFoundError:
        raise InputError(f"there is nothing at {one_line(place)}; check the URL") from None
    except OSError as error:
        raise InputError(f"cannot reach {one_line(place)}: {reason(error)}") from error
    return bool(kind == "file")


@lru_cache(maxsize=256)
def file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it.

    Raises:
        InputError: the URL is malformed, or needs a package that is not installed.
    """
    fsspec = importlib.import_module("fsspec")
    protocol = url.partition("://")[0].lower()
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        if protocol in _EXTRAS:
            raise InputError(str(missing_extra(f"{protocol}://", _EXTRAS[protocol]))) from error
        raise InputError(
            f"{protocol}:// needs a package that is not installed: {one_line(error)}"
        ) from error
    except Exception as error:  # libraries raise anything for a malformed URL
        raise InputError(f"cannot use {one_line(url)}: {reason(error)}") from error
    return system, path


def cannot_read(error: Exception) -> ImageError:
    """Return the error for bytes that cannot be read."""
    return ImageError(f"cannot be read: {reason(error)}")


def reason(error: Exception) -> str:
    """Return the cause of any library's error in one line."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return one_line(text).rstrip(".") or type(error).__name__


def _call(function: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - fsspec's
    """Call a file system's library and turn all of its errors into `OSError`."""
    try:
        return function(*arguments, **options)
    except OSError:
        raise
    except Exception as error:
        raise OSError(reason(error)) from error


def whole_file(place: str) -> io.BytesIO:
    """Read a small file, such as a table of labels, into memory."""
    with open_file(place) as file:
        return io.BytesIO(file.read())
