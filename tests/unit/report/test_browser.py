"""The report in a real browser: what it shows, runs and asks for."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import head_result, insights, learning_curve, results_document
from headstart import report
from headstart.core.records import FeatureSet
from headstart.core.results import Remark
from headstart.report import formatting

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">\u2028<b>'\"&"
CLASSES = [HOSTILE, "pants", "shirt"]
TEST = [(0, 0), (0, 2), (0, 2), (1, 1), (2, 2), (2, 0)]  # true and predicted
N_TRAIN = 24


def feature_set() -> FeatureSet:
    n = N_TRAIN + len(TEST)
    rng = np.random.default_rng(3)
    labels = [i % 3 for i in range(N_TRAIN)] + [true for true, _ in TEST]
    pixels = np.zeros((n, 32, 32, 3), np.uint8)
    pixels[:] = np.arange(n)[:, None, None, None] * 8  # every image has a grey of its own
    return FeatureSet(
        features=rng.normal(size=(n, 12)).astype(np.float32),
        path=[f"{HOSTILE}{i}.png" for i in range(n)],
        label=np.array(labels, np.int32),
        split=["train"] * N_TRAIN + ["test"] * len(TEST),
        sha256=np.zeros((n, 32), np.uint8),
        classes=tuple(CLASSES),
        extraction={},
        digest="d" * 64,
        pixels=pixels,
        failures=[(f"{HOSTILE}.gif", HOSTILE)],
        name="photos",
    )


def results() -> dict[str, Any]:
    confusion = np.zeros((3, 3), int)
    for true, predicted in TEST:
        confusion[true, predicted] += 1
    head = dataclasses.replace(
        head_result("linear-svm", confusion.tolist(), "best", C=1.0),
        reliability={"images": [0, 6], "confidence": [None, 0.8], "accuracy": [None, 0.5]},
    )
    document = results_document(
        CLASSES,
        confusion.tolist(),
        heads=[head],
        baselines=[],
        warnings=[Remark("images", HOSTILE, HOSTILE)],
        insights=insights(learning_curve([8, 16])),
    )
    document["extraction"]["digest"] = feature_set().digest
    document["dataset"] |= {"name": HOSTILE, "failures": 1, "failure_reasons": {HOSTILE: 1}}
    document["provenance"]["command"] = HOSTILE
    return json.loads(json.dumps(document))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A report about classes, files and reasons with a hostile name."""
    where, data = tmp_path_factory.mktemp("report"), feature_set()
    (where / "results.json").write_text(json.dumps(results()), encoding="utf-8")
    with (where / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "true", "predicted", "correct", *(f"p:{c}" for c in CLASSES)])
        for i, (true, answer) in enumerate(TEST):
            shares = [0.9 if c == answer else 0.05 for c in range(3)]
            row = [data.path[N_TRAIN + i], CLASSES[true], CLASSES[answer], "", *shares]
            table.writerow(row)
    with (where / "label_issues.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "split", "given", "suggested", "score"])
        table.writerow([data.path[1], "train", HOSTILE, "pants", 0.02])
    with (where / "duplicates.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["group", "path", "split", "label", "used", "closest", "kind"])
        table.writerow([0, data.path[0], "train", HOSTILE, "train", "", "near"])
        table.writerow([0, data.path[N_TRAIN], "test", "pants", "test", "", "near"])
    losses = {"train_loss": 0.5, "validation_loss": 0.6, "validation_accuracy": 0.7}
    epochs = [losses | {"epoch": 1}, losses | {"epoch": 2}]
    (where / "history.json").write_text(json.dumps(epochs))
    report.write_report(where, [data])
    return where


@pytest.fixture(scope="module")
def opened(browser, folder) -> Iterator[Any]:
    """Open the page once; give it with what it complained of and what it asked for."""
    context = browser.new_context()
    page, heard, asked = context.new_page(), [], []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((folder / "report.html").as_uri())
    page.wait_for_selector("body[data-drawn]", state="attached")
    yield page, heard, asked
    context.close()


@pytest.fixture
def page(opened, folder) -> Iterator[Any]:
    """Give the open page; a word on its console or a request for anything else is a failure."""
    shown, heard, asked = opened
    shown.set_viewport_size({"width": 1100, "height": 900})
    shown.emulate_media(color_scheme="light")
    yield shown
    assert heard == []
    outside = [url for url in asked if not url.startswith(("data:", "blob:"))]
    assert outside == [(folder / "report.html").as_uri()]


def test_the_figures_are_drawn(page):
    assert page.locator("#plane .points path").count() == N_TRAIN + len(TEST)
    for figure in ("reliability", "learning", "loss", "accuracy"):
        assert page.locator(f"#{figure} .points path").count() > 0, figure


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_a_cell_of_the_matrix_opens_its_images(page, how):
    cell = page.locator('button[data-true="0"][data-predicted="2"]')
    assert cell.inner_text() == "2"
    cell.focus()
    page.keyboard.press("Enter") if how == "keyboard" else cell.click()
    paths = page.locator("#gallery li .path").all_inner_texts()
    shown = [str(formatting.printable(f"{HOSTILE}{N_TRAIN + i}.png")) for i in (1, 2)]
    assert sorted(paths) == sorted(shown)
    greys = page.eval_on_selector_all(
        "#gallery li img",
        """async (all) => Promise.all(all.map(async (image) => {
            await image.decode();
            const canvas = document.createElement("canvas").getContext("2d");
            canvas.drawImage(image, 0, 0);
            return canvas.getImageData(9, 9, 1, 1).data[0];
        }))""",
    )
    assert sorted(greys) == pytest.approx([(N_TRAIN + i) * 8 for i in (1, 2)], abs=3)
    page.keyboard.press("Escape")
    assert not page.locator("#gallery").is_visible()


def test_pointing_at_the_map_shows_the_image(page):
    page.locator("#plane").scroll_into_view_if_needed()
    box = page.locator("#plane .points path").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.wait_for_selector("#seen .path")
    assert page.locator("#seen .path").inner_text().startswith("</script>")
    assert page.locator("#seen img, #seen canvas").count() == 1


@pytest.mark.parametrize(("colour", "groups"), [("split", 2), ("prediction", 3), ("class", 3)])
def test_the_map_is_coloured_by_what_was_chosen(page, colour, groups):
    page.check(f"input[name=colour][value={colour}]")
    assert page.locator("#plane .legend .traces").count() == groups


def test_hostile_texts_are_shown_and_not_run(page):
    assert page.evaluate("document.title").startswith(HOSTILE[:20])  # "owned" if it had run
    assert page.locator('img[src="x"]').count() == 0
    shown = page.locator("#labels .path").inner_text()
    assert shown == formatting.printable(f"{HOSTILE}1.png")


def test_duplicates_across_the_test_are_marked(page):
    assert page.locator("#duplicates .mark").all_inner_texts() == [
        "leakage: training and test",
        "different labels",
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_nothing_is_wider_than_the_window(page, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert dark == (scheme == "dark")


def test_figures_fit_on_paper(page):
    page.set_viewport_size({"width": 700, "height": 900})
    page.emulate_media(media="print")
    for figure in ("reliability", "plane"):
        outer = page.locator(f"#{figure}").bounding_box()
        inner = page.locator(f"#{figure} .main-svg").first.bounding_box()
        assert inner["width"] <= outer["width"] + 1
        assert inner["height"] <= outer["height"] + 1
    page.emulate_media(media="screen")


@pytest.mark.slow
def test_the_same_inputs_make_the_same_page(folder):
    before = (folder / "report.html").read_bytes()
    report.write_report(folder, [feature_set()])
    assert (folder / "report.html").read_bytes() == before


def test_without_its_store_the_page_says_so(browser, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    report.write_report(tmp_path / "copy", [dataclasses.replace(feature_set(), digest="other")])
    opened = browser.new_page()
    opened.goto((tmp_path / "copy" / "report.html").as_uri())
    assert opened.locator("#plane").count() == 0
    assert "is missing or has changed" in opened.inner_text("#data")
    opened.click('button[data-true="0"][data-predicted="2"]')
    assert opened.locator("#gallery li .path").count() == 2
    opened.close()


def test_the_map_is_walked_with_the_keyboard(page):
    page.locator("#plane").focus()
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
        seen.append(page.locator("#seen .path").inner_text())
    assert len(set(seen)) >= 3


def test_a_corrected_selection_is_saved_as_features_reads_it(page):
    page.select_option("#filters [name=state]", "wrong")
    wrong = [i for i, (true, predicted) in enumerate(TEST) if true != predicted]
    assert page.locator("#browse-list li").count() == len(wrong)
    page.click("#select-all")
    page.select_option("#relabel", "1")
    with page.expect_download() as download:
        page.click("#save")
    with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {f"{HOSTILE}{N_TRAIN + i}.png" for i in wrong}
    assert {row["path"] for row in rows} == expected
    assert {row["label"] for row in rows} == {"pants"}
    page.select_option("#relabel", "undo")
    page.click("#clear")


def test_a_picture_is_enlarged(page):
    page.locator("#errors button.zoom").first.click()
    assert page.locator("#viewer .path").inner_text().startswith("</script>")
    assert page.locator("#viewer-picture img, #viewer-picture canvas").count() == 1
    page.keyboard.press("Escape")


@pytest.mark.parametrize("width", [400, 1200])
def test_maps_of_errors_leave_room_for_the_names_of_classes(browser, folder, tmp_path, width):
    where, data = tmp_path / "report", feature_set()
    shutil.copytree(folder, where)
    map_ = np.full((192, 192, 3), 90, np.uint8)
    maps = {(path, name): map_ for path in data.path for name in CLASSES}
    report.write_report(where, [data], maps=maps)
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((where / "report.html").as_uri())
    rows = page.locator("table.errors tbody tr")
    assert rows.count() == 3
    for row in rows.all():
        drawn = row.locator("td.map img").bounding_box()
        for cell in row.locator("td[data-label]").all():
            box = cell.bounding_box()
            assert box["x"] >= drawn["x"] + drawn["width"] or box["y"] >= (
                drawn["y"] + drawn["height"]
            )
            if (text := cell.locator("bdi")).count() and text.inner_text() in ("pants", "shirt"):
                assert text.evaluate("e => e.getClientRects().length") == 1
    page.close()
