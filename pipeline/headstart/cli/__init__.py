"""The command line: ``headstart COMMAND``. Each command parses, calls one workflow and prints."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from headstart import __version__
from headstart.cli import console, interrupts
from headstart.core.errors import HeadstartError, UsageError, near_matches, one_line
from headstart.workflows.artifacts import COMMAND

_COMMANDS = {  # command: module of this package, and its line in the list
    "demo-data": ("demo_data", "Draw a data set of textures to try things on."),
    "backbones": ("backbones", "List and search networks, or rank them on your images."),
    "export": ("export", "Write a network as one ONNX file."),
    "features": ("features", "Embed images into a feature store."),
    "import-features": ("import_features", "Make a store of features from elsewhere."),
    "verify": ("verify", "Check a store or an ONNX file, and repair a store."),
    "train-heads": ("train_heads", "Train and compare classifiers on the features."),
    "finetune": ("finetune", "Train a network further on your images."),
    "suggest": ("suggest", "Choose the unlabelled images to label next."),
    "predict": ("predict", "Classify images with a model."),
    "evaluate": ("evaluate", "Score a model on labelled images, or compare it with another one."),
    "drift": ("drift", "Compare new images with those that a model was trained on."),
    "serve": ("serve", "Serve a model as a local page and JSON endpoint."),
    "report": ("report", "Write the report of a comparison again."),
    "export-features": ("export_features", "Write a store as a table for other tools."),
    "export-model": ("export_model", "Write a model in smaller or faster arithmetic."),
}


class _LazyGroup(click.Group):
    """A group that imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"headstart.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            hint = near_matches(name, _COMMANDS) or "see: headstart --help"
            ctx.fail(f"no command {one_line(name)!r}; {hint.rstrip('; ')}")
        interrupts.begin(args)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            name = ctx.invoked_subcommand or ""
            command = self.get_command(ctx, name) or self
            raise click.UsageError(str(error), click.Context(command, ctx, name)) from error


@click.group(
    cls=_LazyGroup,
    params=console.options(),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  headstart features photos --out photos.h5
  headstart train-heads photos.h5 --out results
  headstart predict results more-photos --out labels.csv
""",
)
@click.version_option(__version__, prog_name="headstart")
def cli() -> None:
    """From a folder of labelled images to an honest classifier in minutes."""


def main() -> NoReturn:
    """Run the command line and exit.

    The code is 0 done, 1 failed, 2 wrong usage, 3 a model that fails a condition of ``evaluate``,
    130/143 interrupted.
    """
    console.begin_in_utf_8()
    interrupts.prepare()
    sys.unraisablehook = _unraisable
    console.prepare_process()
    try:
        code = run(sys.argv[1:])
        interrupts.finish()
        sys.exit(code)
    except (KeyboardInterrupt, click.Abort) as error:  # click wraps one in the other
        interrupts.stop(error.__cause__ or error)


def run(arguments: Sequence[str]) -> int:
    """Run one command in this process, print as the command line does, and return its exit code."""
    token = COMMAND.set(shlex.join(["headstart", *arguments]))
    try:
        with console.session():
            return _run(arguments)
    finally:
        COMMAND.reset(token)


def _run(arguments: Sequence[str]) -> int:
    try:
        # In standalone mode click would exit by itself, with its own handling of errors.
        code = cli.main(list(arguments), prog_name="headstart", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # while its errors can still be reported
        return code if isinstance(code, int) else 0
    except click.Abort:
        raise
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:  # the reader of our output is gone (``headstart … | head``)
        console.drop_output()
        return 1
    except MemoryError as error:
        line = "out of memory; close other programs or use a machine with more memory"
        return console.fail(line, error)
    except Exception as error:
        cause = error.__cause__
        if isinstance(error, ImportError) and isinstance(cause, KeyboardInterrupt):
            raise cause from None  # extension modules wrap an interrupt while they load
        return _fail(error)


def _fail(error: Exception) -> int:
    """Print one line for any error: what a user can mend, or what a developer has to."""
    if isinstance(error, console.StreamError):
        console.drop_output()
    if isinstance(error, click.ClickException):
        return console.fail(error.format_message(), error)
    if isinstance(error, HeadstartError):
        return console.fail(str(error), error)
    what = f"{type(error).__name__}: {one_line(error)}"
    if isinstance(error, OSError):
        return console.fail(f"the system refused: {what}; --debug shows where", error)
    return console.fail(
        f"unexpected {what}; this is a fault of Headstart: --debug shows where, please report it",
        error,
    )


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Exit on an interrupt where no exception can propagate, such as in a weakref's callback."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        interrupts.stop(unraisable.exc_value)
    sys.__unraisablehook__(unraisable)
