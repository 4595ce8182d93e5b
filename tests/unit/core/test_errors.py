from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path

import pytest
from headstart.core import errors
from headstart.core.errors import HeadstartError, missing_extra, one_line
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[3]
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]
ANY_TEXT = st.text(st.characters(exclude_categories=[]))  # lone surrogates too


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_one_root_and_says_what_it_is_for(kind):
    assert issubclass(kind, HeadstartError)
    assert kind.__doc__
    assert str(kind("said")) == "said"


def test_a_missing_extra_names_packages_and_never_the_name_of_headstart(monkeypatch):
    lines = ["click>=8.1", "starlette>=0.46; extra == 'serve'", 'uvicorn>=0.34; extra == "serve"']
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    message = str(missing_extra("uvicorn", "serve"))
    assert message.endswith("pip install 'starlette>=0.46' 'uvicorn>=0.34'")
    assert "pip install '.[umap]'" in str(missing_extra("umap-learn", "umap"))

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert "pip install '.[serve]'" in str(missing_extra("uvicorn", "serve"))


def test_nothing_advises_the_name_of_headstart_on_the_public_index():
    for path in [*ROOT.glob("pipeline/**/*.py"), ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        assert not re.search(r"pip install[^\n]*headstart|headstart\[", path.read_text()), path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plain é 日本", "plain é 日本"),
        ("a\nb\r\tc\0", "a\\nb\\r\\tc\\x00"),
        ("\x1b[31mred", "\\x1b[31mred"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("\ud800", "\\ud800"),
        ("right\u202eleft\u2028", "right\\u202eleft\\u2028"),
        (ValueError("what\nfailed"), "what\\nfailed"),
    ],
)
def test_one_line(text, told):
    assert one_line(text) == told


@pytest.mark.slow
@given(ANY_TEXT)
def test_one_line_is_printable_and_settled(text):
    line = one_line(text)
    assert line.translate({0x200C: None, 0x200D: None}).isprintable()  # joiners are kept
    assert one_line(line) == line
    assert line.encode() if text else line == ""  # it can be written to any UTF-8 stream


@pytest.mark.slow
@given(st.text().filter(str.isprintable))
def test_one_line_keeps_what_is_printable(text):
    assert one_line(text) == text
