"""How good the advice on fine-tuning is: recorded runs, and what the advice would have cost there.

    python benchmarks/advice.py measure DATA --sizes 150 400 --modes head top all
    python benchmarks/advice.py --write judge

``measure`` takes stratified parts of the training and validation images of a source, each within
the next, and trains every mode on them. Each part becomes a row of ``advice.csv``: the accuracy of
the frozen classifier on the test images, and what each mode gained there. Rows that exist are not
measured again. ``judge`` fits `advice.REMOVED` anew and says from the rows what the advice would
have been: the points of accuracy lost to the best mode that was run, or to none. It also fits on
the other sources alone.
"""

from __future__ import annotations

import csv
import dataclasses
import shutil
import tempfile
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
from headstart.finetune import FinetuneConfig, advice, finetune, single_label
from headstart.finetune.config import ALL, HEAD, TOP
from headstart.finetune.division import divide
from headstart.finetune.job import FinetuneJob
from headstart.finetune.photos import read_again
from headstart.heads.linear import estimator_of

RECORDS = Path(__file__).with_name("advice.csv")
COLUMNS = ("source", "images", "frozen", *MODES)
SECONDS = {HEAD: 1.0, TOP: 2.0, ALL: 3.0}  # in the order of their cost


def subset(frozen, division, size, seed):
    """Return the features with all but ``size`` training and validation images unlabelled."""
    rng = np.random.default_rng(seed)
    pool = np.concatenate([division.train, division.validation])
    labels = frozen.label[pool]
    place = np.empty(len(pool))
    for code in division.classes:
        own = rng.permutation(np.flatnonzero(labels == code))
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    kept = pool[np.argsort(place, kind="stable")[:size]]
    label = np.full(len(frozen.label), -1, np.int32)
    for rows in (kept, division.test):
        label[rows] = frozen.label[rows]
    split = ["test" if name == "test" else "" for name in division.named(frozen).split]
    return dataclasses.replace(frozen, label=label, split=split)


def test_features(model, photos):
    runner = Runner(model)
    crops = (images.decode(read_again(photo), runner.backbone.preprocess) for photo in photos)
    return np.concatenate([runner.embed(crop[np.newaxis]) for crop in crops])


def measure(options):
    choice = Choice(options.backbone)
    name = options.name or Path(options.data).name
    present = {(row["source"], row["images"]) for row in read()}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        embed(options.data, out / "frozen.h5", EmbedConfig(choice))
        frozen = store.read(out / "frozen.h5")
        for size in sorted(options.sizes):
            if (name, size) not in present:
                gains = measure_part(frozen, choice, size, options, out / "run")
                with RECORDS.open("a", encoding="utf-8", newline="") as file:
                    csv.DictWriter(file, COLUMNS).writerow({"source": name, "images": size} | gains)


def measure_part(frozen, choice, size, options, out):
    """Train every mode on a part of the images; return the frozen accuracy and the gains."""
    config = FinetuneConfig(seed=options.seed)
    data = subset(frozen, divide(frozen, 0), size, options.seed)
    job = FinetuneJob.create(options.data, data, choice, config)
    test = job.division.test
    (photos,) = job.photos((test, 1))
    head, _ = single_label.search(job)
    before = np.mean(head.estimator.predict(data.features[test]) == data.label[test])
    row = {"frozen": round(float(before), 4)}
    for mode in options.modes:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        of_mode = dataclasses.replace(config, mode=mode)
        tuned = finetune(options.data, data, choice, out, of_mode)
        estimator = estimator_of(tuned.weight, tuned.bias, tuned.division.classes)
        right = estimator.predict(test_features(tuned.backbone, photos)) == data.label[test]
        row[mode] = round(float(np.mean(right) - before), 4)
        print(size, mode, f"{row[mode]:+.4f}", flush=True)
    return row


