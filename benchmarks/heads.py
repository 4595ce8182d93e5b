"""The searches of heads against plain grid searches, the whole command, and growth with the data.

Usage: python benchmarks/heads.py STORE [--rounds 3] [--heads NAMES]
       python benchmarks/heads.py --scale [--sizes 1000,3000] [--classes 100]

The first form searches the same grids on the same rows, folds and normalisation twice, alternated:
with Headstart's shared work and with ``GridSearchCV(n_jobs=-1)`` on ``Normalizer`` and the head,
both with the final fit on all rows; Headstart's time includes the calibration too, which the plain
search does not have. Both sides go through whole grids. Headstart's one rule that ends a path of C
there is exact: once no coefficient of an SVM reaches its bound C, larger values give the same
machine. The last column is the time with the default early stop of logistic regression as well,
which leaves out values of C beyond the first that is worse: not exact, but it chose the same here
if "same" says so.

With all four heads it also times ``headstart train-heads STORE`` as a process, once a round beside
the grid searches: everything that the command does, a fifth head, map, report, baselines and model
included, against the four plain grid searches alone.

The second form makes feature stores of random classes, reads each in a process of its own, and
prints time and peak memory of every head.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import alternate
import h5py
import numpy as np
import page
from headstart.core.parallel import available_cores
from headstart.core.records import Backbone, Extraction, Preprocess
from headstart.features import store
from headstart.heads import HEADS
from headstart.heads.folds import stratified_folds
from headstart.heads.knn import GaussianWeights
from headstart.heads.training_set import TrainingSet
from rich.console import Console
from rich.table import Table
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC

FOLDS = 5
C_PATH = tuple(float(c) for c in np.logspace(-2, 4, 7))  # 1e-5 to 10 on standardised rows
SIZES = (1000, 3000, 10_000, 30_000, 100_000)
DIM = 1280
HEADSTART = [sys.executable, "-c", "from headstart.cli import main; main()"]
PLAIN = {
    "logistic-regression": LogisticRegression(max_iter=2000),
    "linear-svm": SVC(kernel="linear"),
    "rbf-svm": SVC(kernel="rbf"),
    "knn": KNeighborsClassifier(metric="euclidean"),
}
out = Console(width=130)


def full_grid(name: str):
    head = HEADS[name]
    if name == "logistic-regression":
        return dataclasses.replace(head, grid={"C": C_PATH}, patience=None)
    return dataclasses.replace(head, grid={"C": C_PATH}) if name == "linear-svm" else head


def plain_grid(name: str, tried: list[dict]) -> dict[str, list]:
    """Return the grid that GridSearchCV goes through: the values that Headstart's spans."""
    if name in ("logistic-regression", "linear-svm"):
        return {"head__C": list(C_PATH)}
    keys = tried[0]["params"]
    grid = {f"head__{k}": list(dict.fromkeys(t["params"][k] for t in tried)) for k in keys}
    if name == "knn":
        grid["head__weights"] = [GaussianWeights(gamma) for gamma in grid.pop("head__gamma")]
    return grid


def plain_params(found: dict) -> dict:
    """Return the parameters that GridSearchCV chose, under Headstart's names."""
    names = {key.removeprefix("head__"): value for key, value in found.items()}
    if isinstance(names.get("weights"), GaussianWeights):
        names["gamma"] = names.pop("weights").gamma
    return names


def timed(function):
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def fresh(data: TrainingSet) -> TrainingSet:
    """Return the data without what an earlier search has worked out."""
    return dataclasses.replace(data)


def compare(path: Path, rounds: int, names: list[str]) -> tuple[list[dict], dict | None]:
    """Return a row for each head, and one for the whole command if all heads are compared."""
    data = store.read(path)
    test = np.array([split == "test" for split in data.split])
    labels = data.label[~test].astype(np.int64)
    fold = stratified_folds(labels, FOLDS, 0)
    training = TrainingSet(data.features[~test], labels, fold, workers=available_cores())
    whole, trials = [], {name: [] for name in names}
    for _ in range(rounds):
        if set(names) == set(PLAIN):
            whole.append(whole_command(path))
        for name in names:
            trials[name].append(trial(name, training))
    rows = [summary(name, trials[name], data.features[test]) for name in names]
    if not whole:
        return rows, None
    plain = [sum(trials[name][i]["plain"] for name in names) for i in range(rounds)]
    seconds = [each["wall"] for each in whole]
    return rows, {
        "head": "whole command",
        "plain": statistics.median(plain),
        "ours": statistics.median(seconds),
        "ratio": statistics.median(p / o for p, o in zip(plain, seconds, strict=True)),
        "processor": statistics.median(each["processor"] for each in whole),
        "all": {"plain": plain, "ours": seconds},
    }


