"""Writing the report into a folder."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from factories import feature_set, prediction, results_document, write_predictions
from headstart.core.errors import InputError, OutputError
from headstart.report import begin_map, render, store_paths, thumbnails_sheet, write_report


def test_the_report_is_what_render_returns(folder: Path):
    rows = [
        prediction("a,\n“b”.jpg", "hat", "shirt", 0.9),
        prediction("caf\udce9.jpg", "pants", "hat", 0.6),
        prediction("c.jpg", "hat", "hat", 0.7),
    ]
    write_predictions(folder, rows)
    path = write_report(folder)
    assert path == folder / "report.html"
    html = path.read_text(encoding="utf-8")
    assert html == render(results_document(), rows)
    assert "caf\\xe9.jpg" in html


@pytest.mark.slow
def test_a_map_that_was_begun_before_is_that_of_the_page(folder: Path, monkeypatch):
    digest = results_document()["extraction"]["digest"]
    data = dataclasses.replace(feature_set(), digest=digest)
    page = write_report(folder, [data]).read_bytes()
    places = begin_map(data)
    assert places().shape == (len(data.path), 2)
    monkeypatch.setattr(thumbnails_sheet, "draw_map", None)
    assert write_report(folder, [data], places=places).read_bytes() == page


def test_a_map_of_more_images_than_the_page_shows_waits_for_their_choice(monkeypatch):
    monkeypatch.setattr(thumbnails_sheet, "SHOWN", 3)
    assert begin_map(feature_set())() is None


def test_a_report_is_replaced_and_nothing_else_is_left(folder: Path):
    (folder / "report.html").write_text("old", encoding="utf-8")
    write_report(folder)
    first = (folder / "report.html").read_bytes()
    write_report(folder)
    assert (folder / "report.html").read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "results.json"]


def test_a_reader_of_the_old_report_keeps_it_whole(folder: Path):
    (folder / "report.html").write_text("old", encoding="utf-8")
    with (folder / "report.html").open(encoding="utf-8") as reader:
        write_report(folder)
        assert reader.read() == "old"  # a new file took the name; the old one was not written to


def test_a_report_that_cannot_be_written_leaves_no_trace(folder: Path):
    (folder / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"^cannot write .*report\.html: [^\n]+$"):
        write_report(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "results.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_an_output_error(folder: Path):
    folder.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            write_report(folder)
    finally:
        folder.chmod(0o700)


def test_an_old_report_survives_results_that_went_bad(folder: Path):
    (folder / "report.html").write_text("old", encoding="utf-8")
    (folder / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError):
        write_report(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == "old"


def test_stores_are_those_that_the_results_name(folder: Path):
    assert store_paths(folder) == []
    results = results_document()
    results["provenance"]["stores"] = ["a.h5", "b/c.h5"]
    (folder / "results.json").write_text(json.dumps(results))
    assert store_paths(folder) == [Path("a.h5"), Path("b/c.h5")]
