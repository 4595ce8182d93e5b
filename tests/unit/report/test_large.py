"""The report on many images and many classes, in a real browser."""

from __future__ import annotations

import csv
import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from headstart import report
from headstart.evaluation import compare
from headstart.evaluation.compare import CompareConfig
from headstart.report import thumbnails_sheet
from headstart.report.page import MATRIX_CLASSES

ROOT = Path(__file__).parents[3]
# By level: the images, how many of them a page shows, and its bytes, of which plotly.js has 5 MB.
SIZES = {"test": (800, 500, 8_000_000), "all": (7_500, thumbnails_sheet.SHOWN, 15_000_000)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, level) -> Iterator[Path]:
    """A report on more images than a page shows, in more classes than a matrix has room for."""
    images, shown, _ = SIZES[level]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        patch.setattr(thumbnails_sheet, "SHOWN", shown)
        generated = importlib.import_module("reporting").generated
        data, where = generated(images), tmp_path_factory.mktemp("large")
        config = CompareConfig(heads=("knn",), repeats=1, near_duplicates=False)
        plain = dataclasses.replace(data, pixels=None)  # spares the baseline on raw pixels
        compare.write_results(where, *compare.compare([plain], config))
        report.write_report(where, [data], "pca")
        yield where


def test_the_page_is_small_and_says_that_it_shows_a_sample(folder, browser, level):
    images, shown, largest = SIZES[level]
    # Miniatures of noise: no images make a larger page.
    assert (folder / "report.html").stat().st_size < largest
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((folder / "report.html").as_uri())
    page.wait_for_selector("body[data-drawn]", state="attached")
    told = page.inner_text("#map")
    assert f"shows {shown:,} of {images:,} images" in told
    assert page.locator("#plane .points path").count() == shown
    assert said == []
    page.close()


def test_a_pair_of_many_classes_opens_its_images(folder, browser):
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        answers = list(csv.DictReader(file))
    assert len({row["true"] for row in answers}) > MATRIX_CLASSES
    page = browser.new_page()
    page.goto((folder / "report.html").as_uri())
    page.wait_for_selector("body[data-drawn]", state="attached")
    assert page.locator("table.matrix").count() == 0
    cell = page.locator("button.cell").first
    true, predicted = cell.locator("xpath=ancestor::tr").locator("bdi").all_inner_texts()
    cell.click()
    shown = page.locator("#gallery li .path").all_inner_texts()
    wrong = [r["path"] for r in answers if (r["true"], r["predicted"]) == (true, predicted)]
    assert sorted(shown) == sorted(wrong)
    assert len(wrong) == int(cell.inner_text())
    page.close()
