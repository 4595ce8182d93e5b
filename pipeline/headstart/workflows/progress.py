"""The progress that a workflow shows if the caller passes no hooks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from headstart.features.embed import Hooks as Hooks


def hooks_of(notice: Callable[[str], None], progress: Callable[[int, int], None]) -> Hooks:
    """Return hooks that pass notices, and (images done, total), to these functions."""
    from headstart.features.embed import Hooks

    return Hooks(notice, progress)


@contextmanager
def showing(title: str, hooks: Hooks | None) -> Iterator[Hooks]:
    """Give the caller's hooks; for None, a display with this title in a notebook or a terminal.

    Elsewhere the display is silent, as `Hooks()` is.
    """
    from headstart.features.embed import Hooks

    if hooks is not None:
        yield hooks
        return
    # Notebooks show stderr in red, as if it were an error.
    stream = sys.stdout if "ipykernel" in sys.modules else sys.stderr
    if stream is sys.stderr and not stream.isatty():
        yield Hooks()
        return
    line = StatusLine(title, stream)
    try:
        yield Hooks(notice=line.notice, progress=line.progress)
    finally:
        line.clear()


class StatusLine:
    """One line of text that is overwritten, in a terminal or a notebook."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title = title
        self._stream = stream
        self._shown = ""
        self._next = 0.0  # earliest time of the next update

    def notice(self, text: str) -> None:
        """Print a line that stays."""
        self.clear()
        print(text, file=self._stream, flush=True)

    def progress(self, count: int, total: int) -> None:
        """Show how many images are done, at most ten times a second."""
        now = time.monotonic()
        if now < self._next and count < total:
            return
        self._next = now + 0.1
        share = f" ({count / total:.0%})" if total else ""
        text = f"{self._title}: {count:,} of {total:,}{share}"
        print(f"\r{text.ljust(len(self._shown))}", end="", file=self._stream, flush=True)
        self._shown = text

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            print(f"\r{' ' * len(self._shown)}\r", end="", file=self._stream, flush=True)
            self._shown = ""
