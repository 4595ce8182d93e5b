"""The command line: ``headstart COMMAND``. Each command parses, calls one stage and prints."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import click

from headstart import __version__
from headstart.core.errors import HeadstartError, one_line

_SIGNALS: dict[int, tuple[str, int]] = {
    signal.SIGINT: ("interrupted", 130),
    signal.SIGTERM: ("terminated", 143),
}

_COMMANDS = {  # command: module of this package
    "demo-data": "demo_data",
    "backbones": "backbones",
    "export": "export",
    "features": "features",
    "verify": "verify",
    "train-heads": "train_heads",
    "finetune": "finetune",
    "predict": "predict",
    "serve": "serve",
    "report": "report",
    "export-features": "export_features",
    "export-model": "export_model",
}


class _Terminated(KeyboardInterrupt):
    """SIGTERM, raised like an interrupt so that the same doors close behind it."""


class _LazyGroup(click.Group):
    """A group that imports a command when it is run, so that ``--help`` costs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"headstart.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headstart")
def cli() -> None:
    """From a folder of labelled images to an honest classifier in minutes."""


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130/143 interrupted."""
    _obey(_interrupt)
    sys.unraisablehook = _unraisable
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries' remarks are for developers; errors are ours
    try:
        code = _run()
        _obey(_quit)  # nothing is left to close, and nobody to catch an exception on the way out
        sys.exit(code)
    except (KeyboardInterrupt, click.Abort) as error:  # click wraps the one in the other
        terminated = isinstance(error.__cause__ or error, _Terminated)
        _stop(signal.SIGTERM if terminated else signal.SIGINT)


def _obey(handler: Callable[[int, FrameType | None], NoReturn]) -> None:
    """Set what becomes of a signal, unless it is ignored, as nohup and scripts may want it."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _run() -> int:
    try:
        # What click prints and returns is right; only its way of exiting is not ours.
        code = cli.main(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except HeadstartError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # The reader of our output has gone (``headstart … | head``): nothing left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except click.ClickException as error:
        return _fail(error.format_message())
    except MemoryError:
        return _fail("out of memory; close other programs or use a machine with more")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Raise the first signal as an exception, so that every door is closed behind it."""
    for later in (signal.SIGINT, signal.SIGTERM):
        signal.signal(later, _quit)
    raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Obey an interrupt that came where no exception can pass, as in the callback of a weakref."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        terminated = isinstance(unraisable.exc_value, _Terminated)
        _stop(signal.SIGTERM if terminated else signal.SIGINT)
    sys.__unraisablehook__(unraisable)


def _quit(number: int, frame: FrameType | None) -> NoReturn:
    """Obey a second signal at once: a store bears a process that ends anywhere."""
    _stop(number)


def _fail(message: str) -> int:
    click.echo(f"headstart: {one_line(message)}", err=True)
    return 1


def _stop(number: int) -> NoReturn:
    word, code = _SIGNALS[number]
    cursor = b"\x1b[?25h" if os.isatty(2) else b""  # a progress bar hides it
    line = f"headstart: {word}; finished work is kept, the same command continues\n"
    os.write(2, cursor + line.encode())
    os._exit(code)
