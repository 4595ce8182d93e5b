"""Fits, sizes and views of images: accuracy of heads on the embedded network, and its time.

The images are drawn from DATA by `backbone_choice.sample`, without the test split. Rows give
cross-validated accuracy of kernel ridge on square roots and of logistic regression, and processor
seconds of an image, read and decoded. The mean of crop, mirrored crop and whole image follows from
those of two: their sum is twice both means minus the crop.

    python benchmarks/fitting.py DATA [--images 1000] [--write]
"""

from __future__ import annotations

import argparse
import resource
import sys

import numpy as np
import page
from headstart import backbones, datasets
from headstart.backbones import export
from headstart.backbones.inference.extract import features_of, images_of
from headstart.backbones.inference.runner import Runner
from headstart.evaluation import backbone_choice
from headstart.evaluation.metrics import compare_with
from headstart.heads.folds import divisions
from headstart.heads.kernel_ridge import KernelRidgeHead
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet
from headstart.workflows.features import choice

ROWS = (
    "",
    "fit=squash",
    "fit=pad",
    "fit=whole",
    "views=flip",
    "views=crop+whole",
    "fit=whole&views=flip",
    "size=288",
    "fit=whole&size=288",
)
CROP, FLIP, BOTH = "", "views=flip", "views=crop+whole"
FOLDS, SEED = 10, 0


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    options = parser.parse_args()
    with page.recorded(options, markdown=True):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    listing = datasets.open_source(options.data)
    refs = backbone_choice.sample(listing, options.images, SEED)
    labels = np.unique([str(ref.label) for ref in refs], return_inverse=True)[1].astype(np.int64)
    fold = divisions(labels, FOLDS, SEED)
    images = images_of(listing, refs)
    print(f"{len(refs):,} images of {len(set(labels.tolist()))} classes, {FOLDS} folds")
    print()
    print("| | kernel ridge, % | against the default | logistic regression, % | ms an image |")
    print("|---|--:|--:|--:|--:|")
    features, seconds = {}, {}
    for text in ROWS:
        name = f"{options.backbone}?{text}" if text else options.backbone
        runner = Runner(export.model_file(backbones.settled(choice(name)))[0], batch=None)
        started = _seconds()
        embedded = features_of(images, [runner], 1)
        seconds[text] = (_seconds() - started) / len(refs)
        features[text] = embedded.features[0]
        print(f"{text or 'crop'} embedded", file=sys.stderr, flush=True)
    three = "crop, mirrored crop and whole image, averaged"
    features[three] = (2 * features[FLIP] + 2 * features[BOTH] - features[CROP]) / 3
    seconds[three] = seconds[FLIP] + seconds[BOTH] - seconds[CROP]
    first = None
    for text, rows in features.items():
        data = TrainingSet(rows, labels, fold, SEED, 1)
        right = [_right(head, data) for head in (KernelRidgeHead(), LogisticRegressionHead())]
        against = "" if first is None else _gain(right[0], first)
        first = right[0] if first is None else first
        figures = [100 * float(each.mean()) for each in right]
        page.sample(text or "default", *figures, seconds[text])
        option = f"`--{text.replace('=', ' ').replace('&', ' --')}`" if "=" in text else text
        cells = [option or "default: crop", f"{figures[0]:.1f}", against, f"{figures[1]:.1f}"]
        print(f"| {' | '.join([*cells, f'{1000 * seconds[text]:.0f}'])} |", flush=True)


def _seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _right(head: KernelRidgeHead | LogisticRegressionHead, data: TrainingSet) -> np.ndarray:
    answers = head.search(data).out_of_fold
    return np.asarray(answers.argmax(axis=1) == data.labels)


def _gain(right: np.ndarray, first: np.ndarray) -> str:
    compared = compare_with(first, [right])[0]
    low, high = (100 * end for end in compared.interval)
    return f"{100 * (right.mean() - first.mean()):+.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
