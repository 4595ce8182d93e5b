"""The table of backbones that were tried: read back as written; and all of it, on request."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import pytest
from headstart.backbones.catalogue import Entry

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
ROUNDING = 1e-4  # of figures on the page, and of processors
WORKING = re.findall(r"^\| `(.+?)` \| .* / ", PAGE, re.MULTILINE)


@pytest.fixture
def breadth(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    return importlib.import_module("breadth")


def test_the_page_is_read_back_as_it_was_written(breadth):
    works = {
        "name": "timm:a.b",
        "parameters": 1.5e6,
        "gmacs": None,
        "features": 1280,
        "size": [224, 300],
        "cosine_mean": 1.0,
        "cosine_min": 0.99998,
        "centred_min": 0.9999,
        "relative": 0.0123,
        "images_per_second": 4.5,
    }
    fails = {"name": "keras:C", "error": "cannot a / b"}
    page = breadth.table([works, fails], ["timm:a.b", "keras:C", "timm:left"], "here")
    assert breadth.rows_of(page) == [works, fails]
    assert breadth.measured_of(page) == "here"
    assert "Tried 2 of 3: 1 work, 1 do not." in page
    assert page.endswith("## Not tried yet\n\n`timm:left`\n")


def test_the_page_in_the_documents_is_the_scripts(breadth):
    rows = breadth.rows_of(PAGE)
    assert [row["name"] for row in rows if "error" not in row] == WORKING
    left = re.findall(r"`(.+?)`", PAGE.partition("## Not tried yet")[2])
    names = [row["name"] for row in rows] + left
    assert breadth.table(rows, names, breadth.measured_of(PAGE)) == PAGE


@pytest.mark.breadth
@pytest.mark.parametrize("name", WORKING)
def test_what_worked_still_does(breadth, name):
    row = breadth.in_a_process(name)
    assert "error" not in row, row
    told = next(one for one in breadth.rows_of(PAGE) if one["name"] == name)
    assert row["cosine_mean"] >= min(0.9999, told["cosine_mean"] - ROUNDING)
    assert row["cosine_min"] >= min(0.999, told["cosine_min"] - ROUNDING)


def test_a_network_that_takes_too_long_is_tried_at_its_smallest_size(breadth):
    large = Entry("a:x@LARGE", "x", (518, 518), gmacs=1000.0)
    small = Entry("a:x@SMALL", "x", (224, 224), gmacs=160.0, default=False)
    assert breadth.representative([large, small]) is small
    quick = Entry("a:y", "y", (224, 224), gmacs=4.0)
    slim = Entry("a:y@SLIM", "y", (160, 160), gmacs=2.0, default=False)
    assert breadth.representative([slim, quick]) is quick
