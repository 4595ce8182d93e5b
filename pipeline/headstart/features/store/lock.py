"""One writer at a time: an advisory lock beside the store, with the name of its holder."""

from __future__ import annotations

import errno
import glob
import os
import re
import socket
from contextlib import suppress
from pathlib import Path

from headstart.core.errors import StoreError, StoreInUse, one_line
from headstart.core.files import PARTIAL, cannot_write, lock, open_handle, read_at, write_all

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class WriterLock:
    """Exclusive right to write a store, from construction to `close`.

    The kernel releases the lock when its process ends, so a lock file that a crash left behind
    blocks nobody. On a file system without locks a file stands for the lock; if its process is not
    on this machine, nobody can know whether it still runs, so the user must remove the file.

    Raises:
        StoreInUse: another process is writing (the message names it).
        StoreError: it is a folder.
    """

    def __init__(self, store: Path) -> None:
        try:
            if store.is_dir():
                raise StoreError(f"{one_line(store)} is a folder; choose a file name, such as x.h5")
            self._path = store.with_name(store.name + ".lock")
            store.parent.mkdir(parents=True, exist_ok=True)
            self._handle = self._acquire()
        except OSError as error:
            raise cannot_write(store, error) from error

    def _acquire(self) -> int:
        while True:
            handle = open_handle(self._path, os.O_RDWR | os.O_CREAT)
            try:
                lock(handle)
            except BlockingIOError:
                holder = _holder(handle)
                os.close(handle)
                raise self._in_use(holder, "wait for it or choose another --out") from None
            except OSError as error:
                os.close(handle)
                if error.errno not in _NO_LOCKS:
                    raise
                self._path.unlink(missing_ok=True)
                self._path = self._path.with_suffix(".lock-file")
                return self._create()
            # The former holder may have removed the file between our open and our lock.
            try:
                current = self._path.stat().st_ino == os.fstat(handle).st_ino
            except FileNotFoundError:
                current = False
            if current:
                self._sign(handle)
                return handle
            os.close(handle)

    def _create(self) -> int:
        """Take the lock where the file system has none: by creating a file."""
        while True:
            try:
                handle = open_handle(self._path, _CREATE)
            except FileExistsError:
                with suppress(FileNotFoundError):
                    self._remove_stale()
                continue
            self._sign(handle)
            return handle

    def _remove_stale(self) -> None:
        """Remove the file of a process of this machine that has ended.

        Raises:
            StoreInUse: it still runs, or may run on another machine.
        """
        handle = open_handle(self._path)
        holder = _holder(handle)
        os.close(handle)
        match = re.fullmatch(r"process (\d+) on (.*)", holder)
        if match is None or match[2] != socket.gethostname() or _runs(int(match[1])):
            raise self._in_use(
                holder,
                "the file system has no locks: wait, choose another --out, or if that process has "
                f"ended, delete {one_line(self._path)}",
            )
        self._path.unlink()

    def _in_use(self, holder: str, remedy: str) -> StoreInUse:
        return StoreInUse(
            f"{one_line(self._path.with_suffix(''))} is being written by "
            f"{holder or 'another process'}; {remedy}"
        )

    def _sign(self, handle: int) -> None:
        with suppress(OSError):  # on a full disk the lock works without a name
            os.ftruncate(handle, 0)
            write_all(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)

    def close(self) -> None:
        """Release the lock; a second call does nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            with suppress(OSError):  # a lock file that stays does no harm
                self._path.unlink(missing_ok=True)
            with suppress(OSError):
                os.close(handle)


def _holder(handle: int) -> str:
    return one_line(read_at(handle, 200, 0).decode("utf-8", "replace"))


def _runs(process: int) -> bool:
    if os.name == "nt":  # there, asking with a signal would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def sweep(store: Path) -> None:
    """Remove half-written files of a killed writer; the caller holds the lock."""
    for stale in store.parent.glob(f".{glob.escape(store.name)}.*{PARTIAL}"):
        stale.unlink(missing_ok=True)
