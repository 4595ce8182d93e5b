"""Signals: the first ends the work in order, a second at once; a line says what is left of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

_SIGNALS: dict[int, tuple[str, int]] = {
    signal.SIGINT: ("interrupted", 130),
    signal.SIGTERM: ("terminated", 143),
}
_RESUMES = "completed work is saved, run the same command to resume"
_STARTS_AGAIN = "run the same command to start again"

_arguments: list[str] = []  # of the command that runs


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised like an interrupt so that files are closed on the way out."""


def prepare() -> None:
    """Raise the first signal as an exception, so that files are closed, and exit on a second."""
    _on_signals(_interrupt)


def begin(arguments: Sequence[str]) -> None:
    """Remember the command that runs, without the options before it."""
    _arguments[:] = arguments


def finish() -> None:
    """Exit at once on a signal: from here on nothing catches an exception."""
    _on_signals(_quit)


def stop(error: BaseException | None) -> NoReturn:
    """Print how the command ended and what is left of its work, and exit with 130 or 143."""
    _quit(signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def remains(arguments: Sequence[str]) -> str:
    """Return what an interrupt leaves of a command's work, and how to go on."""
    command, words = next(iter(arguments), ""), set(arguments)
    to_file = any(word.startswith("--out") for word in words)
    if command == "finetune" and "--advise" in words:
        return _RESUMES if to_file else f"nothing is saved, {_STARTS_AGAIN}"
    if command in ("features", "finetune"):
        return _RESUMES
    if command == "train-heads":
        return f"the results are not complete, {_STARTS_AGAIN}"
    if command == "predict":
        kept = "nothing is written to --out" if to_file else "the rows printed so far are complete"
        return f"{kept}, {_STARTS_AGAIN}"
    return "the server has stopped" if command == "serve" else _STARTS_AGAIN


def _on_signals(handler: Callable[[int, FrameType | None], NoReturn]) -> None:
    """Set the handler of signals, except those that nohup or a script ignores."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    for later in (signal.SIGINT, signal.SIGTERM):
        signal.signal(later, _quit)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _quit(number: int, frame: FrameType | None = None) -> NoReturn:
    """Exit: a store survives a process that ends anywhere."""
    word, code = _SIGNALS[number]
    cursor = b"\x1b[?25h" if os.isatty(2) else b""  # a progress bar hides it
    os.write(2, cursor + f"headstart: {word}; {remains(_arguments)}\n".encode())
    os._exit(code)
