"""How commands print: results to stdout, progress and notices to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from headstart.workflows.progress import Hooks

_WIDTH = 150  # of tables, where stdout is not a terminal


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=True))


def notice(line: str) -> None:
    """Print a line on stderr."""
    click.echo(line, err=True)


def table(
    columns: dict[str, str],
    sections: Sequence[Sequence[Sequence[str]]],
    *,
    width: int | None = None,
) -> None:
    """Print a table on stdout, with a line between sections; ``width`` None is the terminal's.

    ``columns`` maps titles to ``left``, ``right``, or ``fold`` for names that may be long.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=width)
    if width is None and not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, style in columns.items():
        if style == "fold":
            grid.add_column(title, overflow="fold")
        else:
            grid.add_column(title, justify="right" if style == "right" else "left", no_wrap=True)
    for rows in sections:
        for row in rows:
            grid.add_row(*row)
        grid.add_section()
    console.print(grid)


@contextmanager
def hooks(title: str) -> Iterator[Hooks]:
    """Show notices, and progress: a bar on a terminal, elsewhere a line at each tenth."""
    from headstart.workflows.progress import hooks_of

    if not sys.stderr.isatty():
        yield hooks_of(notice, _Tenths(title).update)
        return
    with _bar(title) as (show, progress):
        yield hooks_of(show, progress)


@contextmanager
def _bar(title: str) -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.0f} images/s" if task.speed else "")

    out = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = TextColumn(title), BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn()
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield (
            lambda line: out.print(line, markup=False),
            lambda count, total: bar.update(task, completed=count, total=total),
        )


class _Tenths:
    """Progress for logs: one line at each tenth of the work."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = 0

    def update(self, count: int, total: int) -> None:
        tenth = 10 * count // total if total else 0
        if tenth > self._shown:
            self._shown = tenth
            notice(f"{self._title}: {count:,} of {total:,}")
