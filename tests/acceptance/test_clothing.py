"""The main job on real photos: every one embedded, and heads as good as they should be.

On an eighth of the photos for training and half of the test by default, on all at ``--level all``.
"""

import csv
import dataclasses
import importlib.util
import io
import json
import shutil
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from headstart.backbones import export
from headstart.backbones.inference.runner import Runner
from headstart.cli import run
from headstart.datasets.images import dct_scaling, pixels
from headstart.evaluation.compare import CompareConfig
from headstart.evaluation.splits import make_protocol
from headstart.features import store
from headstart.heads import HEADS
from headstart.heads.folds import divisions, stratified_folds
from headstart.heads.knn import GaussianWeights
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

PLAIN = {
    "logistic-regression": LogisticRegression(max_iter=2000),
    "linear-svm": SVC(kernel="linear"),
    "rbf-svm": SVC(kernel="rbf"),
    "knn": KNeighborsClassifier(metric="euclidean"),
}
SMALL_GRID = {
    "logistic-regression": {"grid": {"C": (1.0, 10.0, 100.0)}, "patience": None},
    "linear-svm": {"grid": {"C": (0.1, 1.0, 10.0)}},
    "rbf-svm": {"grid": {"C": (2.0, 8.0), "gamma": (0.5, 1.0)}},
    "knn": {"grid": {"n_neighbors": (20, 10, 5), "gamma": (10.0, 5.0)}},
}


# By level: the photos of each split, and floors for accuracy: of any head, of the best on
# validation, of kNN, and of the lower end of the best one's interval.
PHOTOS = {
    "test": {"train": 386, "validation": 43, "test": 186},
    "all": {"train": 3068, "validation": 341, "test": 372},
}
FLOORS = {"test": (0.86, 0.85, 0.76, 0.80), "all": (0.895, 0.89, 0.82, 0.85)}
# Fewer than a thousand training images are divided ten times; once has to do, for two heads.
WORDS = {
    "test": ("--repeats", "1", "--map", "pca", "--heads", "logistic-regression,knn"),
    "all": (),
}
# The one photo that is there twice, once among the shorts and once among the skirts.
TWICE = ("6075b4a5", "637a56e4")


def headstart(*words):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as the process does
        assert run([str(word) for word in words]) == 0, err.getvalue()
    return out.getvalue()


@pytest.fixture(scope="module")
def photos(clothing, level, tmp_path_factory):
    """The folder of the photos; by default every eighth, and every second of the test's."""
    if level == "all":
        return clothing
    folder = tmp_path_factory.mktemp("photos") / clothing.name
    for split in PHOTOS["test"]:
        files = sorted((clothing / split).rglob("*.jpg"))
        step = 2 if split == "test" else 8
        for path in {*files[::step], *(path for path in files if path.name.startswith(TWICE))}:
            copy = folder / path.relative_to(clothing)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return folder


@pytest.fixture(scope="module")
def results(photos, level, tmp_path_factory):
    """Embed and train once; returns the folder with the store and the results."""
    folder = tmp_path_factory.mktemp("clothing")
    headstart("features", photos, "--out", folder / "features.h5")
    headstart("train-heads", folder / "features.h5", "--out", folder, *WORDS[level])
    return folder


def test_every_photo_is_embedded(results, level):
    data = store.read(results / "features.h5")
    assert data.features.shape == (sum(PHOTOS[level].values()), 192 + 1280)
    assert data.failures == []
    assert {split: data.split.count(split) for split in PHOTOS[level]} == PHOTOS[level]
    assert len(data.classes) == 10
    assert np.linalg.norm(data.features, axis=1).min() > 1
    assert store.verify(results / "features.h5") == []


def test_the_best_head_is_good_and_the_baselines_are_not(results, level):
    any_head, best, knn, interval = FLOORS[level]
    document = json.loads((results / "results.json").read_text())
    accuracy = {head["name"]: head["test_accuracy"] for head in document["heads"]}
    assert max(accuracy.values()) >= any_head
    assert accuracy[document["best"]] >= best
    assert accuracy["knn"] >= knn
    baselines = {head["name"]: head["test_accuracy"] for head in document["baselines"]}
    assert max(baselines.values()) < 0.5
    low, high = document["heads"][0]["test_accuracy_ci"]
    assert interval < low < accuracy[document["best"]] < high < 0.95


def test_the_model_file_predicts_what_the_comparison_says(results, photos, level):
    """Through the whole path from the files: no features, no scikit-learn."""
    files = sorted((photos / "test").rglob("*.jpg"))[:: 1 if level == "all" else 4]
    headstart("predict", results / "model.onnx", *files, "--out", results / "predicted.csv")
    with (results / "predictions.csv").open(newline="") as file:
        expected = {row["path"]: row["predicted"] for row in csv.DictReader(file)}
    with (results / "predicted.csv").open(newline="") as file:
        got = {row["path"]: row["label"] for row in csv.DictReader(file)}
    assert got.keys() == {str(path) for path in files}
    if level == "all":
        assert len(got) == len(expected)
    same = [got[str(path)] == expected[path.relative_to(photos).as_posix()] for path in files]
    assert np.mean(same) >= 0.999


