"""What a run shows and records: verbosity, tracebacks, the log file, and streams that fail."""

from __future__ import annotations

import codecs
import io
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import click

from headstart.core.cache import CacheWarning
from headstart.core.errors import OutputError, one_line
from headstart.core.files import cannot_write

QUIET, NORMAL, VERBOSE = -1, 0, 1
ENCODING_ERRORS = "headstart-typography"  # name of the handler for what an encoding lacks
_PLAIN = {"–": "-", "−": "-", "×": "x", "±": "+/-", "…": "...", "→": "->"}


@dataclass
class Session:
    """One run of a command.

    Attributes:
        verbosity: `QUIET`, `NORMAL` or `VERBOSE`.
        debug: whether errors show their traceback.
        log: the log file; None without ``--log-file``.
    """

    verbosity: int = NORMAL
    debug: bool = False
    log: TextIO | None = None
    started: float = field(default_factory=time.monotonic)


_sessions = [Session()]


def current() -> Session:
    """Return the session of the command that runs."""
    return _sessions[-1]


@contextmanager
def session() -> Iterator[Session]:
    """Begin the session of a command, and close its log file at the end."""
    _sessions.append(Session())
    try:
        yield current()
    finally:
        ended = _sessions.pop()
        if ended.log is not None:
            with suppress(OSError):
                ended.log.close()


def notice(line: str) -> None:
    """Print a line on stderr, and record it; ``--quiet`` shows warnings alone."""
    record(line)
    if current().verbosity > QUIET or line.startswith("WARNING"):
        show(line)


def detail(line: str) -> None:
    """Record a line, and print it with ``--verbose``."""
    record(line)
    if current().verbosity == VERBOSE:
        show(line)


def show(line: str) -> None:
    """Print a line on stderr; nothing depends on whether anybody can read it."""
    if current().verbosity == VERBOSE:
        line = f"[{time.monotonic() - current().started:7.1f} s] {line}"
    with suppress(OSError, ValueError):
        click.echo(line, err=True)


def record(text: str) -> None:
    """Append lines to the log file, if there is one."""
    log = current().log
    if log is not None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with suppress(OSError, ValueError):
            log.writelines(f"{stamp} {line}\n" for line in text.splitlines())
            log.flush()


def fail(message: str, error: BaseException | None = None) -> int:
    """Print the one line of an error, its traceback with ``--debug``, and return exit code 1."""
    lines = "".join(traceback.format_exception(error)) if error is not None else ""
    record(lines)
    with suppress(OSError, ValueError):
        if current().debug:
            click.echo(lines, err=True, nl=False)
        click.echo(f"headstart: {one_line(message)}", err=True)
    record(f"headstart: {message}")
    return 1


class StreamError(OutputError):
    """Stdout cannot be written."""


class _Output(io.FileIO):
    """Stdout's file, whose errors can be distinguished from those of other files."""

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StreamError(
                f"cannot write to standard output: {os.strerror(error.errno or 0)}; redirect it to "
                "a place with room, and run the command again"
            ) from error


def drop_output() -> None:
    """Send what is left in stdout's buffer nowhere, because its reader or its disk is gone."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def begin_in_utf_8() -> None:
    """Start the process again in UTF-8 mode if the locale gives file names another encoding.

    Names of files would differ from those in tables, archives and stores made elsewhere. What the
    terminal understands stays as it is.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    terminal = sys.stdout.encoding if sys.stdout is not None else "ascii"
    environment = {"PYTHONIOENCODING": terminal, **os.environ, "PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def prepare_process() -> None:
    """Let no encoding of the terminal and no library's warning disturb what a command prints."""
    if sys.stdout is not None:
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Output(sys.stdout.fileno(), "w", closefd=False)),
            encoding=sys.stdout.encoding,
            errors=ENCODING_ERRORS,
            line_buffering=sys.stdout.isatty(),
        )
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors=ENCODING_ERRORS)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # warnings of libraries are for developers
        warnings.filterwarnings("always", category=CacheWarning)
    warnings.showwarning = _show_warning  # type: ignore[assignment]


def _without_characters(error: UnicodeError) -> tuple[str, int]:
    """Write what an encoding lacks: typography in ASCII, everything else as an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escaped = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text)
    return "".join(escaped), error.end


codecs.register_error(ENCODING_ERRORS, _without_characters)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:  # noqa: ANN401
    if issubclass(category, CacheWarning):
        notice(f"WARNING: {one_line(message)}")
    else:
        detail(f"{category.__name__}: {one_line(message)}")


def _set_verbosity(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        current().verbosity = VERBOSE if param.name == "verbose" else QUIET
        if param.name == "verbose" and not sys.warnoptions:
            warnings.simplefilter("default")


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        current().debug = True


def _open_log(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    if value is None or current().log is not None:
        return
    try:
        value.parent.mkdir(parents=True, exist_ok=True)
        current().log = value.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise cannot_write(value, error) from error
    from headstart import __version__
    from headstart.workflows.artifacts import COMMAND

    record(f"headstart {__version__}: {COMMAND.get()}")


def options() -> list[click.Option]:
    """Return the options that every command has, and the group too."""
    flag: dict[str, Any] = {"is_flag": True, "expose_value": False, "is_eager": True}
    return [
        click.Option(
            ["-v", "--verbose"],
            **flag,
            callback=_set_verbosity,
            help="Show times, steps and the warnings of libraries.",
        ),
        click.Option(
            ["-q", "--quiet"],
            **flag,
            callback=_set_verbosity,
            help="Show results, warnings and errors only.",
        ),
        click.Option(
            ["--log-file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            expose_value=False,
            is_eager=True,
            callback=_open_log,
            help="File to append notices and tracebacks to.",
        ),
        click.Option(
            ["--debug"], **flag, callback=_set_debug, help="Show the traceback of an error."
        ),
    ]
