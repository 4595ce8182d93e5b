"""The page of docs/browser.html in a real browser: it answers as Headstart does."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import factories
import numpy as np
import pytest
from headstart.backbones.inference.decoding import with_rules
from headstart.core.records import Preprocess
from headstart.datasets import images
from headstart.models.predict import Model
from PIL import Image

ROOT = Path(__file__).parents[2]
PARTS = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path, tiny_classifier) -> Iterator[str]:
    """Serve the page with a model and onnxruntime-web beside it, as its comment says."""
    held = os.environ.get("HEADSTART_ONNXRUNTIME_WEB", ROOT / "node_modules" / "onnxruntime-web")
    parts = [Path(held) / "dist" / name for name in PARTS]
    if not all(part.is_file() for part in parts):
        pytest.skip("no onnxruntime-web; npm install --no-save onnxruntime-web@1.30.0")
    folder = tmp_path / "site"
    folder.mkdir()
    for file in (*parts, ROOT / "docs" / "browser.html", tiny_classifier):
        shutil.copy(file, folder)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/browser.html"
        server.shutdown()


@pytest.fixture
def photos(tmp_path, write_image) -> list[Path]:
    """Write images higher and wider than high, one on its side, one transparent, one small."""
    paths = [
        write_image(tmp_path / name, seed, size)
        for seed, (name, size) in enumerate(
            [("a.png", (131, 90)), ("b.png", (77, 143)), ("c.png", (33, 35)), ("d.png", (90, 80))]
        )
    ]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(paths[1]).save(tmp_path / "turned.png", exif=exif)
    clear = Image.open(paths[3]).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(tmp_path / "clear.png")
    return [*paths, tmp_path / "turned.png", tmp_path / "clear.png"]


def test_the_page_answers_as_headstart_does(browser, site, photos, tiny_classifier):
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(site)
    page.wait_for_selector("input:enabled")
    page.set_input_files("input", photos)
    page.wait_for_function(f"document.querySelectorAll('li').length === {len(photos)}")
    model = Model(tiny_classifier)
    crops = np.stack([model.decode(path.read_bytes()) for path in photos])
    for line, path, scores in zip(
        page.locator("li").all_inner_texts(), photos, model.predict(crops), strict=True
    ):
        name, label, share = line.replace(":", ",").split(", ")
        assert (name, label) == (path.name, model.classes[int(scores.argmax())])
        assert float(share) == pytest.approx(scores.max(), abs=0.01)
    assert said == []
    page.close()


def test_the_page_leaves_images_open_or_answers_with_sets(
    browser, site, photos, tiny_classifier, tmp_path
):
    model = Model(tiny_classifier)
    scores = model.predict(np.stack([model.decode(path.read_bytes()) for path in photos]))
    median = float(np.median(scores.max(axis=1)))
    path = factories.with_facts(
        tiny_classifier,
        tmp_path / "site" / "model.onnx",
        operating_points=[{"target": 0.9, "threshold": median, "share": 0.5}],
        prediction_sets={"level": 0.95, "mass": median, "least": [0.3, 0.4, 0.2]},
    )
    sets, own = (
        [" or ".join(names) for names in Model(path).sets(scores, kind)]
        for kind in ("adaptive", "by-class")
    )
    best = [model.classes[row.argmax()] if row.max() >= median else "unknown" for row in scores]
    for number, expected in ((1, best), (2, sets), (3, own)):
        page = browser.new_page()
        page.goto(site)
        page.wait_for_selector("input:enabled")
        page.locator("select").select_option(index=number)
        page.set_input_files("input", photos)
        page.wait_for_function(f"document.querySelectorAll('li').length === {len(photos)}")
        lines = page.locator("li").all_inner_texts()
        assert [re.split(r": |, ", line)[1] for line in lines] == expected
        page.close()
    assert "unknown" in best
    assert any(" or " in text for text in sets)


def test_the_page_shows_all_labels_of_an_image(browser, site, photos, tiny_backbone, tmp_path):
    path = tmp_path / "site" / "model.onnx"
    factories.write_tiny_classifier(path, tiny_backbone, thresholds=[0.5, 0.5, 0.5])
    model = Model(path)
    scores = model.predict(np.stack([model.decode(path.read_bytes()) for path in photos]))
    thresholds = [float(np.median(column)) for column in scores.T]
    factories.write_tiny_classifier(path, tiny_backbone, thresholds)
    page = browser.new_page()
    page.goto(site)
    page.wait_for_selector("input:enabled")
    assert page.locator("select").is_hidden()
    page.set_input_files("input", photos)
    page.wait_for_function(f"document.querySelectorAll('li').length === {len(photos)}")
    lines = page.locator("li").all_inner_texts()
    page.close()
    for line, photo, row in zip(lines, photos, scores, strict=True):
        present = [code for code in range(3) if row[code] >= thresholds[code]]
        name, _, text = line.partition(": ")
        shown = {} if text == "none of the labels" else dict(re.findall(r"(\w+), ([\d.]+)", text))
        assert (name, list(shown)) == (photo.name, [model.classes[code] for code in present])
        assert [float(share) for share in shown.values()] == pytest.approx(row[present], abs=0.01)
    assert len({line.count(";") for line in lines}) > 1


def test_a_file_that_the_browser_cannot_read_is_a_line_and_the_next_is_answered(
    browser, site, photos, tmp_path
):
    bad = tmp_path / "scan.tif"
    Image.open(photos[0]).convert("CMYK").save(bad)
    page = browser.new_page()
    page.goto(site)
    page.wait_for_selector("input:enabled")
    page.set_input_files("input", [bad, photos[0]])
    page.wait_for_function("document.querySelectorAll('li').length === 2")
    first, second = page.locator("li").all_inner_texts()
    assert "scan.tif: cannot be shown" in first
    assert "cannot" not in second


def test_a_model_with_a_range_of_its_own_is_refused(browser, site, tmp_path, tiny_backbone):
    ranged = with_rules(tiny_backbone, "0:4095", "")
    factories.write_tiny_classifier(tmp_path / "site" / "model.onnx", ranged)
    page = browser.new_page()
    page.goto(site)
    page.wait_for_selector("li")
    assert "headstart predict" in page.locator("li").inner_text()
    assert page.locator("input").is_disabled()


RESIZE = """
const fs = require("fs");
const [out] = fitted(new Uint8ClampedArray(fs.readFileSync("in")), [HEIGHT, WIDTH]);
fs.writeFileSync("out", Buffer.from(out.filter((_, i) => i % 4 < 3).buffer));
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
@pytest.mark.parametrize("size", [(131, 90), (33, 35), (400, 21)])
@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(36, 33, "bilinear"),
        Preprocess(36, 33),
        Preprocess((33, 33), 33),
        Preprocess((33, 35), (33, 35), fit="pad", fill=(12, 130, 255)),
        Preprocess((33, 33), 33, fit="whole"),
        Preprocess((160, 128), (160, 128), fit="whole"),
        Preprocess(36, 33, views="crop+whole"),
        Preprocess(36, 33, views="crop+flip+pad+whole", fill=(12, 130, 255)),
    ],
)
def test_its_arithmetic_gives_headstarts_pixels(size, preprocess, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    (tmp_path / "in").write_bytes(np.dstack([noise, np.full(size, 255, np.uint8)]).tobytes())
    page = (ROOT / "docs" / "browser.html").read_text(encoding="utf-8")
    start, end = page.index("const filters"), page.index("async function pixels")
    keys = ("resize", "crop", "interpolation", "policy", "fit", "fill", "views")
    rules = f"const {{ {', '.join(keys)} }} = {json.dumps(preprocess.to_json())};"
    sides = next(line for line in page.splitlines() if line.startswith("const [high, wide]"))
    program = RESIZE.replace("HEIGHT", str(size[0])).replace("WIDTH", str(size[1]))
    (tmp_path / "page.cjs").write_text("\n".join([rules, sides, page[start:end], program]))
    subprocess.run(["node", "page.cjs"], cwd=tmp_path, check=True)
    expected = images.decode(images.encode(noise, "PNG"), preprocess)
    out = np.frombuffer((tmp_path / "out").read_bytes(), np.uint8)
    assert (out == expected.ravel()).all()
