"""The report of several labels in a real browser: what it shows, runs and asks for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from factories import label_sets
from headstart import report
from headstart.evaluation.compare import CompareConfig, compare, write_results

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><b>'\"&"
CLASSES = (HOSTILE, "pants", "shirt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where, n = tmp_path_factory.mktemp("labels"), 120
    split = ["test" if row % 3 == 0 else "train" for row in range(n)]
    data = label_sets(n=n, split=split, classes=CLASSES)
    sets = data.label_sets.copy()
    sets[:6] = 1 - sets[:6]  # some errors, of both kinds
    pixels = np.full((n, 32, 32, 3), 90, np.uint8)
    paths = [f"{HOSTILE}{row}.png" for row in range(n)]
    data = dataclasses.replace(data, label_sets=sets, pixels=pixels, path=paths)
    heads = ("logistic-regression", "knn")
    config = CompareConfig(heads=heads, near_duplicates=False, repeats=1)
    write_results(where, *compare([data], config))
    report.write_report(where, [data])
    return where


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_shows_every_label_and_asks_for_nothing(browser, folder, width):
    page, heard, asked = browser.new_page(viewport={"width": width, "height": 900}), [], []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((folder / "report.html").as_uri())
    body = page.inner_text("body")
    for text in (HOSTILE, "pants", "shirt", "Precision-recall", "together"):
        assert text.lower() in body.lower()
    assert page.locator("svg polyline").count() >= 2 * len(CLASSES)  # sparklines and curves
    assert all(
        box["width"] > 0 for line in page.locator("svg").all() if (box := line.bounding_box())
    )
    assert page.locator("img[src^='data:image/webp']").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert heard == []
    assert [url for url in asked if not url.startswith("data:")] == [
        (folder / "report.html").as_uri()
    ]
    page.close()
