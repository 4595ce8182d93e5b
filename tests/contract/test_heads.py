"""Every family of heads keeps one contract, and a family from outside the package does too."""

from __future__ import annotations

import dataclasses
import json
import runpy

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from factories import training_set
from headstart import heads
from headstart.cli import cli
from headstart.core.errors import InputError
from headstart.features.embed import EmbedConfig, embed
from headstart.heads import HEADS
from headstart.heads.calibrated import CalibratedClassifier
from headstart.heads.family import Family
from headstart.heads.knn import GaussianWeights
from headstart.heads.training_set import TrainingSet
from PIL import Image
from sklearn.base import ClassifierMixin, clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits


class OneHotRidge(ClassifierMixin, KernelRidge):
    """Kernel ridge on a target for each class; the largest answer is the label."""

    def fit(self, X, y):
        self.classes_, codes = np.unique(y, return_inverse=True)
        return super().fit(X.astype(float), np.eye(len(self.classes_))[codes])

    def predict(self, X):
        return self.classes_[super().predict(X).argmax(axis=1)]


PLAIN = {
    "logistic-regression": LogisticRegression(max_iter=5000),
    "linear-svm": SVC(kernel="linear"),
    "rbf-svm": SVC(kernel="rbf"),
    "kernel-ridge": OneHotRidge(kernel="rbf"),
    "knn": KNeighborsClassifier(metric="euclidean"),
}


def settings(name, params):
    """Return a head's parameters as scikit-learn's classifier takes them."""
    if name != "knn":
        return params
    return {"n_neighbors": params["n_neighbors"], "weights": GaussianWeights(params["gamma"])}


TOY = """
from headstart import heads
from headstart.heads.family import Family

class NaiveBayes(Family):
    def build(self, params, data):
        from sklearn.naive_bayes import GaussianNB
        return GaussianNB(**params)

heads.register(NaiveBayes("naive-bayes", "naive Bayes", {"var_smoothing": (1e-2, 1e-4)}))
"""


def test_a_family_that_cannot_be_searched_is_refused_when_it_is_made():
    class Searched(Family):
        def search(self, data):
            return None

    for family in (Family, Searched):
        with pytest.raises(TypeError, match="the head toy must define build"):
            family("toy", "toy")


