"""How often `headstart drift` raises a false alarm, and what it finds, in simulations.

Usage: python benchmarks/drift.py STORE [--simulations 500] [--training 1500] [--only PART]

STORE holds the features of labelled images, one of each group of duplicates is used. Heads are
trained on some of them, and batches are drawn from the others: fresh ones, ones of which a tenth
comes from elsewhere (photos of handwritten digits, drawn textures, a class that the model was not
trained on), and ones with other shares of the classes. A training serves 20 batches. For the tenth
from elsewhere, each head keeps the parameters that it has found in its first training.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

import headstart as hs
import numpy as np
import page
from headstart.core.records import FeatureSet
from headstart.core.training_profile import TrainingProfile
from headstart.evaluation import drift, duplicates, prior_shift
from headstart.features import store
from headstart.heads import by_name
from headstart.heads.folds import divisions
from headstart.heads.search import class_probabilities
from headstart.heads.training_set import TrainingSet
from headstart.models import novelty, profile
from PIL import Image

HEADS = ("logistic-regression", "linear-svm", "kernel-ridge", "knn")
PARTS = ("alarms", "power", "priors")
BATCHES = 20  # of one training
SIZE, SHARE = 500, 0.1
TESTS = ("unlike", "distance", "features", "confidence", "classes")


@dataclass
class Trained:
    """A head's facts about its training images, and its answers for all others."""

    profile: TrainingProfile
    reference: novelty.Reference
    names: list[str]
    probabilities: np.ndarray
    distance: np.ndarray
    places: np.ndarray
    codes: np.ndarray
    params: dict

    def batch(self, rows, group=None) -> drift.Batch:
        """Return the answers for some of the images."""
        probabilities, distance = self.probabilities[rows], self.distance[rows]
        return drift.Batch(
            paths=[str(row) for row in rows],
            probabilities=probabilities,
            distance=distance,
            unlike=distance > self.reference.threshold,
            oddness=distance,
            labels=[""] * len(rows),
            chosen=np.eye(len(self.names), dtype=bool)[probabilities.argmax(axis=1)],
            places=self.places[rows],
            group=group,
        )

    def p(self, rows, group=None) -> dict[str, float]:
        """Return the adjusted p-value of each test."""
        names = {"model": "", "data": "", "failed": 0}
        compared = drift.compare(
            self.batch(rows, group), self.profile, self.names, novelty.QUANTILE, **names
        )
        return {test.name: test.p for test in compared.tests}


@dataclass
class Drawn:
    """Training images, and what the features say of all others, whatever the head."""

    training: TrainingSet
    reference: novelty.Reference
    names: list[str]
    asked: np.ndarray
    distance: np.ndarray
    places: np.ndarray
    codes: np.ndarray


def draw(features, codes, rows, *others):
    """Train on some rows; ask for the other rows, and then for ``others``, codes -2, -3 and on."""
    classes, known = np.unique(codes[rows], return_inverse=True)
    alone = np.arange(len(rows))
    fold = divisions(known, 5, 0, 1, alone)
    reference = novelty.learn(features[rows], known, alone)
    shares = np.bincount(known) / len(known)
    rest = np.setdiff1d(np.arange(len(features)), rows)
    asked = np.concatenate([features[rest], *others])
    place = {code: number for number, code in enumerate(classes.tolist())}
    own = [place.get(code, -1) for code in codes[rest].tolist()]
    foreign = [np.full(len(images), -2 - number) for number, images in enumerate(others)]
    return Drawn(
        TrainingSet(features[rows], known, fold, 0, 1),
        reference,
        [str(code) for code in classes],
        asked,
        reference.distances(asked),
        profile.learn(features[rows], shares, alone, reference).place(asked),
        np.concatenate([np.array(own, int), *foreign]),
    )


