"""The progress that a workflow shows if the caller passes no hooks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from headstart.core.hooks import Hooks as Hooks


def hooks_of(
    notice: Callable[[str], None],
    progress: Callable[[int, int], None],
    step: Callable[[str, int, int], None] = lambda name, number, total: None,
) -> Hooks:
    """Return hooks that pass notices, (images done, total) and steps to these functions."""
    from headstart.core.hooks import Hooks

    return Hooks(notice, progress, step)


@contextmanager
def showing(title: str, hooks: Hooks | None) -> Iterator[Hooks]:
    """Give the caller's hooks; for None, a display with this title in a notebook or a terminal.

    Elsewhere the display is silent, as `Hooks()` is.
    """
    from headstart.core.hooks import Hooks

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
        yield Hooks(line.notice, line.progress, line.step)
    finally:
        line.clear()


class Steps:
    """Counts the steps of a piece of work, and reports each to hooks when it begins."""

    def __init__(self, hooks: Hooks, total: int, finished: int = 0) -> None:
        self._hooks = hooks
        self._total = total
        self._finished = finished

    def begin(self, name: str) -> None:
        """Report the next step."""
        self._finished += 1
        self._hooks.step(name, self._finished, self._total)


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
        self._show(f"{count:,} of {total:,}{share}")

    def step(self, name: str, number: int, total: int) -> None:
        """Show which step of the work has begun."""
        self._show(f"{name} ({number} of {total})")

    def _show(self, state: str) -> None:
        text = f"{self._title}: {state}"
        print(f"\r{text.ljust(len(self._shown))}", end="", file=self._stream, flush=True)
        self._shown = text

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            print(f"\r{' ' * len(self._shown)}\r", end="", file=self._stream, flush=True)
            self._shown = ""
