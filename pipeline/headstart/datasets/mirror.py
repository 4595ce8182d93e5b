"""Local copies of stores behind URLs, uploaded again when a run has changed them.

HDF5 needs a seekable file and a journal needs a disk. So a store behind a URL has a copy in the
user's cache folder, with the journal of an interrupted run beside it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headstart.core.errors import InputError, OutputError, StoreError, one_line
from headstart.core.files import PARTIAL, replacing, write_text
from headstart.datasets import storage
from headstart.datasets.storage import State

_NOTE = ".origin.json"  # after the copy's name: the states of both when they were equal


def read_here(place: str | Path) -> Path:
    """Return a local path from which to read the file at a path or URL.

    Raises:
        StoreError: there is nothing at the URL.
    """
    if isinstance(place, Path):
        return place
    state = _state(place)
    if state is None:
        raise StoreError(f"there is nothing at {one_line(place)}; check the URL")
    return _copied(place, state)


@contextmanager
def written_here(place: str | Path) -> Iterator[Path]:
    """Give a local path at which to write or update the file at a path or URL.

    An existing file is copied first. When the body ends, even with an error, a changed file is
    uploaded under a temporary name and then renamed.

    Raises:
        OutputError: the URL cannot be written, or another process has written to it meanwhile.
    """
    if isinstance(place, Path):
        yield place
        return
    before = _state(place)
    copy = _copied(place, before) if before else _path(place)
    try:
        yield copy
    finally:
        if copy.is_file() and not (before and _states(copy) == (before, _local_state(copy))):
            if _state(place) != before:
                raise OutputError(
                    f"{one_line(place)} was written by another process meanwhile and is left as it "
                    f"is; your results are in {one_line(copy)}: run the command again"
                )
            _send(copy, place)


def _send(copy: Path, place: str) -> None:
    system, path = storage.file_system(place)
    partial = f"{path}.{uuid.uuid4().hex[:8]}{PARTIAL}"
    try:
        system.put_file(str(copy), partial)
        system.mv(partial, path)
        system.invalidate_cache()
        state = storage.state_of(place)
    except Exception as error:  # whatever a file system's library raises
        with suppress(OSError, FileNotFoundError):
            system.rm_file(partial)
        raise OutputError(
            f"cannot write {one_line(place)}: {storage.reason(error)}; the finished file is "
            f"{one_line(copy)}; run the command again to send it"
        ) from error
    _remember(copy, state)


def _state(place: str) -> State | None:
    system, _ = storage.file_system(place)
    system.invalidate_cache()
    try:
        return storage.state_of(place)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot reach {one_line(place)}: {storage.reason(error)}") from error


def _copied(place: str, state: State) -> Path:
    copy = _path(place)
    if copy.is_file() and _states(copy)[0] == state:
        return copy  # perhaps with changes that could not be sent last time
    system, path = storage.file_system(place)
    with replacing(copy) as partial:
        try:
            system.get_file(path, str(partial))
        except Exception as error:
            raise InputError(f"cannot read {one_line(place)}: {storage.reason(error)}") from error
    _remember(copy, state)
    return copy


def _remember(copy: Path, state: State) -> None:
    write_text(copy.with_name(copy.name + _NOTE), json.dumps([state, _local_state(copy)]))


def _states(copy: Path) -> tuple[State | None, State | None]:
    """Return the remote and the local state at the time when both files were equal."""
    try:
        remote, local = json.loads(copy.with_name(copy.name + _NOTE).read_bytes())
        return tuple(remote), tuple(local)
    except (OSError, ValueError, TypeError):
        return None, None


def _local_state(copy: Path) -> State:
    return storage.state_of(str(copy))


def _path(place: str) -> Path:
    import platformdirs  # which predicting does without

    folder = hashlib.sha256(place.encode()).hexdigest()[:16]
    name = place.rstrip("/").rpartition("/")[2] or "store.h5"
    return Path(platformdirs.user_cache_dir("headstart")) / "mirror" / folder / name
