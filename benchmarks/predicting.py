"""Predicting against extraction: the same images, the same threads, alternated.

    python benchmarks/predicting.py MODEL.onnx BACKBONE FOLDER [--rounds 3]

Prints images/s of both and the median of the ratios, after one round that does not count.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import page
from headstart import load_model
from headstart.features.embed import EmbedConfig, embed
from headstart.models.predict import predict


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("backbone")
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with page.recorded(options):
        benchmark(options.model, options.backbone, options.folder, options.rounds)


def benchmark(model: str, backbone: str, folder: str, rounds: int) -> None:
    classifier = load_model(model)
    found: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(rounds + 1):
            out = Path(scratch) / f"{number}.h5"
            summary = embed(folder, out, EmbedConfig(backbone))
            started = time.perf_counter()
            count = sum(1 for _ in predict(classifier, [folder]))
            found.append((summary.images_per_second, count / (time.perf_counter() - started)))
    page.sample("extraction and predicting, images/s", *found[1:])
    ratios = [predicting / extracting for extracting, predicting in found[1:]]
    page.ratio("predicting / extraction", ratios)
    print(f"extraction {median(e for e, _ in found[1:]):.0f} images/s")
    print(f"predicting {median(p for _, p in found[1:]):.0f} images/s")
    print(f"ratio {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