def test_a_second_run_has_nothing_to_do(results, photos, level):
    before = (results / "features.h5").stat().st_mtime_ns
    assert "nothing to do" in headstart("features", photos, "--out", results / "features.h5")
    words = ("train-heads", results / "features.h5", "--out", results, *WORDS[level])
    assert "nothing to do" in headstart(*words)
    assert (results / "features.h5").stat().st_mtime_ns == before


@pytest.mark.long
def test_large_photos_keep_their_features_when_decoded_small(clothing, monkeypatch):
    """Photos enlarged to what phones make: at a fraction of the size, the same features.

    In this process, however large they are: another one would not know what is patched here.
    """
    runner = Runner(export.model_file("efficientnet-lite0")[0])
    preprocess = runner.backbone.preprocess
    photos = sorted((clothing / "train").rglob("*.jpg"))[::128]
    cosines = []
    for number, path in enumerate(photos):
        with Image.open(path) as photo:
            scale = (1500, 3000, 4200, 6000)[number % 4] / min(photo.size)
            size = (round(photo.width * scale), round(photo.height * scale))
            out = io.BytesIO()
            photo.resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        small = runner.embed(pixels.decode(out.getvalue(), preprocess)[np.newaxis])[0]
        with monkeypatch.context() as patch:
            patch.setattr(dct_scaling, "KEPT", 10**6)
            whole = runner.embed(pixels.decode(out.getvalue(), preprocess)[np.newaxis])[0]
        assert not np.array_equal(small, whole)
        cosines.append(small @ whole / np.linalg.norm(small) / np.linalg.norm(whole))
    assert len(cosines) >= 20
    assert min(cosines) >= 0.999
    assert np.mean(cosines) >= 0.9997


# ---- what the features tell besides --------------------------------------------------------------


@pytest.fixture
def label_benchmark(monkeypatch):
    """Load the script that flips labels, so that the test and the figures are made alike."""
    path = Path(__file__).parents[2] / "benchmarks" / "label_errors.py"
    monkeypatch.syspath_prepend(path.parent)
    spec = importlib.util.spec_from_file_location("label_errors_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_one_photo_with_two_labels_is_found_and_no_other(results):
    with (results / "duplicates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"].rpartition("/")[2][:8] for row in rows] == list(TWICE)
    assert {row["label"] for row in rows} == {"shorts", "skirt"}
    told = json.loads((results / "results.json").read_text())
    assert any(TWICE[0] in warning["text"] for warning in told["warnings"])
    curve = told["insights"]["learning_curve"]
    assert len(curve["points"]) == 8
    assert 0 < curve["doubling"]["gain"] < 0.05


@pytest.mark.long
@pytest.mark.parametrize(("harder", "floor"), [(False, 0.91), (True, 0.70)])
def test_flipped_labels_are_found(results, label_benchmark, harder, floor):
    """Measured over five seeds: 0.924 for any class, 0.741 for the one most confused."""
    data = store.read(results / "features.h5")
    protocol = make_protocol(data, CompareConfig())
    labels = data.label[protocol.train].astype(np.int64)
    clean = TrainingSet(data.features[protocol.train], labels, divisions(labels, 5, 0), workers=2)
    family, target = LogisticRegressionHead(), None
    if harder:
        target = label_benchmark.most_confused(labels, family.search(clean).out_of_fold)
    figures = []
    for seed in range(2):
        changed, bad = label_benchmark.flip(labels, 0.05, seed, target)
        training = dataclasses.replace(clean, labels=changed)
        found = label_benchmark.judge(training, protocol, family.search(training))
        figures.append(label_benchmark.average_precision(bad, found.quality))
    assert np.mean(figures) >= floor


@pytest.mark.long
@pytest.mark.parametrize("name", PLAIN)
def test_the_search_gives_what_a_plain_grid_search_gives(results, name):
    data = store.read(results / "features.h5")
    test = np.array([split == "test" for split in data.split])
    labels = data.label[~test].astype(np.int64)
    fold = stratified_folds(labels, 3, seed=0)
    family = dataclasses.replace(HEADS[name], **SMALL_GRID[name])
    head = family.search(TrainingSet(data.features[~test], labels, fold, workers=2))
    keys = head.grid[0]["params"]
    grid = {f"head__{k}": list(dict.fromkeys(t["params"][k] for t in head.grid)) for k in keys}
    if name == "knn":
        grid["head__weights"] = [GaussianWeights(gamma) for gamma in grid.pop("head__gamma")]
    pipe = Pipeline([("normalizer", Normalizer()), ("head", PLAIN[name])])
    plain = GridSearchCV(pipe, grid, cv=PredefinedSplit(fold), n_jobs=2)
    plain.fit(data.features[~test], labels)
    # Logistic regression and kNN choose by log loss, and calibrated biases move some labels.
    assert head.cv_accuracy >= plain.best_score_ - 0.01
    expected = plain.predict(data.features[test])
    assert np.mean(head.estimator.predict(data.features[test]) == expected) >= 0.93
