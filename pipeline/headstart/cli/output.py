"""How commands print: results to stdout, progress and notices to stderr."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

import click

from headstart.cli.console import ENCODING_ERRORS, QUIET, current, detail, notice, record

if TYPE_CHECKING:
    from headstart.workflows.progress import Hooks

Alignment = Literal["left", "right"]

_WIDTH = 80  # of sentences
_GAP, _EDGES = 3, 2  # between columns, and left and right of the table


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=True))


def say(text: str) -> None:
    """Print a sentence in lines of at most 80 characters; words stay whole, to be copied."""
    wrapper = textwrap.TextWrapper(
        _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    click.echo(wrapper.fill(text))


def table(
    columns: Mapping[str, Alignment],
    sections: Sequence[Sequence[Sequence[str]]],
    *,
    optional: Sequence[str] = (),
) -> None:
    """Print a table on stdout, with a line between sections.

    On a terminal that is too narrow, the ``optional`` columns are left out, the first ones first,
    and a notice names them. No text is cut or folded, so names can be copied.

    Args:
        columns: alignment by title.
        sections: rows of cells.
        optional: titles.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    # What the terminal cannot show is replaced before it is measured.
    sections = [[[_shown(cell, console.encoding) for cell in row] for row in s] for s in sections]
    rows = [row for section in sections for row in section]
    widths = {
        title: max(map(cell_len, [title, *(row[number] for row in rows)]))
        for number, title in enumerate(columns)
    }
    kept, hidden = dict(columns), []
    for title in optional if console.is_terminal else ():
        if _needed(widths, kept) > console.width and title in kept:
            hidden.append(title)
            del kept[title]
    console.width = max(console.width, _needed(widths, kept))
    numbers = [number for number, title in enumerate(columns) if title in kept]
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, justify in kept.items():
        grid.add_column(title, justify=justify, no_wrap=True)
    for section in sections:
        for row in section:
            grid.add_row(*(row[number] for number in numbers))
        grid.add_section()
    console.print(grid, crop=False)
    if hidden:
        notice(f"without {', '.join(hidden)}, for which the terminal is too narrow")


def _shown(text: str, encoding: str) -> str:
    return text.encode(encoding, ENCODING_ERRORS).decode(encoding)


def _needed(widths: dict[str, int], columns: Iterable[str]) -> int:
    return sum(widths[title] + _GAP for title in columns) - _GAP + _EDGES


@contextmanager
def hooks(title: str) -> Iterator[Hooks]:
    """Show notices, and progress: a bar on a terminal, elsewhere a line at each tenth."""
    from headstart.workflows.progress import hooks_of

    if current().verbosity == QUIET:
        yield hooks_of(notice, lambda count, total: None)
    elif sys.stderr is None or not sys.stderr.isatty():
        yield hooks_of(notice, _Tenths(title).update, lambda *step: detail(_step(title, *step)))
    else:
        with _bar(title) as shown:
            yield shown


def _step(title: str, name: str, number: int, total: int) -> str:
    return f"{title}, step {number} of {total}: {name}"


@contextmanager
def _bar(title: str) -> Iterator[Hooks]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    from headstart.workflows.progress import hooks_of

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.completed:,.0f}/{task.total:,.0f}" if task.total else "")

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(
                f"{task.speed:.0f} images/s" if task.speed and task.fields["images"] else ""
            )

    out = Console(stderr=True, highlight=False, soft_wrap=True)
    text = TextColumn("{task.description}")
    columns = text, BarColumn(), Count(), Speed(), TimeRemainingColumn()
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(title, total=None, images=False)

        def show(line: str) -> None:
            record(line)
            with suppress(OSError):
                out.print(line, markup=False)

        def step(name: str, number: int, total: int) -> None:
            record(_step(title, name, number, total))
            bar.update(task, description=f"{title}: {name}", completed=number - 1, total=total)

        def progress(count: int, total: int) -> None:
            bar.update(task, completed=count, total=total, images=True)

        yield hooks_of(show, progress, step)


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