def whole_command(path: Path) -> dict[str, float]:
    """Run ``headstart train-heads`` as a process; return its wall and processor time."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*HEADSTART, "train-heads", str(path), "--out", folder]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds, _ = timed(lambda: subprocess.run(command, capture_output=True, check=True))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    return {"wall": seconds, "processor": used}


def trial(name: str, training: TrainingSet) -> dict:
    """Search a head's grid once by each method, with the early stop too where there is one."""
    family = full_grid(name)
    early = dataclasses.replace(family, patience=1) if hasattr(family, "patience") else family
    ours, head = timed(lambda: family.search(fresh(training)))
    stopped, short = ours, head
    if early is not family:
        stopped, short = timed(lambda: early.search(fresh(training)))
    pipe = Pipeline([("normalizer", Normalizer()), ("head", PLAIN[name])])
    grid = plain_grid(name, head.grid)
    search = GridSearchCV(pipe, grid, cv=PredefinedSplit(training.fold), n_jobs=-1)
    plain, _ = timed(lambda: search.fit(training.features, training.labels))
    return {"ours": ours, "early": stopped, "plain": plain, "found": (head, short, search)}


def summary(name: str, trials: list[dict], test: np.ndarray) -> dict:
    head, short, search = trials[-1].pop("found")
    plain, ours, stopped = ([each[k] for each in trials] for k in ("plain", "ours", "early"))
    row = {
        "head": name,
        "candidates": len(search.cv_results_["params"]),
        "plain": statistics.median(plain),
        "ours": statistics.median(ours),
        "ratio": statistics.median(p / o for p, o in zip(plain, ours, strict=True)),
        "plain_params": plain_params(search.best_params_),
        "params": head.params,
        "plain_cv": float(search.best_score_),
        "cv": head.cv_accuracy,
        "equal_predictions": float((head.estimator.predict(test) == search.predict(test)).mean()),
        "early": statistics.median(stopped),
        "early_ratio": statistics.median(p / o for p, o in zip(plain, stopped, strict=True)),
        "early_same": short.params == head.params,
        "all": {"plain": plain, "ours": ours, "early": stopped},
    }
    out.print(f"{name}: {row['ratio']:.1f}", style="dim")
    return row


def show(rows: list[dict], whole: dict | None) -> None:
    table = Table(title="Searching the same grids (medians; seconds)")
    for title in ("head", "grid", "GridSearchCV", "Headstart", "ratio", "chosen (plain → ours)",
                  "CV accuracy", "equal test predictions", "with early stop"):  # fmt: skip
        table.add_column(title)
    for row in rows:
        table.add_row(
            row["head"],
            str(row["candidates"]),
            f"{row['plain']:.1f}",
            f"{row['ours']:.2f}",
            f"{row['ratio']:.1f}",
            f"{_short(row['plain_params'])} → {_short(row['params'])}",
            f"{row['plain_cv']:.4f} → {row['cv']:.4f}",
            f"{row['equal_predictions']:.2%}",
            f"{row['early']:.2f} ({row['early_ratio']:.1f}, "
            f"{'same' if row['early_same'] else 'other'})",
        )
    for title, names in (("both SVMs", ("linear-svm", "rbf-svm")), ("all", tuple(HEADS))):
        group = [row for row in rows if row["head"] in names]
        plain, ours, early = (sum(r[k] for r in group) for k in ("plain", "ours", "early"))
        if group:
            table.add_row(title, "", f"{plain:.1f}", f"{ours:.2f}", f"{plain / ours:.1f}", "", "",
                          "", f"{early:.2f} ({plain / early:.1f})")  # fmt: skip
    if whole:
        table.add_row("whole command", "", f"{whole['plain']:.1f}", f"{whole['ours']:.1f}",
                      f"{whole['ratio']:.1f}", "", "", "", "")  # fmt: skip
    out.print(table)


def _short(params: dict) -> str:
    return ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in params.values())


