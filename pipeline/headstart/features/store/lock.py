"""One writer at a time: an advisory lock beside the store, with the name of its holder."""

from __future__ import annotations

import fcntl
import glob
import os
import socket
from contextlib import suppress
from pathlib import Path

from headstart.core.errors import StoreError, StoreInUse, one_line
from headstart.core.files import PARTIAL, cannot_write


class WriterLock:
    """Exclusive right to write a store, from construction to `close`.

    The kernel releases the lock when its process ends, so a lock file that a crash left behind
    blocks nobody.

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
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = one_line(os.pread(handle, 200, 0).decode("utf-8", "replace"))
                os.close(handle)
                raise StoreInUse(
                    f"{one_line(self._path.with_suffix(''))} is being written by "
                    f"{holder or 'another process'}; wait for it or choose another --out"
                ) from None
            # The former holder may have removed the file between our open and our lock.
            try:
                current = self._path.stat().st_ino == os.fstat(handle).st_ino
            except FileNotFoundError:
                current = False
            if current:
                self._sign(handle)
                return handle
            os.close(handle)

    def _sign(self, handle: int) -> None:
        with suppress(OSError):  # on a full disk the lock works without a name
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)

    def close(self) -> None:
        """Release the lock; a second call does nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            with suppress(OSError):  # a lock file that stays does no harm
                self._path.unlink(missing_ok=True)
            with suppress(OSError):
                os.close(handle)


def sweep(store: Path) -> None:
    """Remove half-written files of a killed writer; the caller holds the lock."""
    for stale in store.parent.glob(f".{glob.escape(store.name)}.*{PARTIAL}"):
        stale.unlink(missing_ok=True)
