"""Size of ``report.html`` and how long Chromium takes to draw it, against the number of images.

    python benchmarks/reporting.py [5000 100000]

Features are generated in 50 classes that overlap, miniatures are noise, which no picture's file is
larger than; so the page is about the largest that so many images can give. The results are those of
a real comparison (kNN). Loading is until the last figure is drawn, in a window of its own.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import page
from headstart import report
from headstart.core.records import Backbone, Extraction, FeatureSet, Preprocess
from headstart.evaluation.compare import CompareConfig, compare, write_results

CLASSES = 50
DIM = 32
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def generated(n: int) -> FeatureSet:
    """Return a feature set of n images, a fifth of them for the test."""
    rng = np.random.default_rng(0)
    label = np.arange(n) % CLASSES
    features = rng.normal(size=(CLASSES, DIM))[label] + rng.normal(0, 1.2, (n, DIM))
    backbone = Backbone(
        **dict.fromkeys(("source", "weights_sha256", "licence", "layer", "pool"), "generated"),
        name="generated",
        precision="fp32",
        dim=DIM,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        preprocess=Preprocess(resize=32, crop=32),
    )
    extraction = Extraction(backbone)
    split = ["test" if i // CLASSES % 5 == 0 else "train" for i in range(n)]
    return FeatureSet(
        features=features.astype(np.float32),
        path=[f"{split[i]}/class{i % CLASSES}/{i:07}.jpg" for i in range(n)],
        label=label.astype(np.int32),
        split=split,
        sha256=rng.integers(0, 256, (n, 32), np.uint8),
        classes=tuple(f"class{i}" for i in range(CLASSES)),
        extraction=extraction.to_json(),
        digest=extraction.digest,
        pixels=rng.integers(0, 256, (n, 32, 32, 3), np.uint8),
        failures=[],
        name=f"generated, {n:,} images",
    )


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("sizes", type=int, nargs="*", default=[5000, 100_000])
    options = parser.parse_args()
    with page.recorded(options):
        benchmark(options.sizes)


def benchmark(sizes: list[int]) -> None:
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for n in sizes:
            folder, data = Path(scratch) / str(n), generated(n)
            folder.mkdir()
            config = CompareConfig(heads=("knn",), near_duplicates=False)
            write_results(folder, *compare([data], config))
            started = time.perf_counter()
            size = report.write_report(folder, [data]).stat().st_size
            written, tab = time.perf_counter() - started, browser.new_page()
            started = time.perf_counter()
            tab.goto((folder / "report.html").as_uri())
            tab.wait_for_selector("body[data-drawn]", state="attached")
            loaded = time.perf_counter() - started
            facts = {"images": n, "bytes": size, "write": written, "draw": loaded}
            page.sample("bytes and seconds", facts)
            print(f"{n:7,} images: {size / 1e6:.1f} MB, written in {written:.1f} s, ", end="")
            print(f"drawn in {loaded:.1f} s; {tab.locator('#map p').first.inner_text()[-120:]}")
        browser.close()


if __name__ == "__main__":
    main()