def train(head, drawn, params=None):
    """Train a head, with parameters if they are known; answer for all that is asked."""
    family, training = by_name([head])[0], drawn.training
    if params is not None:
        family = dataclasses.replace(family, grid={name: [params[name]] for name in family.grid})
    fitted = family.search(training) if params else family.search_further(training)
    alone, shares = np.arange(len(training.labels)), np.bincount(training.labels)
    facts = profile.learn(
        training.features, shares / len(alone), alone, drawn.reference, fitted.out_of_fold
    )
    k = len(drawn.names)
    return Trained(
        TrainingProfile.from_text(facts.to_text(), k),
        drawn.reference,
        drawn.names,
        class_probabilities(fitted.estimator, drawn.asked, k),
        drawn.distance,
        drawn.places,
        drawn.codes,
        fitted.params,
    )


def other_images(data, folder):
    """Return the features of digits and of textures by the store's backbone, 300 each."""
    from sklearn.datasets import load_digits

    sets = {}
    hs.write_demo_data(folder / "textures")
    (folder / "digits").mkdir()
    for number, pixels in enumerate(load_digits().images[:300]):
        picture = Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((224, 224))
        picture.convert("RGB").save(folder / "digits" / f"{number}.png")
    for name in ("digits", "textures"):
        network = data.extraction["backbone"]
        hs.extract_features(
            folder / name,
            folder / f"{name}.h5",
            backbone=network["name"],
            layers=network["layer"],
            pool=network["pool"],
        )
        features = store.read_layers(folder / f"{name}.h5", [], 2**30)[0].features
        sets[name] = np.asarray(features[:300], np.float32)
    return sets


def rate(alarms):
    return f"{np.mean(alarms):.1%}"


