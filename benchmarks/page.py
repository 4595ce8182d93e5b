"""The page of a benchmark in docs/benchmarks, and how ``--write`` puts results on it.

A page says in prose what is measured and how to read it, and has one or more sections of results,
each between the comments ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``. ``--write`` replaces
one of these sections: with what the script printed, and the command, date, commit and machine.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import alternate

PAGES = alternate.ROOT / "docs" / "benchmarks"


def parser(doc: str) -> argparse.ArgumentParser:
    """Return a parser that shows the script's docstring as its help, with ``--write``."""
    result = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "--write", action="store_true", help="write the results to the page in docs/benchmarks/"
    )
    return result


@contextlib.contextmanager
def recorded(
    options: argparse.Namespace, name: str = "results", *, markdown: bool = False
) -> Iterator[None]:
    """Write what is printed inside to section ``name`` of the script's page, if ``--write`` is set.

    Args:
        options: the parsed arguments.
        name: the section to replace; it is added at the end of a page that lacks it.
        markdown: the output is Markdown already, and not text to be shown as it is.
    """
    if not options.write:
        yield
        return
    copy = io.StringIO()
    with contextlib.redirect_stdout(_Tee(sys.stdout, copy)):
        yield
    script = Path(sys.argv[0])
    page = PAGES / f"{script.stem}.md"
    text = copy.getvalue().strip("\n")
    body = text if markdown else f"```text\n{text}\n```"
    section = f"{header(script.name, sys.argv[1:])}\n\n{body}"
    page.write_text(replaced(page.read_text(encoding="utf-8"), name, section), encoding="utf-8")


class _Tee(io.TextIOBase):
    """Write to two streams."""

    def __init__(self, *streams: io.TextIOBase) -> None:
        self._streams = streams

    def write(self, text: str) -> int:
        for stream in self._streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()


def replaced(page: str, name: str, section: str) -> str:
    """Return the page with the section in place of the former one of that name."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    block = f"{begin}\n{section}\n{end}"
    if begin not in page:
        return f"{page.rstrip()}\n\n{block}\n"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, page, flags=re.DOTALL)


def header(script: str, arguments: Sequence[str]) -> str:
    """Return the table that says how the results were made; it names no host and no folder."""
    facts = alternate.machine()
    versions = {"Python": facts["python"], **facts["versions"]}
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    rows = {
        "command": f"`{command(script, arguments)}`",
        "measured": when(),
        "machine": where(),
        "versions": packages,
    }
    lines = [f"| script | [`benchmarks/{script}`](../../benchmarks/{script}) |", "|---|---|"]
    return "\n".join(lines + [f"| {key} | {value} |" for key, value in rows.items()])


def when() -> str:
    """Return the date and the commit."""
    return f"{datetime.date.today().isoformat()}, commit {commit()}"


def where() -> str:
    """Return the processor, its cores, memory and the instruction sets that matter here."""
    facts = alternate.machine()
    flags = " ".join(facts["flags"])
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB; {flags}"


def command(script: str, arguments: Sequence[str]) -> str:
    """Return the command, with the last part only of what is a path."""
    shown = [Path(word).name if "/" in word else word for word in arguments]
    return " ".join(["python", f"benchmarks/{script}", *shown])


def commit() -> str:
    """Return the commit that is checked out, and whether files differ from it."""
    try:
        revision = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"`{revision}`" + (" with uncommitted changes" if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=alternate.ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
