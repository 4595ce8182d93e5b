"""Decision records and benchmark pages: each is complete and in its index."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
PAGES = sorted(
    page for page in (ROOT / "docs" / "benchmarks").glob("*.md") if page.name != "README.md"
)
SECTION = re.compile(r"<!-- begin: (.+?) -->\n(.*?)<!-- end: \1 -->", re.DOTALL)
LIBRARIES = {"alternate", "environments", "networks", "page", "photos"}
ELSEWHERE = {"backbone_facts", "breadth"}  # they write facts.csv and docs/backbones.md
NAMES = [page.stem for page in PAGES]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("record", DECISIONS, ids=lambda path: path.stem)
def test_a_record_has_its_parts_in_sixty_lines(record):
    text = text_of(record)
    number, title = re.match(r"# (\d+)\. (.+)\n", text).groups()
    assert int(number) == int(record.name[:4])
    assert re.search(
        r"^Status: (accepted|rejected|superseded)\b.*\d{4}-\d\d-\d\d", text, re.MULTILINE
    )
    for part in ("Context", "Decision", "Consequences"):
        assert re.search(rf"^## {part}\n\n\S", text, re.MULTILINE), part
    assert len(text.splitlines()) <= 60
    assert f"[{title}]({record.name})" in text_of(record.with_name("README.md"))


def test_numbers_of_records_are_their_own():
    numbers = [path.name[:4] for path in DECISIONS]
    assert len(numbers) == len(set(numbers)) >= 50


def test_every_script_has_a_page_and_every_page_a_script():
    names = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert names - LIBRARIES - ELSEWHERE == set(NAMES)
    index = text_of(ROOT / "docs" / "benchmarks" / "README.md")
    for name in NAMES:
        assert f"({name}.md)" in index


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_says_how_its_figures_were_made(page):
    sections = SECTION.findall(text_of(page))
    assert sections
    for _, body in sections:
        rows = dict(
            re.findall(
                r"^\| (script|command|measured|machine|samples) \| (.+) \|$", body, re.MULTILINE
            )
        )
        assert f"benchmarks/{page.stem}.py" in rows["script"]
        assert f"benchmarks/{page.stem}.py" in rows["command"] or "headstart " in rows["command"]
        assert re.match(r"\d{4}-\d\d-\d\d, commit `[0-9a-f]{7,}`", rows["measured"])
        assert rows["machine"]
        assert "not kept" in rows["samples"] or f"data/{page.stem}.json" in rows["samples"]
        assert not re.search(r"/(home|root|tmp|work|Users)/", body)


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("page")


def test_results_replace_those_of_the_same_section_only(page, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(page, "PAGES", tmp_path)
    monkeypatch.setattr(page, "DATA", tmp_path / "data")
    file = tmp_path / "trial.md"
    other = "<!-- begin: b -->\nkept\n<!-- end: b -->"
    file.write_text(f"# Title\n\n<!-- begin: a -->\nold\n<!-- end: a -->\n\n{other}\n")
    folder = tmp_path / "photos"
    monkeypatch.setattr("sys.argv", ["benchmarks/trial.py", str(folder), "--write"])
    parser = page.parser("What it does.")
    parser.add_argument("data")
    with page.recorded(parser.parse_args(), "a"):
        page.sample("images/s", np.float32(12), 11.5)
        page.sample("images/s", {"place": str(folder / "b.jpg")})
        page.ratio("new / old", np.array([1.5, 2.0]))
        sys.stdout.write("12 images/s \\1\n")
    text = file.read_text()
    data = json.loads((tmp_path / "data" / "trial.json").read_text())["a"]
    assert data["samples"] == {"images/s": [12, 11.5, {"place": "b.jpg"}]}
    assert data["ratios"] == {"new / old": [1.5, 2.0]}
    assert data["finished"]
    assert data["machine"]["cores"] > 0
    assert page.section_of("trial", data) in text
    assert "12 images/s" in capsys.readouterr().out
    assert "```text\n12 images/s \\1\n```" in text
    assert "`python benchmarks/trial.py photos --write`" in text
    assert str(tmp_path) not in text
    assert "old" not in text
    assert other in text


def test_samples_are_kept_but_no_page_is_written_unless_asked(page, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "PAGES", tmp_path / "pages")
    file = tmp_path / "trial.json"
    monkeypatch.setattr("sys.argv", ["benchmarks/trial.py", "--json", str(file)])
    options = page.parser("What it does.").parse_args()
    with page.recorded(options, "a"):
        page.sample("seconds", 1)
    with contextlib.suppress(KeyboardInterrupt), page.recorded(options, "b"):
        page.sample("seconds", 2)
        raise KeyboardInterrupt
    sections = json.loads(file.read_text())
    assert [sections[name]["finished"] for name in "ab"] == [True, False]
    assert sections["b"]["samples"] == {"seconds": [2]}
    assert list(tmp_path.iterdir()) == [file]


def test_pages_are_made_from_their_samples(page):
    """What `python benchmarks/page.py` would write is there already, and no folder is in it."""
    for file in page.DATA.glob("*.json"):
        text = text_of(file)
        assert not re.search(r"/(home|root|tmp|work|Users)/", text), file.name
        for section in json.loads(text).values():
            assert page.section_of(file.stem, section) in text_of(page.PAGES / f"{file.stem}.md")


HELP_OF_ALL = """
import contextlib, io, runpy, sys

sys.path.insert(0, "benchmarks")
for name in sys.argv[1:]:
    sys.argv = [f"benchmarks/{name}.py", "--help"]
    text = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(text):
        runpy.run_path(sys.argv[0], run_name="__main__")
    assert "--write" in text.getvalue(), name
"""


@pytest.mark.long
def test_every_script_starts_and_can_write_its_page():
    command = [sys.executable, "-c", HELP_OF_ALL, *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
