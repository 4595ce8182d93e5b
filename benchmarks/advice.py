"""How often the advice on fine-tuning was right, on subsets of one source.

    python benchmarks/advice.py DATA [--store FILE] [--sizes 200 400] [--modes head top]

For each number of images, a stratified part of the training and validation images, each within the
next: what ``headstart finetune --advise`` predicts, then what each mode really brings on the test
images over logistic regression on the frozen features, and how long it really takes. The mode that
is recommended counts as right if no other that was run, nor leaving it alone, was better on the
test images by more than `advice.WORTH`. These are few, so some of the misses are theirs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline import backbones, images, store
from pipeline.embed import EmbedConfig, embed
from pipeline.finetune import FinetuneConfig, advise, finetune, preparation
from pipeline.finetune.activations import read_again
from pipeline.finetune.advice import NONE, WORTH
from pipeline.finetune.division import divide
from pipeline.heads.linear import estimator_of
from pipeline.records import Choice
from pipeline.runner import Runner


def subset(frozen, division, size, seed):
    """Return the features with all but ``size`` training and validation images unlabelled."""
    rng = np.random.default_rng(seed)
    pool = np.concatenate([division.train, division.validation])
    labels = frozen.label[pool]
    place = np.empty(len(pool))
    for code in division.known:
        own = rng.permutation(np.flatnonzero(labels == code))
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    kept = pool[np.argsort(place, kind="stable")[:size]]
    label = np.full(len(frozen.label), -1, np.int32)
    for rows in (kept, division.test):
        label[rows] = frozen.label[rows]
    split = ["test" if one == "test" else "" for one in division.named(frozen).split]
    return dataclasses.replace(frozen, label=label, split=split)


def test_features(model, photos):
    runner = Runner(model)
    crops = (images.decode(read_again(photo), runner.backbone.preprocess) for photo in photos)
    return np.concatenate([runner.embed(crop[np.newaxis]) for crop in crops])


def really(data, frozen, choice, config, out, photos):
    """Fine-tune and return the accuracy on the test images, and the seconds."""
    started = time.perf_counter()
    tuned = finetune(data, frozen, choice, out, config)
    seconds = time.perf_counter() - started
    estimator = estimator_of(tuned.weight, tuned.bias, tuned.division.known)
    answers = estimator.predict(test_features(tuned.backbone, photos))
    return float(np.mean(answers == frozen.label[tuned.division.test])), seconds


def trial(data, frozen, choice, size, options, out):
    """Advise on a subset, then do what was advised on."""
    config = FinetuneConfig(seed=options.seed)
    part = subset(frozen, divide(frozen, options.seed), size, options.seed)
    division = divide(part, options.seed)
    started = time.perf_counter()
    told = advise(data, part, choice, config)
    took = time.perf_counter() - started
    head, _ = preparation.start(part, division, config)
    test = division.test
    before = float(np.mean(head.estimator.predict(part.features[test]) == part.label[test]))
    photos = preparation.photos_of(data, part, test, 1)
    found = {"images": size, "before": before, "advice_seconds": took, "advice": told, "real": {}}
    for mode in options.modes:
        of_mode = dataclasses.replace(config, mode=mode)
        folder = out / mode
        folder.mkdir(parents=True, exist_ok=True)
        accuracy, seconds = really(data, part, choice, of_mode, folder, photos)
        found["real"][mode] = {"gain": accuracy - before, "seconds": seconds}
    gains = {NONE: 0.0} | {mode: one["gain"] for mode, one in found["real"].items()}
    found["right"] = gains.get(told["recommended"], -1.0) >= max(gains.values()) - WORTH
    show(found)
    return found


def show(found):
    told = found["advice"]
    print(
        f"{found['images']:,} images: frozen {found['before']:.3f} on test; advised "
        f"{told['recommended']} in {found['advice_seconds']:.0f} s: "
        f"{'right' if found['right'] else 'wrong'}"
    )
    for one in told["modes"]:
        real = found["real"].get(one["mode"])
        low, high = one["gain_ci"]
        line = f"  {one['mode']:4} gain {one['gain']:+.3f} ({low:+.3f} to {high:+.3f})"
        line += f", {one['seconds']:.0f} s, risk {one['risk']:.2f}"
        if real is not None:
            inside = "inside" if low <= real["gain"] <= high else "outside"
            line += f"; really {real['gain']:+.3f} ({inside}), {real['seconds']:.0f} s"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--store", type=Path, help="a feature store of DATA, if there is one")
    parser.add_argument("--backbone", default=backbones.DEFAULT)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 400])
    parser.add_argument("--modes", nargs="+", default=["head", "top"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    choice = Choice(options.backbone)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        if options.store is None:
            embed(options.data, out / "frozen.h5", EmbedConfig(choice))
        frozen = store.read(options.store or out / "frozen.h5")
        found = [
            trial(options.data, frozen, choice, size, options, out)
            for size in sorted(options.sizes)
        ]
    print(f"right {sum(one['right'] for one in found)} of {len(found)} times")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
