"""What a benchmark leaves: a JSON with its raw samples, and the page in docs/benchmarks made of it.

A script measures inside `recorded`, and hands over what it measures with `sample` and `ratio`. That
becomes one section of ``NAME.json``: machine, date, commit, command, raw samples, ratios, and the
text that was printed. Without ``--write`` the file lies in ``out/benchmarks``. With it, it is the
one in ``docs/benchmarks/data``, and the section of the page is made from it, between the comments
``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``. Prose around them is written by hand.

    python benchmarks/page.py    # makes all pages from their JSON files again

No host and no folder is named: of each path its last part is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import alternate

PAGES = alternate.ROOT / "docs" / "benchmarks"
DATA = PAGES / "data"
TRIALS = alternate.ROOT / "out" / "benchmarks"
_PATH = re.compile(r"(?<![\w./:-])~?/(?:[^\s/\"'`|,]+/)+([^\s/\"'`|,]*)")


@dataclass
class Record:
    """The measurements of one section: raw samples and paired ratios by name, round by round."""

    samples: dict[str, list[Any]] = field(default_factory=dict)
    ratios: dict[str, list[float]] = field(default_factory=dict)


_records: list[Record] = []  # the one under way is the last


def sample(name: str, *values: Any) -> None:
    """Keep raw samples, numbers or JSON documents, behind those of the same name."""
    for record in _records[-1:]:
        record.samples.setdefault(name, []).extend(values)


def ratio(name: str, values: Sequence[float]) -> None:
    """Keep a ratio's value in every round; `bench.py` compares the medians of two runs."""
    for record in _records[-1:]:
        record.ratios[name] = [float(value) for value in values]


def parser(doc: str) -> argparse.ArgumentParser:
    """Return a parser that shows the script's docstring as its help, with the common options."""
    result = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "--write", action="store_true", help="write the results to the page in docs/benchmarks/"
    )
    result.add_argument(
        "--json", type=Path, help="where samples go without --write  [default: out/benchmarks/]"
    )
    return result


@contextlib.contextmanager
def recorded(
    options: argparse.Namespace, name: str = "results", *, markdown: bool = False
) -> Iterator[None]:
    """Write what is measured and printed inside as section ``name`` of the script's JSON.

    An interrupted run leaves the samples until then, but no page.

    Args:
        options: the parsed arguments.
        name: the section to replace; others of the file stay.
        markdown: the output is Markdown already, and not text to be shown as it is.
    """
    script, copy, record, finished = Path(sys.argv[0]), io.StringIO(), Record(), False
    _records.append(record)
    try:
        with contextlib.redirect_stdout(_Tee(sys.stdout, copy)):
            yield
        finished = True
    finally:
        _records.pop()
        section = {
            "command": command(script.name, sys.argv[1:]),
            "date": datetime.date.today().isoformat(),
            "commit": commit(),
            "machine": alternate.machine(),
            "finished": finished,
            "samples": record.samples,
            "ratios": record.ratios,
            "markdown": markdown,
            "text": copy.getvalue().strip("\n").splitlines(),
        }
        write = options.write and finished
        file = DATA / f"{script.stem}.json" if write else options.json
        save(file or TRIALS / f"{script.stem}.json", name, section)
    if write:
        make(script.stem)


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


def save(file: Path, name: str, section: Mapping[str, Any]) -> None:
    """Put a section into a file of sections, without the folders of what it names."""
    sections = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    sections[name] = _without_folders(section)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(sections, indent=1, default=_plain) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return an array or a number of numpy's as JSON takes it; a path as its last part."""
    return value.name if isinstance(value, Path) else value.tolist()


def _without_folders(value: Any) -> Any:
    if isinstance(value, str):
        return _PATH.sub(lambda match: match[1] or "folder", value)
    if isinstance(value, Mapping):
        return {_without_folders(str(key)): _without_folders(each) for key, each in value.items()}
    return [_without_folders(each) for each in value] if isinstance(value, list | tuple) else value


def make(stem: str) -> None:
    """Make the sections of a page from its JSON; what the JSON lacks stays as it is."""
    page = PAGES / f"{stem}.md"
    text = page.read_text(encoding="utf-8")
    for name, section in json.loads((DATA / f"{stem}.json").read_text(encoding="utf-8")).items():
        text = replaced(text, name, section_of(stem, section))
    page.write_text(text, encoding="utf-8")


def replaced(page: str, name: str, section: str) -> str:
    """Return the page with the section in place of the former one of that name."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    block = f"{begin}\n{section}\n{end}"
    if begin not in page:
        return f"{page.rstrip()}\n\n{block}\n"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, page, flags=re.DOTALL)


def section_of(stem: str, section: Mapping[str, Any]) -> str:
    """Return a section's Markdown: the table that says how it was measured, and the results."""
    packages = {"Python": section["machine"]["python"], **section["machine"]["versions"]}
    rows = {
        "script": f"[`benchmarks/{stem}.py`](../../benchmarks/{stem}.py)",
        "command": f"`{section['command']}`",
        "measured": f"{section['date']}, commit {section['commit']}",
        "machine": _where(section["machine"]),
        "versions": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "samples": f"[`{stem}.json`](data/{stem}.json)",
    }
    (first, link), *others = rows.items()
    table = [f"| {first} | {link} |", "|---|---|", *(f"| {k} | {v} |" for k, v in others)]
    text = "\n".join(section["text"])
    body = text if section["markdown"] else f"```text\n{text}\n```"
    return "\n".join(table) + f"\n\n{body}"


def when() -> str:
    """Return the date and the commit."""
    return f"{datetime.date.today().isoformat()}, commit {commit()}"


def where() -> str:
    """Return this machine's processor, its cores, memory and instruction sets that matter here."""
    return _where(alternate.machine())


def _where(facts: Mapping[str, Any]) -> str:
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


if __name__ == "__main__":
    for data in sorted(DATA.glob("*.json")):
        make(data.stem)
