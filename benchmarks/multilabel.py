"""The searches of heads for several labels against GridSearchCV over OneVsRestClassifier.

Usage: python benchmarks/multilabel.py [--heads NAMES] [--rows 3000] [--labels 40] [--timed 4]

Both sides search the same grid on the same rows, folds and normalisation, and fit the choice on
all rows; Headstart's time includes the calibration, which the plain search does not have. Headstart
chooses for each label by itself here, as with --per-label; "default" chooses for all together, as
the plain search does. Logistic regression leaves out values of C beyond the best, of each label or
of all; the plain search cannot. It would take hours: it is timed on some of the labels, evenly from
rare to frequent, and on some values of the grid, evenly too, and
its time is scaled up, for it treats labels, values and folds one after the other. Times are of the
processor, in one thread. "Equal" are the predictions of the rows that two folds hold out, for these
labels and the best of the timed values; there scikit-learn's logistic regression runs until it has
converged, which with its default tolerance it has not at large C.
"""

from __future__ import annotations

import time

import numpy as np
import page
from headstart.core.parallel.blas import one_thread_each
from headstart.evaluation.splits.iterative import folds
from headstart.heads import multilabel
from headstart.heads.knn import GaussianWeights
from headstart.heads.multilabel.label_set import LabelSet
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC

DIM, HIDDEN = 1280, 64
PLAIN = {
    "logistic-regression": LogisticRegression(max_iter=2000),
    "linear-svm": SVC(kernel="linear"),
    "rbf-svm": SVC(kernel="rbf"),
    "knn": KNeighborsClassifier(metric="euclidean", algorithm="brute"),
}
VALUES = {"logistic-regression": 3, "linear-svm": 3, "rbf-svm": 2, "knn": 2}  # timed plainly
out = Console(width=130)


def images(rows: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return non-negative features, and labels of 2 to 40 % of the images that overlap in them."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(rows, HIDDEN))
    mixing = rng.normal(size=(HIDDEN, DIM)) / 8
    features = np.maximum(hidden @ mixing + rng.normal(size=(rows, DIM)), 0).astype(np.float32)
    directions = rng.normal(size=(HIDDEN, labels)) / HIDDEN**0.5
    scores = hidden @ directions + 0.4 * rng.normal(size=(rows, labels))
    shares = np.geomspace(0.02, 0.4, labels)
    cuts = [np.quantile(column, 1 - share) for column, share in zip(scores.T, shares, strict=True)]
    return features, (scores > cuts).astype(np.int8)


def processor(function):
    """Return processor seconds and the result."""
    started = time.process_time()
    with one_thread_each():
        result = function()
    return time.process_time() - started, result


def plain_grid(name: str, tried: list[dict]) -> list[dict]:
    """Return single candidates for GridSearchCV, evenly spaced over those of the grid."""
    places = np.linspace(0, len(tried) - 1, VALUES[name]).round().astype(int)
    grid = []
    for place in places:
        values = dict(tried[place]["params"])
        if name == "knn":
            values["weights"] = GaussianWeights(values.pop("gamma"))
        grid.append({f"head__estimator__{key}": [value] for key, value in values.items()})
    return grid


def compare(name: str, data: LabelSet, timed: int) -> dict:
    """Search one head by both methods."""
    [family] = multilabel.by_name([name])
    ours, head = processor(lambda: family.search(data, per_label=True))
    default = ours
    if name == "logistic-regression":  # the others go through their grids in any case
        fresh = LabelSet(data.features, data.labels, data.fold)
        default, _ = processor(lambda: family.search(fresh))
    order = np.argsort(data.labels.sum(axis=0))
    columns = np.sort(order[np.linspace(0, len(order) - 1, timed).round().astype(int)])
    tried = head.grid
    if name == "logistic-regression":
        tried = [{"params": {"C": c}} for c in family.grid["C"]]
    grid = plain_grid(name, tried)
    pipe = Pipeline([("rows", Normalizer()), ("head", OneVsRestClassifier(PLAIN[name]))])
    division = PredefinedSplit(data.fold)
    search = GridSearchCV(pipe, grid, cv=division, scoring="f1_macro", error_score="raise")
    labels = data.labels[:, columns].astype(int)
    seconds, _ = processor(lambda: search.fit(data.features, labels))
    refit = search.refit_time_
    scale = data.n_labels / timed
    plain = scale * ((seconds - refit) * len(tried) / len(grid) + refit)
    row = {
        "head": name,
        "candidates": len(tried),
        "plain": plain,
        "plain_timed": seconds,
        "ours": ours,
        "default": default,
        "ratio": plain / ours,
        "equal": equal(family, pipe, search, data, columns),
    }
    page.sample(name, row)
    page.ratio(f"{name}: plain / ours", [row["ratio"]])
    return row


def equal(family, pipe, search, data: LabelSet, columns: np.ndarray) -> float:
    """Return the share of equal predictions of the rows held out, by the plain search's choice."""
    params = {k.removeprefix("head__estimator__"): v for k, v in search.best_params_.items()}
    if "weights" in params:
        params["gamma"] = params.pop("weights").gamma
    some = data.only(columns)
    middle = 0.5 if family.name == "knn" else 0.0
    same = []
    pipe.set_params(**search.best_params_)
    if family.name == "logistic-regression":
        pipe.set_params(head__estimator__tol=1e-8, head__estimator__max_iter=20000)
    some = some.divided(some.folds[:2])
    for (fit, held_out), values in zip(some.folds, family.answers(params, some), strict=True):
        pipe.fit(data.features[fit], some.labels[fit].astype(int))
        plain = pipe.predict(data.features[held_out]).reshape(values.shape)
        same.append(plain == (values > middle))
    return float(np.concatenate(same).mean())


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("--heads", default=",".join(PLAIN))
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--labels", type=int, default=40)
    parser.add_argument(
        "--timed", type=int, default=4, help="labels that the plain search is timed on"
    )
    args = parser.parse_args()
    features, labels = images(args.rows, args.labels)
    for name in args.heads.split(","):
        with page.recorded(args, name):
            data = LabelSet(features, labels, np.atleast_2d(folds(labels, None, 5, 0))[0])
            row = compare(name, data, args.timed)
            table = Table(title=f"{args.labels} labels on {args.rows:,} images (processor seconds)")
            for title in ("head", "grid", "GridSearchCV, scaled up", "timed", "Headstart", "ratio",
                          "default", "equal predictions"):  # fmt: skip
                table.add_column(title)
            table.add_row(
                name,
                str(row["candidates"]),
                f"{row['plain']:,.0f}",
                f"{row['plain_timed']:.0f}",
                f"{row['ours']:.1f}",
                f"{row['ratio']:.0f}",
                f"{row['default']:.1f}",
                f"{row['equal']:.2%}",
            )
            out.print(table)


if __name__ == "__main__":
    main()
