"""What labelling the images of `headstart suggest` brings over labelling random ones.

Usage: python benchmarks/suggest.py [STORE] [--labels STORE] [--seeds 10] [--only PART]

STORE holds the features of labelled images; scikit-learn's handwritten digits, as rows of 64 grey
values, are tried too. A third of the images, at most 1,500, are scored, and the others are the
pool. After every round the images of the pool that have labels train logistic regression, which
is scored and asked for the next round. Differences are those to random choice with the same seed,
mean over the rounds and standard error over the seeds. ``cold`` is one round from no labels, and
``forecast`` compares the forecasts for random images with what they bring. ``others`` are sets on
which nothing was chosen: the rows of two kinds with outliers, copies and classes of 1:50, and even
digits against odd ones. ``labels`` has images with several labels, scored by mean average
precision: those of the second store, and sums of up to three digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import page
from headstart.evaluation.suggest import label_model, model, strategies
from headstart.evaluation.suggest.clusters import on_main_axes
from headstart.evaluation.suggest.forecast import forecast
from headstart.features import store
from headstart.heads.multilabel.scoring import average_precisions

PARTS = ("rounds", "few", "cold", "forecast", "others", "labels")
SCHEDULE = {  # start, step, rounds
    "rounds": (100, 50, 5),
    "few": (20, 20, 5),
    "cold": (0, 50, 1),
    "others": (100, 50, 5),
    "labels": (100, 50, 5),
}
DEFAULT = "default"
SCORED = 1500


@dataclass(frozen=True)
class Images:
    """Rows of features, the same on their main axes, and codes."""

    name: str
    features: np.ndarray
    axes: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, name, features, codes):
        """Return images of consecutive codes."""
        codes = np.unique(codes, return_inverse=True)[1].astype(np.int32)
        return cls(name, features, on_main_axes(features), codes)

    @property
    def classes(self):
        """Names of the classes."""
        return tuple(map(str, range(int(self.codes.max()) + 1)))

    def guesser(self, rows, curve=False):
        """Return what is fitted on some rows; its learning curve takes most of the time."""
        scored = np.full(len(rows), curve)
        return model.fit(self.features[rows], self.codes[rows], scored, self.classes, 0)

    def accuracy(self, guesser, rows):
        """Return the accuracy on some rows; without a guesser, that of one class."""
        if guesser is None:
            return float(np.bincount(self.codes[rows]).max() / len(rows))
        codes = np.array(list(map(int, guesser.classes)))
        answers = codes[guesser.probabilities(self.features[rows]).argmax(axis=1)]
        return float(np.mean(answers == self.codes[rows]))


@dataclass(frozen=True)
class LabelledImages(Images):
    """Images with several labels each: ``codes`` are ``(n, k)`` of 1 and 0."""

    @classmethod
    def of(cls, name, features, codes):
        """Return images with labels."""
        return cls(name, features, on_main_axes(features), np.asarray(codes, np.int8))

    def guesser(self, rows):
        """Return what is fitted on some rows."""
        names = tuple(map(str, range(self.codes.shape[1])))
        scored = np.zeros(len(rows), bool)
        return label_model.fit(self.features[rows], self.codes[rows], scored, names, 0)

    def accuracy(self, guesser, rows):
        """Return the mean average precision on some rows."""
        answers = guesser.probabilities(self.features[rows])
        return float(np.nanmean(average_precisions(self.codes[rows], answers)))


def simulate(images, strategy, seed, start, step, rounds):
    """Return the accuracy after each round."""
    order = np.random.default_rng(seed).permutation(len(images.codes))
    number = min(SCORED, len(order) // 3)
    scored, pool = order[:number], order[number:]
    labelled, accuracies = pool[:start], []
    guesser = images.guesser(labelled) if start else None
    rng = np.random.default_rng([seed, 1])
    for _ in range(rounds):
        others = np.setdiff1d(pool, labelled)
        own = strategy
        if strategy == DEFAULT:
            own = "diverse" if guesser is None else "uncertainty"
        margins = None
        if guesser is not None:
            margins = guesser.margins(guesser.probabilities(images.features[others]))
        candidates = strategies.Candidates(images.axes[others], images.axes[labelled], margins)
        chosen = strategies.STRATEGIES[own](candidates, step, rng)
        labelled = np.concatenate([labelled, others[chosen]])
        guesser = images.guesser(labelled)
        accuracies.append(images.accuracy(guesser, scored))
    return accuracies


def seeds(options):
    """Return the seeds."""
    return range(options.first, options.first + options.seeds)


def compare(images, part, options):
    """Print the gain of each strategy over random choice."""
    start, step, rounds = SCHEDULE[part]
    names = {"few": (DEFAULT, "diverse"), "cold": ("diverse", "typical")}
    figures = {}
    for name in ("random", *names.get(part, (DEFAULT,))):
        runs = [simulate(images, name, s, start, step, rounds) for s in seeds(options)]
        page.sample(f"{images.name} {part} {name}", np.round(runs, 4).tolist())
        figures[name] = np.array(runs)
    random = figures.pop("random")
    print(f"| {images.name} | random | {' '.join(f'{v:.1%}' for v in random.mean(axis=0))} | | |")
    for name, runs in figures.items():
        gains = 100 * (runs - random)
        means = gains.mean(axis=1)
        error = means.std(ddof=1) / np.sqrt(len(means))
        print(
            f"| {images.name} | {name} | {' '.join(f'{v:+.1f}' for v in gains.mean(axis=0))} |"
            f" {means.mean():+.2f} ± {error:.2f} | {means.min():+.1f} |",
            flush=True,
        )


def forecasts(images, options):
    """Print what forecasts say of 50 more random labels, and what these bring."""
    for labelled in (100, 200, 400):
        if len(images.codes) < 4 * labelled:
            continue
        rows = []
        for seed in seeds(options):
            order = np.random.default_rng(seed).permutation(len(images.codes))
            number = min(SCORED, len(order) // 3)
            scored, pool = order[:number], order[number:]
            guesser = images.guesser(pool[:labelled], curve=True)
            result = forecast(guesser.curve, labelled, 50)
            now, then, twice = (
                images.accuracy(images.guesser(pool[:n]), scored)
                for n in (labelled, labelled + 50, 2 * labelled)
            )
            low, high = result.gain_ci
            rows.append(
                [
                    *(result.accuracy, now, result.gain, then - now, low <= then - now <= high),
                    *(result.verdict == "stop", twice - now),
                ]
            )
            page.sample(f"{images.name} forecast {labelled}", np.round(rows[-1], 4).tolist())
        f = np.mean(rows, axis=0)
        print(
            f"| {images.name} | {labelled} | {f[0]:.1%} | {f[1]:.1%} | {100 * f[2]:+.1f} |"
            f" {100 * f[3]:+.1f} | {f[4]:.0%} | {f[5]:.0%} | {100 * f[6]:+.1f} |",
            flush=True,
        )


def data_sets(path):
    """Yield sets to try: of a store all images, unequal classes, and its two largest classes."""
    if path is None:
        from sklearn.datasets import load_digits

        features, codes = load_digits(return_X_y=True)
        yield Images.of("digits", features.astype(np.float32), codes)
        return
    data = store.read_layers(path, [], 2**32)[0]
    rows = np.flatnonzero(data.label >= 0)
    features, codes = np.asarray(data.features[rows], np.float32), data.label[rows]
    yield Images.of(data.name, features, codes)
    rng, kept = np.random.default_rng(7), []
    numbers = rng.permutation(np.unique(codes))
    for place, code in enumerate(numbers):
        most = int(600 * 40.0 ** -(place / (len(numbers) - 1)))
        kept += rng.permutation(np.flatnonzero(codes == code))[:most].tolist()
    yield Images.of("unequal classes", features[kept], codes[kept])
    two = np.isin(codes, np.argsort(-np.bincount(codes))[:2])
    yield Images.of("two classes", features[two], codes[two])


def untouched():
    """Yield sets on which no strategy was chosen."""
    from sklearn.datasets import load_digits

    for kind, spread in (("near classes", 1.6), ("far classes", 0.8)):
        rng = np.random.default_rng(23)
        sizes = np.geomspace(1000, 20, 8).astype(int)
        codes = np.repeat(np.arange(8), sizes)
        features = rng.normal(0, 1, (8, 40))[codes] + rng.normal(0, spread, (len(codes), 40))
        odd = rng.choice(len(codes), len(codes) // 50, replace=False)
        features[odd] = rng.normal(0, 6, (len(odd), 40))
        copies = rng.choice(len(codes), len(codes) // 5)
        near = features[copies] + rng.normal(0, 1e-3, (len(copies), 40))
        both = np.concatenate([features, near]).astype(np.float32)
        yield Images.of(f"1:50, {kind}", both, np.concatenate([codes, codes[copies]]))
    features, digits = load_digits(return_X_y=True)
    yield Images.of("even digits", features.astype(np.float32), digits % 2)


def labelled(path):
    """Yield sets of images with several labels."""
    from sklearn.datasets import load_digits

    if path is not None:
        data = store.read_layers(path, [], 2**32)[0]
        yield LabelledImages.of(data.name, np.asarray(data.features, np.float32), data.label_sets)
    digits, codes = load_digits(return_X_y=True)
    rng = np.random.default_rng(5)
    shares = np.geomspace(1, 8, 10) / np.geomspace(1, 8, 10).sum()
    features = 3 + rng.normal(0, 2, (3000, 64))
    sets = np.zeros((3000, 10), np.int8)
    for row, number in enumerate(rng.choice(4, 3000, p=[0.1, 0.4, 0.3, 0.2])):
        for code in rng.choice(10, number, replace=False, p=shares):
            features[row] += digits[rng.choice(np.flatnonzero(codes == code))]
            sets[row, code] = 1
    yield LabelledImages.of("sums of digits", features.astype(np.float32), sets)


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("store", type=Path, nargs="?")
    parser.add_argument("--labels", type=Path, help="store of images with several labels")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    for part in PARTS:
        if options.only in (None, part):
            with page.recorded(options, part, markdown=True):
                report(part, options)


def report(part, options):
    """Print the table of a part."""
    if part == "forecast":
        print(
            "| data | labels | forecast now | true | forecast +50 | true | covered | stop | twice |"
        )
        print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    else:
        start, step, rounds = SCHEDULE[part]
        print(f"{rounds} rounds of {step} from {start} labels, {options.seeds} seeds.\n")
        print("| data | strategy | by round | mean difference, points | worst seed |")
        print("|---|---|---|--:|--:|")
    sets = (*data_sets(options.store), *(data_sets(None) if options.store else ()))
    sets = {"others": untouched(), "labels": labelled(options.labels)}.get(part, sets)
    for images in sets:
        if part == "forecast":
            forecasts(images, options)
        else:
            compare(images, part, options)


if __name__ == "__main__":
    main()