@pytest.fixture(autouse=True, scope="module")
def one_blas_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def overlapping():
    return training_set(n=300, spread=2.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(
    "data", [{"spread": 2.0, "n": 300}, {"spread": 0.5, "n": 200}, {"n": 90, "d": 400}]
)
def test_search_agrees_with_grid_search(name, data):
    data = training_set(**data)
    head = HEADS[name].search(data)
    plain = GridSearchCV(
        make_pipeline(Normalizer(), PLAIN[name]),
        [
            {f"{PLAIN[name].__class__.__name__.lower()}__{key}": [value]
             for key, value in settings(name, tried["params"]).items()}
            for tried in head.grid
        ],
        cv=PredefinedSplit(data.fold),
    ).fit(data.features, data.labels)  # fmt: skip
    expected = plain.cv_results_["mean_test_score"]
    found = np.array([tried["cv_accuracy"] for tried in head.grid])
    one_image = 1 / len(data.labels) + 1e-9
    assert np.abs(found - expected).max() <= max(0.002, one_image)
    chosen = head.grid.index(next(t for t in head.grid if t["params"] == head.params))
    # Logistic regression and kNN choose by log loss.
    by_loss = name in ("logistic-regression", "knn")
    assert expected[chosen] >= expected.max() - (0.01 if by_loss else 0.002)
    assert head.cv_accuracy == pytest.approx(found[chosen], abs=0.03)  # biases move some labels
    refitted = make_pipeline(
        Normalizer(), clone(PLAIN[name]).set_params(**settings(name, head.params))
    )
    refitted.fit(data.features, data.labels)
    noise = np.random.default_rng(4).normal(0, 0.5, data.features.shape)
    fresh = (data.features + noise).astype(np.float32)
    own = refitted.predict(fresh)
    assert (own == head.estimator.predict(fresh)).mean() >= 0.95
    normaliser, model = head.estimator.named_steps.values()
    if isinstance(model, CalibratedClassifier):  # without its calibration it is scikit-learn's
        answers = model.estimator.predict(normaliser.transform(fresh))
        codes = answers if answers.ndim == 1 else answers.argmax(axis=1)
        assert (own == codes).mean() >= 0.995
    stds = [tried["cv_std"] for tried in head.grid]
    assert stds == pytest.approx(plain.cv_results_["std_test_score"], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_the_refitted_head_wraps_a_stock_classifier_with_the_chosen_parameters(name, overlapping):
    head = HEADS[name].search(overlapping)
    assert type(head.estimator) is Pipeline
    normaliser, model = (step for _, step in head.estimator.steps)
    assert type(normaliser) is Normalizer
    if isinstance(model, CalibratedClassifier):
        model = model.estimator
    assert isinstance(PLAIN[name], type(model))
    assert settings(name, head.params).items() <= model.get_params().items()
    probabilities = head.estimator.predict_proba(overlapping.features)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert (probabilities.argmax(axis=1) == overlapping.labels).mean() > head.cv_accuracy - 0.05
    assert head.seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_the_same_seed_gives_the_same_head_with_any_number_of_workers(name):
    first, second = (
        HEADS[name].search(TrainingSet(data.features, data.labels, data.fold, workers=workers))
        for data in [training_set(n=120, spread=1.5)]
        for workers in (1, 3)
    )
    assert (first.params, first.grid) == (second.params, second.grid)
    rows = training_set(n=50, seed=9).features
    assert np.array_equal(first.estimator.predict_proba(rows), second.estimator.predict_proba(rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[:, :1],
        lambda rows: np.ones_like(rows),
        lambda rows: np.zeros_like(rows),
        lambda rows: np.where(np.arange(len(rows))[:, None] % 3 == 0, 0, rows),
        lambda rows: rows * 1e-20,
    ],
    ids=["d = 1", "identical rows", "all zero", "some rows zero", "tiny values"],
)
def test_degenerate_features_give_a_head(name, change):
    data = training_set(n=40, k=2, d=6)
    rows = np.ascontiguousarray(change(data.features), dtype=np.float32)
    head = HEADS[name].search(TrainingSet(rows, data.labels, data.fold))
    probabilities = head.estimator.predict_proba(rows)
    assert np.isfinite(probabilities).all()
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert head.cv_accuracy >= 0.4


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("n", "k"), [(4, 2), (6, 3), (60, 30)])
def test_two_images_a_class_are_enough(name, n, k):
    data = training_set(n=n, k=k, d=300, spread=0.05, folds=2)
    head = HEADS[name].search(data)
    assert head.estimator.predict_proba(data.features).shape == (n, k)
    assert head.cv_accuracy == 1
    if name == "knn":
        assert all(tried["params"]["n_neighbors"] <= n // 2 for tried in head.grid)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("square_root", [False, True])
def test_the_graph_answers_as_the_estimator_does(name, square_root, overlapping):
    import onnxruntime

    head = HEADS[name].search(dataclasses.replace(overlapping, square_root=square_root))
    graph = heads.to_onnx(name, head.estimator, overlapping.features.shape[1])
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    rows = training_set(n=60, seed=7).features
    scores = session.run([graph.graph.output[-1].name], {"X": rows})[0]
    assert np.abs(scores - head.estimator.predict_proba(rows)).max() < 1e-4
    constants = [tuple(constant.dims) for constant in graph.graph.initializer]
    assert HEADS[name].keeps_rows == (overlapping.features.shape in constants)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_a_family_names_itself_and_chooses_from_its_grid(name, overlapping):
    family, head = HEADS[name], HEADS[name].search(overlapping)
    assert (family.name, head.name, head.title) == (name, name, family.title)
    assert head.params.keys() == family.grid.keys()
    assert head.n_rows == len(overlapping.labels)
    for key in head.params.keys() - {"gamma"}:  # gamma is in units of the rows' distances
        assert head.params[key] in family.grid[key]


# ---- from outside --------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path):
    """Register a family by running a file that lies outside the package."""
    path = tmp_path / "naive_bayes_head.py"
    path.write_text(TOY)
    runpy.run_path(str(path))
    yield "naive-bayes"
    heads.unregister("naive-bayes")


@pytest.mark.slow
def test_a_family_from_one_file_outside_searches_as_scikit_learn_does(toy, overlapping):
    from sklearn.naive_bayes import GaussianNB

    head = HEADS[toy].search(overlapping)
    plain = GridSearchCV(
        make_pipeline(Normalizer(), GaussianNB()),
        {"gaussiannb__var_smoothing": [1e-2, 1e-4]},
        cv=PredefinedSplit(overlapping.fold),
    ).fit(overlapping.features, overlapping.labels)
    accuracies = [tried["cv_accuracy"] for tried in head.grid]
    assert accuracies == pytest.approx(plain.cv_results_["mean_test_score"])
    rows = training_set(n=50, seed=9).features
    assert np.array_equal(head.estimator.predict_proba(rows), plain.predict_proba(rows))
    seen = head.out_of_fold.argmax(axis=1) == overlapping.labels
    assert seen.mean() == pytest.approx(head.cv_accuracy, abs=1e-6)


@pytest.mark.slow
def test_a_family_from_outside_trains_ships_and_predicts(toy, tiny_backbone, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(60):
        label = number % 3
        values = rng.normal(60 + 50 * label, 40, (32, 32, 3)) * (1, 1 + label / 4, 1)
        folder = tmp_path / "data" / "abc"[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    embed(str(tmp_path / "data"), tmp_path / "s.h5", EmbedConfig(str(tiny_backbone)))
    words = ["train-heads", tmp_path / "s.h5", "--out", tmp_path / "out", "--repeats", 1]
    words += ["--heads", f"{toy},knn"]
    run = CliRunner().invoke(cli, list(map(str, words)))
    assert run.exit_code == 0, run.output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {head["name"] for head in results["heads"]} == {toy, "knn"}
    if results["best"] != toy:
        words[-1] = toy
        assert CliRunner().invoke(cli, list(map(str, words))).exit_code == 0
    onnx.checker.check_model(onnx.load(tmp_path / "out" / "model.onnx"))
    words = ["predict", tmp_path / "out" / "model.onnx", tmp_path / "data" / "a"]
    run = CliRunner().invoke(cli, list(map(str, words)))
    assert run.exit_code == 0, run.output


def test_a_name_is_registered_once(toy):
    assert toy in heads.default_heads()
    with pytest.raises(InputError, match="naive-bayes exists"):
        heads.register(HEADS[toy])
