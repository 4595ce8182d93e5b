"""The main job on 3,781 real photos: every one embedded, and heads as good as they should be."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipeline import export, store
from pipeline.images import pixels, scaled
from pipeline.runner import Runner

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


def headstart(*words):
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def results(clothing, tmp_path_factory):
    """Embed and train once; returns the folder with the store and the results."""
    folder = tmp_path_factory.mktemp("clothing")
    headstart("features", clothing, "--out", folder / "features.h5")
    headstart("train-heads", folder / "features.h5", "--out", folder)
    return folder


def test_every_photo_is_embedded(results):
    data = store.read(results / "features.h5")
    assert data.features.shape == (3781, 1280)
    assert data.failures == []
    assert {split: data.split.count(split) for split in ("train", "validation", "test")} == {
        "train": 3068,
        "validation": 341,
        "test": 372,
    }
    assert len(data.classes) == 10
    assert np.linalg.norm(data.features, axis=1).min() > 1
    assert store.verify(results / "features.h5") == []


def test_the_best_head_is_good_and_the_baselines_are_not(results):
    document = json.loads((results / "results.json").read_text())
    accuracy = {head["name"]: head["test_accuracy"] for head in document["heads"]}
    assert max(accuracy.values()) >= 0.895
    assert accuracy[document["best"]] >= 0.89
    assert accuracy["knn"] >= 0.82
    baselines = {head["name"]: head["test_accuracy"] for head in document["baselines"]}
    assert max(baselines.values()) < 0.5
    low, high = document["heads"][0]["test_accuracy_ci"]
    assert 0.85 < low < accuracy[document["best"]] < high < 0.95


def test_the_model_file_predicts_what_the_comparison_says(results, clothing):
    """Through the whole path from the files: no features, no scikit-learn."""
    headstart(
        "predict", results / "model.onnx", clothing / "test", "--out", results / "predicted.csv"
    )
    with (results / "predictions.csv").open(newline="") as file:
        expected = {row["path"].partition("/")[2]: row["predicted"] for row in csv.DictReader(file)}
    with (results / "predicted.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    got = {row["path"].removeprefix(f"{clothing / 'test'}/"): row["label"] for row in rows}
    assert got.keys() == expected.keys()
    assert np.mean([got[path] == expected[path] for path in got]) >= 0.999


def test_a_second_run_has_nothing_to_do(results, clothing):
    before = (results / "features.h5").stat().st_mtime_ns
    assert "nothing to do" in headstart("features", clothing, "--out", results / "features.h5")
    assert "nothing to do" in headstart("train-heads", results / "features.h5", "--out", results)
    assert (results / "features.h5").stat().st_mtime_ns == before


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
            patch.setattr(scaled, "KEPT", 10**6)
            whole = runner.embed(pixels.decode(out.getvalue(), preprocess)[np.newaxis])[0]
        assert not np.array_equal(small, whole)
        cosines.append(small @ whole / np.linalg.norm(small) / np.linalg.norm(whole))
    assert len(cosines) >= 20
    assert min(cosines) >= 0.999
    assert np.mean(cosines) >= 0.9997
