"""The command line: ``headstart COMMAND``. Each command parses, calls one stage and prints."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from types import FrameType
from typing import NoReturn

import click

from pipeline import __version__
from pipeline.errors import HeadstartError, one_line

INTERRUPTED = 130
TERMINATED = 143

_COMMANDS = {  # command: module of this package
    "demo-data": "demo_data",
    "backbones": "backbones",
    "export": "export",
    "features": "features",
    "verify": "verify",
    "train-heads": "train_heads",
    "predict": "predict",
    "report": "report",
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
        module = importlib.import_module(f"pipeline.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headstart")
def cli() -> None:
    """From a folder of labelled images to an honest classifier in minutes."""


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130/143 interrupted."""
    signal.signal(signal.SIGTERM, _terminate)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries' remarks are for developers; errors are ours
    try:
        # What click prints and returns is right; only its way of exiting is not ours.
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.UsageError as error:
        error.show()
        sys.exit(error.exit_code)
    except HeadstartError as error:
        _fail(str(error))
    except BrokenPipeError:
        # The reader of our output has gone (``headstart … | head``): nothing left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except click.ClickException as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, click.Abort) as error:  # click wraps the one in the other
        if isinstance(error.__cause__ or error, _Terminated):
            _stop("terminated", TERMINATED)
        _stop("interrupted", INTERRUPTED)
    except MemoryError:
        _fail("out of memory; close other programs or use a machine with more")


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _fail(message: str) -> NoReturn:
    click.echo(f"headstart: {one_line(message)}", err=True)
    sys.exit(1)


def _stop(word: str, code: int) -> NoReturn:
    click.echo(f"headstart: {word}; finished work is kept, the same command continues", err=True)
    sys.exit(code)
