"""How often the advice on fine-tuning was right: what it said beside what really came.

    python benchmarks/advice.py measure RECORDS DATA --sizes 150 400 --modes head top all
    python benchmarks/advice.py --write judge RECORDS

``measure`` takes stratified parts of the training and validation images of a source, each within
the next, has a pilot look at them as ``headstart finetune --advise`` does, and then really trains
every mode. Each part becomes a line of RECORDS (JSON Lines), and lines that are there are not
measured again. ``judge`` says from the records what the advice would have been, and how it was:
the recommended mode counts as right if no other that was run, nor leaving it alone, was better on
the test images by more than `advice.WORTH`. It also says which constants of `advice` the records
support, and how the advice fares where they are taken from the other sources alone.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import page
from headstart import backbones
from headstart.backbones.inference.runner import Runner
from headstart.core.choices import MODES
from headstart.core.records import Choice
from headstart.datasets import images
from headstart.features import store
from headstart.features.embed import EmbedConfig, embed
from headstart.finetune import FinetuneConfig, advice, finetune, pilot, preparation
from headstart.finetune.activations import read_again
from headstart.finetune.division import divide
from headstart.heads.linear import estimator_of


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
    """Fine-tune and return which test images are right, the accuracy and the seconds."""
    started = time.perf_counter()
    tuned = finetune(data, frozen, choice, out, config)
    seconds = time.perf_counter() - started
    estimator = estimator_of(tuned.weight, tuned.bias, tuned.division.known)
    right = estimator.predict(test_features(tuned.backbone, photos))
    right = right == frozen.label[tuned.division.test]
    return {"right": right.tolist(), "seconds": seconds}


def measure(options):
    choice = Choice(options.backbone)
    known = [(one["source"], one["images"], one["seed"]) for one in read(options.records)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        embed(options.data, out / "frozen.h5", EmbedConfig(choice))
        frozen = store.read(out / "frozen.h5")
        for size in sorted(options.sizes):
            name = options.name or Path(options.data).name
            if (name, size, options.seed) in known:
                continue
            record = {"source": name, "images": size, "seed": options.seed}
            record |= part(frozen, choice, size, options, out / "run")
            with options.records.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


def part(frozen, choice, size, options, out):
    """Have a pilot look at a part of the images, then train every mode on it."""
    config = FinetuneConfig(seed=options.seed)
    division = divide(frozen, 0)
    data = subset(frozen, division, size, options.seed)
    division = divide(data, options.seed)
    head, _ = preparation.start(data, division, config)
    started = time.perf_counter()
    found = pilot.run(options.data, data, choice, division, config, lambda _: None)
    test = division.test
    photos = preparation.photos_of(options.data, data, test, 1)
    record = {
        "frozen_cv": head.cv_accuracy,
        "frozen": (head.estimator.predict(data.features[test]) == data.label[test]).tolist(),
        "sizes": advice.sizes_of(division),
        "pilot_seconds": time.perf_counter() - started,
        "pilot": dataclasses.asdict(found)
        | {"right": {mode: right.tolist() for mode, right in found.right.items()}},
        "real": {},
    }
    for mode in options.modes:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        of_mode = dataclasses.replace(config, mode=mode)
        record["real"][mode] = really(options.data, data, choice, of_mode, out, photos)
        print(size, mode, f"{np.mean(record['real'][mode]['right']):.4f}", flush=True)
    return record


def read(records):
    if not records.exists():
        return []
    return [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines()]


def pilot_of(record):
    found = record["pilot"]
    right = {mode: np.array(one, bool) for mode, one in found["right"].items()}
    return pilot.Pilot(**found | {"right": right})


def gains(record):
    """Return what each mode brought on the test images, and nothing for leaving it alone."""
    before = np.mean(record["frozen"])
    real = {mode: np.mean(one["right"]) - before for mode, one in record["real"].items()}
    return {advice.NONE: 0.0} | real


def share(right, frozen):
    """Return the share of the frozen network's errors that are gone."""
    return 1 - np.mean(~np.array(right)) / np.mean(~np.array(frozen))


def supported(records):
    """Return mean and deviation of the real shares of errors gone, a pair for each mode."""
    found = {}
    for mode in MODES:
        real = [share(r["real"][mode]["right"], r["frozen"]) for r in records if mode in r["real"]]
        if len(real) > 1:
            found[mode] = float(np.mean(real)), float(np.std(real, ddof=1))
    return found


def judge(options):
    records = read(options.records)
    told = [judge_one(record, advice.USUAL) for record in records]
    for line in told:
        print(line["text"])
    summary("as it is", told)
    print("usual shares that these records support:", supported(records))
    others = []
    for record in records:
        rest = [one for one in records if one["source"] != record["source"]]
        others.append(judge_one(record, advice.USUAL | supported(rest)))
    summary("with shares from the other sources alone", others)
    real = [gains(record) for record in records]
    for mode in (advice.NONE, *MODES):
        lost = [max(one.values()) - one[mode] for one in real if mode in one]
        if lost:
            right = sum(one <= advice.WORTH for one in lost)
            points = 100 * np.mean(lost)
            print(f"always {mode}: right {right} of {len(lost)}, {points:.2f} points lost")


def judge_one(record, usual):
    error = 1 - record["frozen_cv"]
    config = FinetuneConfig(seed=record["seed"])
    modes = advice.predict(pilot_of(record), error, record["sizes"], config, usual)
    modes = [one for one in modes if one["mode"] in record["real"]]
    recommended = advice.recommend(modes)[0]
    real = gains(record)
    lost = max(real.values()) - real[recommended]
    inside, text = [], []
    for one in modes:
        (low, high), gain = one["gain_ci"], real[one["mode"]]
        inside.append(low <= gain <= high)
        text.append(
            f"  {one['mode']:4} {100 * one['gain']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}), "
            f"really {100 * gain:+.1f}; {one['seconds']:.0f} s, really "
            f"{record['real'][one['mode']]['seconds']:.0f} s"
        )
    verdict = "right" if lost <= advice.WORTH else f"wrong by {100 * lost:.1f} points"
    first = (
        f"{record['source']}, {record['images']:,} images (seed {record['seed']}): frozen "
        f"{np.mean(record['frozen']):.3f}, advised {recommended}: {verdict}"
    )
    return {"text": "\n".join([first, *text]), "lost": lost, "inside": inside}


def summary(title, told):
    inside = np.concatenate([one["inside"] for one in told])
    lost = np.array([one["lost"] for one in told])
    print(
        f"{title}: right {int((lost <= advice.WORTH).sum())} of {len(told)}, "
        f"{100 * lost.mean():.2f} points lost on average, {int(inside.sum())} of {len(inside)} "
        "gains inside their intervals"
    )


def main() -> None:
    parser = page.parser(__doc__)
    commands = parser.add_subparsers(required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("records", type=Path)
    measuring.add_argument("data")
    measuring.add_argument("--name", help="of the source in the table")
    measuring.add_argument("--backbone", default=backbones.DEFAULT)
    measuring.add_argument("--sizes", type=int, nargs="+", default=[150, 400])
    measuring.add_argument("--modes", nargs="+", default=["head", "top"])
    measuring.add_argument("--seed", type=int, default=0)
    measuring.set_defaults(run=measure)
    judging = commands.add_parser("judge")
    judging.add_argument("records", type=Path)
    judging.set_defaults(run=judge)
    options = parser.parse_args()
    with page.recorded(options):
        options.run(options)


if __name__ == "__main__":
    main()