def alarms(features, codes, others, options):
    """Fresh batches of several sizes, and bursts of five with and without groups."""
    print("Share of batches of fresh images that are said to differ; 5 % are allowed.\n")
    columns = ("500 images", "100 images", "10 images", "20 bursts of 5", "the same, no groups")
    print("| head | " + " | ".join(columns) + " |\n|---|" + "--:|" * len(columns))
    drawn = [
        drawn_from(features, codes, np.arange(len(codes)), seed, {}, options)
        for seed in range(options.simulations // BATCHES)
    ]
    for head in HEADS:
        counts = {name: [] for name in columns}
        for seed, training in enumerate(drawn):
            model, rng = train(head, training), np.random.default_rng(seed)
            rest = len(model.codes)
            for _ in range(BATCHES):
                order = rng.permutation(rest)
                bursts = np.repeat(order[:20], 5)
                tried = [(order[:n], None) for n in (500, 100, 10)]
                tried += [(bursts, np.repeat(np.arange(20), 5)), (bursts, None)]
                for name, (chosen, group) in zip(columns, tried, strict=True):
                    p = model.p(chosen, group)
                    page.sample(f"{head}, {name}", round(min(p.values()), 4))
                    counts[name].append(min(p.values()) <= drift.LEVEL)
        print(f"| {head} | " + " | ".join(map(rate, counts.values())) + " |", flush=True)


def power(features, codes, others, options):
    """A tenth of a batch of 500 from elsewhere: other images, and a class that was never seen."""
    print(f"Share of batches of {SIZE} images, a tenth from elsewhere, that are said to differ.\n")
    print("| a tenth is | " + " | ".join(HEADS) + " | " + " | ".join(TESTS) + " |")
    print("|---|" + "--:|" * (len(HEADS) + len(TESTS)))
    params, few = {}, max(1, options.simulations // BATCHES)
    foreign = {kind: -2 - number for number, kind in enumerate(others)}
    everything = np.arange(len(codes))
    drawn = [drawn_from(features, codes, everything, seed, others, options) for seed in range(few)]
    simulate(drawn, foreign, BATCHES, params)
    for code, name in enumerate(options.names):
        known, times = np.flatnonzero(codes != code), max(1, few // 5)
        drawn = [drawn_from(features, codes, known, seed, {}, options) for seed in range(times)]
        simulate(drawn, {f"{name}, never seen": -1}, 5 * BATCHES, params)


def drawn_from(features, codes, known, seed, others, options):
    """Draw training images among the rows ``known``."""
    rows = np.random.default_rng(seed).permutation(known)[: options.training]
    return draw(features, codes, np.sort(rows), *others.values())


def simulate(trainings, foreign, batches, params):
    """Print the power for each kind of images, by their code; every training has its batches."""
    found = {title: {head: [] for head in HEADS} for title in foreign}
    alone = {title: {name: [] for name in TESTS} for title in foreign}
    for head in HEADS:
        for seed, drawn in enumerate(trainings):
            model = train(head, drawn, params.get(head))
            params.setdefault(head, model.params)
            fresh, rng = np.flatnonzero(model.codes >= 0), np.random.default_rng(seed)
            for title, code in foreign.items():
                others, n = np.flatnonzero(model.codes == code), int(SIZE * SHARE)
                for _ in range(batches):
                    own = rng.permutation(fresh)[: SIZE - n]
                    p = model.p(np.concatenate([own, rng.permutation(others)[:n]]))
                    found[title][head].append(min(p.values()) <= drift.LEVEL)
                    for name, value in p.items():
                        alone[title][name].append(value <= drift.LEVEL)
    for title in foreign:
        for head, values in found[title].items():
            page.sample(f"{title}, {head}", *values)
        cells = [rate(values) for values in (*found[title].values(), *alone[title].values())]
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


def priors(features, codes, others, options):
    """Batches of 500 with other shares of the classes: estimates, intervals and corrections."""
    print(f"Batches of {SIZE} images with other shares of the classes, drawn from a Dirichlet")
    print("distribution: what expectation-maximisation makes of them.\n")
    print(
        "| head | error of a share in training | of the estimate | coverage of its interval"
        " | accuracy | after correction | log loss | after correction |"
    )
    print("|---|" + "--:|" * 7)
    k = len(options.names)
    for head in HEADS:
        figures = []
        for number in range(options.simulations // BATCHES):
            drawn = drawn_from(features, codes, np.arange(len(codes)), number, {}, options)
            model, rng = train(head, drawn), np.random.default_rng(number)
            for _ in range(BATCHES):
                wanted = rng.dirichlet(np.ones(k))
                numbers = rng.multinomial(SIZE, wanted)
                chosen = np.concatenate(
                    [rng.choice(np.flatnonzero(model.codes == c), n) for c, n in enumerate(numbers)]
                )
                training = np.array(model.profile.shares)
                probabilities, true = model.probabilities[chosen], model.codes[chosen]
                shift = prior_shift.estimate(probabilities, training)
                better = prior_shift.correct(probabilities, training, shift.shares)
                ends = np.array(shift.intervals)
                place = np.arange(len(true)), true
                figures.append(
                    [
                        np.abs(training - wanted).mean(),
                        np.abs(shift.shares - wanted).mean(),
                        np.mean((ends[:, 0] <= wanted) & (wanted <= ends[:, 1])),
                        np.mean(probabilities.argmax(axis=1) == true),
                        np.mean(better.argmax(axis=1) == true),
                        -np.log(np.maximum(probabilities[place], 1e-9)).mean(),
                        -np.log(np.maximum(better[place], 1e-9)).mean(),
                    ]
                )
            page.sample(head, np.mean(figures[-BATCHES:], axis=0).round(4).tolist())
        means = np.mean(figures, axis=0)
        cells = [f"{value:.1%}" for value in means[:5]] + [f"{value:.3f}" for value in means[5:]]
        print(f"| {head} | " + " | ".join(cells) + " |", flush=True)


def unrelated(data: FeatureSet):
    """Return one row of each group of duplicates that has a label."""
    group = duplicates.find(data.features, data.sha256, data.pixels, True).group
    rows = np.sort(np.unique(group, return_index=True)[1])
    return rows[data.label[rows] >= 0]


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--training", type=int, default=1500)
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    data = store.read_layers(options.store, [], 2**30)[0]
    rows = unrelated(data)
    features, codes = np.asarray(data.features[rows], np.float32), data.label[rows].astype(int)
    options.names = data.classes
    with tempfile.TemporaryDirectory() as folder:
        others = other_images(data, Path(folder))
    parts = {"alarms": alarms, "power": power, "priors": priors}
    for name in PARTS:
        if options.only in (None, name):
            with page.recorded(options, name, markdown=True):
                parts[name](features, codes, others, options)


if __name__ == "__main__":
    main()