# ---- scale ---------------------------------------------------------------------------------------


def make_store(path: Path, n: int, classes: int) -> None:
    """Write a feature store of overlapping classes of non-negative features."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(classes, 64)).astype(np.float32)
    mixing = rng.normal(size=(64, DIM)).astype(np.float32) / 8
    labels = rng.permutation(np.arange(n) % classes).astype(np.int32)
    nothing = {"source": "none", "weights_sha256": "", "licence": "none", "layer": "", "pool": ""}
    backbone = Backbone(
        name="generated",
        precision="float32",
        dim=DIM,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        preprocess=Preprocess(256, 224),
        **nothing,
    )
    extraction = Extraction(backbone)
    with h5py.File(path, "w") as file:
        features = file.create_dataset("features", (n, DIM), "f4")
        for start in range(0, n, 4096):
            hidden = centres[labels[start : start + 4096]]
            hidden = hidden + 2.5 * rng.normal(size=hidden.shape).astype(np.float32)
            noise = rng.normal(size=(len(hidden), DIM)).astype(np.float32)
            features[start : start + 4096] = np.maximum(hidden @ mixing + noise, 0)
        file["label"] = labels
        text = h5py.string_dtype()
        file.create_dataset("path", data=[f"{i}.jpg" for i in range(n)], dtype=text)
        file.create_dataset("split", data=["train"] * n, dtype=text)
        file["sha256"] = rng.integers(0, 256, (n, 32), np.uint8)
        file.attrs["format"], file.attrs["version"] = "headstart-features", 1
        names = [f"class {i}" for i in range(classes)]
        file.attrs.create("classes", names, dtype=text)
        file.attrs["extraction"] = json.dumps(extraction.to_json())
        file.attrs["digest"] = extraction.digest


def one_head(path: Path, name: str) -> None:
    """Search one head and print what it took: the work of a child process."""
    started = time.perf_counter()
    data = store.read(path)
    features, labels = data.features, data.label.astype(np.int64)
    read = time.perf_counter() - started
    fold = stratified_folds(labels, FOLDS, 0)
    head = HEADS[name].search(TrainingSet(features, labels, fold, workers=available_cores()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        json.dumps(
            {
                "n": len(labels),
                "head": name,
                "read": read,
                "seconds": head.seconds,
                "peak_gib": peak,
                "cv": head.cv_accuracy,
                "candidates": len(head.grid),
                "approximation": head.approximation,
            }
        )
    )


def scale(sizes: list[int], classes: int, names: list[str]) -> list[dict]:
    rows = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "store.h5"
            make_store(path, n, classes)
            for name in names:
                command = [sys.executable, __file__, str(path), "--one", name]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                rows.append(json.loads(done.stdout))
                out.print(rows[-1], style="dim")
    return rows


def show_scale(rows: list[dict]) -> None:
    table = Table(title=f"Growth ({DIM} features; search and final fit)")
    for title in ("rows", "head", "tried", "seconds", "peak GiB", "CV accuracy", "how"):
        table.add_column(title, justify="left" if title in ("head", "how") else "right")
    for row in rows:
        table.add_row(
            f"{row['n']:,}",
            row["head"],
            str(row["candidates"]),
            f"{row['seconds']:.1f}",
            f"{row['peak_gib']:.2f}",
            f"{row['cv']:.4f}",
            row["approximation"] or "exact",
        )
    out.print(table)


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("store", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--heads", default=",".join(PLAIN))
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one_head(args.store, args.one)
        return
    if not (args.scale or args.store):
        parser.error("give a feature store, or --scale")
    with page.recorded(args, "growth" if args.scale else "against plain searches"):
        benchmark(args)


def benchmark(args: argparse.Namespace) -> None:
    names = args.heads.split(",")
    if args.scale:
        rows = scale([int(size) for size in args.sizes.split(",")], args.classes, names)
        show_scale(rows)
    else:
        warnings.simplefilter("ignore", ConvergenceWarning)
        rows, whole = compare(args.store, args.rounds, names)
        show(rows, whole)
        rows += [whole] if whole else []
    page.sample("rows", *rows)
    for row in rows:
        if "all" in row:
            pairs = alternate.paired(row["all"]["plain"], row["all"]["ours"])
            page.ratio(f"{row['head']}: GridSearchCV / headstart", pairs)


if __name__ == "__main__":
    main()