def read():
    """Return the recorded runs; modes that were not run are left out."""
    with RECORDS.open(encoding="utf-8", newline="") as file:
        return [
            {"source": row["source"], "images": int(row["images"]), "frozen": float(row["frozen"])}
            | {mode: float(row[mode]) for mode in MODES if row[mode]}
            for row in csv.DictReader(file)
        ]


def share(row, mode):
    """Return the share of the frozen classifier's errors that a mode removed."""
    return row[mode] / (1 - row["frozen"])


def fit(rows):
    """Return the lines that these runs support, as `advice.REMOVED` holds them."""
    heads = [share(row, HEAD) for row in rows]
    x = np.log2([row["images"] / (1 - row["frozen"]) ** 2 for row in rows])
    shares = np.array([share(row, TOP) for row in rows])
    slope, intercept = np.polyfit(x, shares, 1)
    residuals = shares - intercept - slope * x
    deviation = float(np.sqrt((residuals**2).sum() / (len(rows) - 2)))
    behind = [share(row, TOP) - share(row, ALL) for row in rows if ALL in row]
    wider = float(np.hypot(deviation, np.std(behind, ddof=1)))
    return {
        HEAD: advice.Line(float(np.mean(heads)), 0.0, float(np.std(heads, ddof=1))),
        TOP: advice.Line(float(intercept), float(slope), deviation),
        ALL: advice.Line(float(intercept - np.mean(behind)), float(slope), wider),
    }


def judge_row(row, removed):
    """Return the advice for a run, the accuracy lost by it, and which gains it predicted."""
    modes = advice.predict(row["images"], 1 - row["frozen"], removed)
    for mode in modes:
        mode["seconds"] = SECONDS[mode["mode"]]
    recommended = advice.recommend(modes)[0]
    gains = {advice.NONE: 0.0} | {mode: row[mode] for mode in MODES if mode in row}
    inside = [
        mode["gain_ci"][0] <= row[mode["mode"]] <= mode["gain_ci"][1]
        for mode in modes
        if mode["mode"] in row
    ]
    return recommended, max(gains.values()) - gains[recommended], inside


def judge(options):
    rows = read()
    summarise("the advice", [judge_row(row, advice.REMOVED) for row in rows])
    others = [
        judge_row(row, fit([other for other in rows if other["source"] != row["source"]]))
        for row in rows
    ]
    summarise("fitted on the other sources alone", others)
    for mode in (advice.NONE, *MODES):
        ran = [row | {advice.NONE: 0.0} for row in rows if mode in row or mode == advice.NONE]
        lost = [max(0.0, *(row[m] for m in MODES if m in row)) - row[mode] for row in ran]
        summarise(f"always {mode}", [(mode, loss, []) for loss in lost])
    print("lines that these runs support:")
    for mode, line in fit(rows).items():
        print(f"  {mode}: {', '.join(f'{value:.3f}' for value in line)}")


def summarise(title, judged):
    lost = np.array([loss for _, loss, _ in judged])
    page.sample(f"{title}: points lost, by run", *lost)
    inside = [hit for _, _, hits in judged for hit in hits]
    intervals = f", {sum(inside)} of {len(inside)} gains inside their intervals" if inside else ""
    print(
        f"{title}: right {int((lost <= advice.WORTH + 1e-9).sum())} of {len(judged)}, "
        f"{100 * lost.mean():.2f} points lost on average{intervals}"
    )


def main() -> None:
    parser = page.parser(__doc__)
    commands = parser.add_subparsers(required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("data")
    measuring.add_argument("--name", help="of the source in the table")
    measuring.add_argument("--backbone", default=backbones.DEFAULT)
    measuring.add_argument("--sizes", type=int, nargs="+", default=[150, 400])
    measuring.add_argument("--modes", nargs="+", default=["head", "top"])
    measuring.add_argument("--seed", type=int, default=0)
    measuring.set_defaults(run=measure)
    judging = commands.add_parser("judge")
    judging.set_defaults(run=judge)
    options = parser.parse_args()
    with page.recorded(options):
        options.run(options)


if __name__ == "__main__":
    main()
