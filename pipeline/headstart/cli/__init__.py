"""The command line: ``headstart COMMAND``. Each command parses, calls one workflow and prints."""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

import click

from headstart import __version__
from headstart.core.errors import HeadstartError, UsageError, one_line
from headstart.workflows.artifacts import COMMAND

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
    """SIGTERM, raised like an interrupt so that files are closed on the way out."""


class _LazyGroup(click.Group):
    """A group that imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"headstart.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            name = ctx.invoked_subcommand or ""
            command = self.get_command(ctx, name) or self
            raise click.UsageError(str(error), click.Context(command, ctx, name)) from error


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headstart")
def cli() -> None:
    """From a folder of labelled images to an honest classifier in minutes."""


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130/143 interrupted."""
    _on_signals(_interrupt)
    sys.unraisablehook = _unraisable
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # warnings of libraries are for developers
    try:
        code = run(sys.argv[1:])
        _on_signals(_quit)  # from here on nothing catches an exception
        sys.exit(code)
    except (KeyboardInterrupt, click.Abort) as error:  # click wraps one in the other
        terminated = isinstance(error.__cause__ or error, _Terminated)
        _stop(signal.SIGTERM if terminated else signal.SIGINT)


def run(arguments: Sequence[str]) -> int:
    """Run one command in this process, print as the command line does, and return its exit code."""
    token = COMMAND.set(shlex.join(["headstart", *arguments]))
    try:
        # In standalone mode click would exit by itself, with its own handling of errors.
        code = cli.main(list(arguments), prog_name="headstart", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except HeadstartError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # The reader of our output is gone (``headstart … | head``).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except click.ClickException as error:
        return _fail(error.format_message())
    except MemoryError:
        return _fail("out of memory; close other programs or use a machine with more memory")
    finally:
        COMMAND.reset(token)


def _on_signals(handler: Callable[[int, FrameType | None], NoReturn]) -> None:
    """Set the handler of signals, except those that nohup or a script ignores."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Raise the first signal as an exception, so that files are closed."""
    for later in (signal.SIGINT, signal.SIGTERM):
        signal.signal(later, _quit)
    raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Exit on an interrupt where no exception can propagate, such as in a weakref's callback."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        terminated = isinstance(unraisable.exc_value, _Terminated)
        _stop(signal.SIGTERM if terminated else signal.SIGINT)
    sys.__unraisablehook__(unraisable)


def _quit(number: int, frame: FrameType | None) -> NoReturn:
    """Exit at once on a second signal: a store survives a process that ends anywhere."""
    _stop(number)


def _fail(message: str) -> int:
    click.echo(f"headstart: {one_line(message)}", err=True)
    return 1


def _stop(number: int) -> NoReturn:
    word, code = _SIGNALS[number]
    cursor = b"\x1b[?25h" if os.isatty(2) else b""  # a progress bar hides it
    line = f"headstart: {word}; completed work is saved, run the same command to resume\n"
    os.write(2, cursor + line.encode())
    os._exit(code)
