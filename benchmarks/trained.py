"""Networks with trained weights: EfficientNet-Lite0, 1 and 2, embedded, quantised and fine-tuned.

    python benchmarks/trained.py DATA [--part leaderboard|int8|choice|finetune] [--network N]

The images are drawn from DATA by `backbone_choice.sample`, without the test split. Accuracy is
cross-validated in ten folds. Images a second are of one core, by processor time, with reading and
decoding; the networks take turns, a few images each, so other work on the machine slows all alike.
``finetune`` fine-tunes each network on the sample and scores the images of the test split.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import alternate
import numpy as np
import page
from headstart import backbones, datasets
from headstart.backbones import export
from headstart.backbones.bundled import RELEASES
from headstart.backbones.inference.extract import features_of, images_of
from headstart.backbones.inference.precision_choice import FEWEST, quantised
from headstart.backbones.inference.runner import Runner
from headstart.core.choices import TUNED
from headstart.core.records import ImageRef, Listing
from headstart.evaluation import backbone_choice
from headstart.evaluation.metrics import accuracy_interval, compare_with
from headstart.heads.folds import divisions
from headstart.heads.kernel_ridge import KernelRidgeHead
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet
from headstart.workflows.features import choice

NETWORKS = tuple(release.name for release in RELEASES)
FITTED = (
    *NETWORKS,
    *(f"{name}?fit=whole" for name in NETWORKS),
    f"{NETWORKS[0]}?fit=whole&size=288",
)
FOLDS, SEED = 10, 0
TURN = 50  # images that a network embeds before the next has its turn
HEADSTART = [sys.executable, "-c", "from headstart.cli import main; main()"]


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("data")
    parser.add_argument("--part", choices=PARTS, default="leaderboard")
    parser.add_argument("--images", type=int, default=700)
    parser.add_argument("--network", choices=NETWORKS, help="of finetune, which takes minutes each")
    options = parser.parse_args()
    name = " ".join(filter(None, [options.part, options.network]))
    with page.recorded(options, name, markdown=True):
        listing = datasets.open_source(options.data)
        refs = backbone_choice.sample(listing, options.images, SEED)
        PARTS[options.part](options, listing, refs)


def leaderboard(options: argparse.Namespace, listing: Listing, refs: Sequence[ImageRef]) -> None:
    """Print accuracy and speed of the networks, and of other fits of images."""
    files = {name: export.model_file(backbones.settled(choice(name)))[0] for name in FITTED}
    features, seconds = embedded(files, listing, refs)
    labels = numbers(refs)
    right = {name: answers(rows, labels) for name, rows in features.items()}
    print(f"{len(refs):,} images of {len(set(labels.tolist()))} classes, {FOLDS} folds")
    print()
    print(
        "| backbone | kernel ridge, % (95 %) | against the default | logistic regression, % | "
        "against the default | images/s | ÷ the default |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    first, *others = files
    against = [
        compare_with(right[first][head], [right[name][head] for name in others])
        for head in range(2)
    ]
    for number, name in enumerate(files):
        gains = ["", ""] if name == first else [gain(each[number - 1]) for each in against]
        ridge, logistic = right[name]
        low, high = accuracy_interval(ridge)
        speeds = [TURN / each for each in seconds[name]]
        ratios = alternate.paired(seconds[first], seconds[name])
        page.sample(name, {"right": [float(each.mean()) for each in right[name]]})
        page.sample(f"{name}, images/s", *speeds)
        page.ratio(f"{name} / {first}, images/s", ratios)
        cells = [
            f"`{name}`",
            f"{ridge.mean():.1%} ({low:.1%}–{high:.1%})".replace("%", ""),
            gains[0],
            f"{100 * logistic.mean():.1f}",
            gains[1],
            f"{np.median(speeds):.0f}",
            f"{np.median(ratios):.2f}",
        ]
        print(f"| {' | '.join(cells)} |")


def int8(options: argparse.Namespace, listing: Listing, refs: Sequence[ImageRef]) -> None:
    """Print what int8 changes in accuracy, features and speed."""
    labels = numbers(refs)
    print(f"{len(refs):,} images; calibrated on others or the same, without labels")
    print()
    print(
        "| backbone | fp32, % | int8, % | difference (95 %) | cosine, mean | smallest | MB | "
        "int8 ÷ fp32, speed |\n|---|--:|--:|--:|--:|--:|--:|--:|"
    )
    for name in NETWORKS:
        model = export.model_file(backbones.settled(choice(name)))[0]
        path, drift = quantised(model, listing, 1, enough=lambda file: FEWEST)
        features, seconds = embedded({"fp32": model, "int8": path}, listing, refs)
        right = {key: answers(rows, labels)[0] for key, rows in features.items()}
        ratios = alternate.paired(seconds["fp32"], seconds["int8"])
        page.sample(name, {key: float(each.mean()) for key, each in right.items()})
        page.ratio(f"{name}: int8 / fp32, images/s", ratios)
        cells = [
            f"`{name}`",
            *(f"{100 * right[key].mean():.1f}" for key in ("fp32", "int8")),
            gain(compare_with(right["fp32"], [right["int8"]])[0]),
            f"{drift.mean_cosine:.4f}",
            f"{drift.min_cosine:.4f}",
            f"{path.stat().st_size / 1e6:.1f} of {model.stat().st_size / 1e6:.1f}",
            f"{np.median(ratios):.2f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
    print()
    print(f"Processor: {', '.join(alternate.machine()['flags'])}.")


def choose(options: argparse.Namespace, listing: Listing, refs: Sequence[ImageRef]) -> None:
    """Print what ``backbones --for`` answers, with a second fit of the best."""
    config = backbone_choice.ChooseConfig(
        named=NETWORKS, at_hand=False, images=options.images, seed=SEED, workers=1, fits=True
    )
    chosen = backbone_choice.choose(options.data, config)
    page.sample("choice", chosen.to_json())
    print(f"{chosen.images:,} images of {chosen.classes} classes, {backbone_choice.FOLDS} folds")
    print()
    print("| backbone | accuracy, % (95 %) | difference to the best | verdict | LogME | MB |")
    print("|---|--:|--:|---|--:|--:|")
    for tried in chosen.tried:
        low, high = tried.interval
        cells = [
            f"`{tried.name}`",
            f"{100 * tried.accuracy:.1f} ({100 * low:.1f}–{100 * high:.1f})",
            "" if tried.difference_interval is None else span(tried.difference_interval),
            tried.verdict,
            f"{tried.logme:.2f}",
            f"{tried.megabytes:.1f}",
        ]
        print(f"| {' | '.join(cells)} |")
    print(f"\nIt suggests `{chosen.suggested}`: the fastest that is not worse than the best.")


def finetune(options: argparse.Namespace, listing: Listing, refs: Sequence[ImageRef]) -> None:
    """Print what fine-tuning the top of each network gains on the images of the test split."""
    tests = [ref for ref in listing.images if ref.split == "test" and ref.label is not None]
    print(f"{len(refs):,} images to train and validate, {len(tests):,} to test")
    print()
    print(
        "| backbone | best frozen head, test % | fine-tuned, test % (95 %) | difference (95 %) | "
        "best epoch | processor minutes |\n|---|--:|--:|--:|--:|--:|"
    )
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        for ref, split in [*((ref, "train") for ref in refs), *((ref, "test") for ref in tests)]:
            source = datasets.location(listing, ref)
            target = photos / split / str(ref.label) / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        for name in [options.network] if options.network else NETWORKS:
            out, before = Path(folder) / name, children_seconds()
            words = ["finetune", str(photos), "--backbone", name, "--out", str(out), "--workers=1"]
            subprocess.run([*HEADSTART, *words], check=True, stdout=subprocess.DEVNULL)
            minutes = (children_seconds() - before) / 60
            results = json.loads((out / "results.json").read_text(encoding="utf-8"))
            best = json.loads((out / "history.json").read_text(encoding="utf-8"))["best"]
            page.sample(name, {"minutes": minutes, "heads": results["heads"]})
            print(f"| `{name}` | {tuned_cells(results['heads'])} | {best} | {minutes:.1f} |")


def tuned_cells(heads: list[dict]) -> str:
    """Return accuracies on the test images: of the frozen head that validates best, and tuned."""
    tuned = next(head for head in heads if head["name"] == TUNED)
    frozen = max((head for head in heads if head is not tuned), key=lambda h: h["cv_accuracy"])
    own, sign = (tuned, 1) if tuned["difference"] is not None else (frozen, -1)
    ends = sorted(sign * end for end in own["difference_ci"])
    low, high = tuned["test_accuracy_ci"]
    cells = [
        f"{100 * frozen['test_accuracy']:.1f} ({frozen['name']})",
        f"{100 * tuned['test_accuracy']:.1f} ({100 * low:.1f}–{100 * high:.1f})",
        f"{100 * sign * own['difference']:+.1f} ({span((ends[0], ends[1]))})",
    ]
    return " | ".join(cells)


def children_seconds() -> float:
    """Return the processor time of the processes that this one has started and that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def embedded(
    files: dict[str, Path], listing: Listing, refs: Sequence[ImageRef]
) -> tuple[dict[str, np.ndarray], dict[str, list[float]]]:
    """Return each network's ``(n, d)`` features, and processor seconds of each turn."""
    runners = {name: Runner(file, batch=None) for name, file in files.items()}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in files}
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for runner in runners.values():  # the first images warm up what is reused
        features_of(images_of(listing, refs[:4]), [runner], 1)
    for start in range(0, len(refs), TURN):
        images = images_of(listing, refs[start : start + TURN])
        for name, runner in runners.items():
            started = time.process_time()
            part = features_of(images, [runner], 1)
            spent = time.process_time() - started
            assert not part.failures
            parts[name].append(part.features[0])
            if len(part.rows) == TURN:
                seconds[name].append(spent)
        print(f"{min(start + TURN, len(refs))} of {len(refs)}", file=sys.stderr, flush=True)
    return {name: np.concatenate(rows) for name, rows in parts.items()}, seconds


def answers(features: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Return whether kernel ridge and logistic regression are right, image by image."""
    data = TrainingSet(features, labels, divisions(labels, FOLDS, SEED), SEED, 1)
    heads = KernelRidgeHead(), LogisticRegressionHead()
    return [head.search(data).out_of_fold.argmax(axis=1) == labels for head in heads]


def numbers(refs: Iterable[ImageRef]) -> np.ndarray:
    """Return the number of each image's class."""
    return np.unique([str(ref.label) for ref in refs], return_inverse=True)[1].astype(np.int64)


def gain(compared) -> str:
    """Show a difference of accuracy in points, with its interval."""
    return f"{100 * compared.difference:+.1f} ({span(compared.interval)})"


def span(interval: tuple[float, float]) -> str:
    """Show an interval in points."""
    low, high = (100 * end for end in interval)
    return f"{low:.1f} to {high:.1f}"


PARTS = {"leaderboard": leaderboard, "int8": int8, "choice": choose, "finetune": finetune}

if __name__ == "__main__":
    main()
