"""A comparison of features that stay on disk, as the command makes it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from headstart.cli import cli
from headstart.core.errors import StoreError
from headstart.core.rows import StoredRows
from headstart.evaluation.compare import CompareConfig, compare
from headstart.features import store
from headstart.features.embed import EmbedConfig, embed
from headstart.heads import knn, sampling, svm


@pytest.fixture(scope="module")
def stores(tiny_backbone, tmp_path_factory):
    """The same photos of noise in one file, and in a folder of shards."""
    from PIL import Image

    root = tmp_path_factory.mktemp("streamed")
    rng = np.random.default_rng(0)
    for number in range(168):  # 42 of them to test: enough for all remarks about splits
        label = number % 3
        values = rng.normal(60 + 50 * label, 40, (32, 32, 3)) * (1, 1 + label / 4, 1)
        folder = root / "data" / ("test" if number % 4 == 0 else "train") / "abc"[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    config = EmbedConfig(str(tiny_backbone))
    embed(str(root / "data"), root / "one.h5", config)
    words = ("features", root / "data", "--backbone", tiny_backbone, "--out", root / "folder")
    options = ("--engine", "threads", "--shard-size", "32")
    done = CliRunner().invoke(cli, [str(word) for word in (*words, *options)])
    assert done.exit_code == 0, done.output
    return root


def train(root, name, out, *options):
    words = ["train-heads", root / name, "--out", out, "--repeats", 1]
    words += ["--heads", "logistic-regression,knn"]
    done = CliRunner().invoke(cli, [str(word) for word in (*words, *options)])
    return done, out


@pytest.mark.slow
def test_what_stays_on_disk_is_what_memory_would_hold(stores):
    (held,) = store.read_layers(stores / "one.h5")
    for name in ("one.h5", "folder"):
        (found,) = store.read_layers(stores / name, stream_above=0)
        assert isinstance(found.features, StoredRows)
        assert isinstance(found.pixels, StoredRows)
        places = {path: row for row, path in enumerate(found.path)}
        rows = np.array([places[path] for path in held.path])
        assert np.array_equal(found.features[rows], held.features)
        assert np.array_equal(found.pixels[rows], held.pixels)
        assert np.array_equal(found.label[rows], held.label)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["one.h5", "folder"])
def test_a_store_on_disk_is_compared_as_one_in_memory(stores, name, tmp_path, monkeypatch):
    done, held = train(stores, name, tmp_path / "held", "--no-near-duplicates")
    assert done.exit_code == 0, done.output
    monkeypatch.setattr(sampling, "ROWS", 60)  # so that the choice on a part is settled on all
    monkeypatch.setattr(knn, "REFERENCES", 80)
    done, streamed = train(stores, name, tmp_path / "streamed", "--stream-above", "0")
    assert done.exit_code == 0, done.output
    assert "stay on disk (--stream-above)" in done.output
    mine, theirs = (json.loads((out / "results.json").read_text()) for out in (streamed, held))
    assert any("stay on disk" in warning["text"] for warning in mine["warnings"])
    (neighbours,) = (head for head in mine["heads"] if head["name"] == "knn")
    assert neighbours["approximation"].startswith("fitted on 8")
    assert mine["insights"]["label_errors"]["method"].endswith("in one round")
    assert mine["insights"]["duplicates"]["rule"] == "the same bytes"
    assert mine["provenance"]["inputs"] != theirs["provenance"]["inputs"]
    assert mine["dataset"]["images"] == theirs["dataset"]["images"]
    accuracy = {head["name"]: head["test_accuracy"] for head in theirs["heads"]}
    for head in mine["heads"]:
        assert head["test_accuracy"] == pytest.approx(accuracy[head["name"]], abs=0.101)
    assert len(mine["insights"]["learning_curve"]["points"]) > 2
    assert {base["name"] for base in mine["baselines"]} == {"most-frequent", "raw-pixels"}
    onnx.checker.check_model(onnx.load(streamed / "model.onnx"))
    again, _ = train(stores, name, streamed, "--stream-above", "0")
    assert "up to date" in again.output


def test_a_store_that_goes_away_is_one_line(stores, tmp_path):
    import shutil

    shutil.copytree(stores / "folder", tmp_path / "folder")
    (found,) = store.read_layers(tmp_path / "folder", stream_above=0)
    for path in (tmp_path / "folder").glob("shard-*.h5"):
        path.unlink()
    with pytest.raises(StoreError, match="no feature store at"):
        found.features[:]


@pytest.mark.slow
def test_the_largest_size_of_the_curve_is_what_was_fitted_on(stores, monkeypatch):
    monkeypatch.setattr(svm, "SAMPLED", 60)
    data = store.read_layers(stores / "folder", stream_above=0)
    comparison, _ = compare(data, CompareConfig(heads=("rbf-svm",), repeats=1))
    sizes = [point.images for point in comparison.insights.learning_curve.points]
    assert sizes[-1] == pytest.approx(48, abs=2)  # four of five folds
    assert comparison.heads[0].approximation.endswith("fitted on 60 of the rows")


@pytest.mark.slow
def test_knn_alone_ships_a_model_of_its_sample(stores, tmp_path, monkeypatch):
    monkeypatch.setattr(knn, "REFERENCES", 60)
    run, out = train(stores, "folder", tmp_path / "out", "--stream-above", "0", "--heads", "knn")
    assert run.exit_code == 0, run.output
    model = onnx.load(out / "model.onnx")
    shapes = [tuple(constant.dims) for constant in model.graph.initializer]
    assert any(shape[:1] == (60,) and len(shape) == 2 for shape in shapes)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("sampled", [False, True])
def test_a_predefined_validation_split_leaves_the_largest_size_of_the_curve(
    stores, sampled, monkeypatch
):
    """Images that every fold trains on have no out-of-fold answers, but were fitted on."""
    if sampled:
        monkeypatch.setattr(knn, "REFERENCES", 40)
    (data,) = store.read_layers(stores / "folder", stream_above=0)
    trained = [row for row, split in enumerate(data.split) if split == "train"]
    split = list(data.split)
    for row in trained[::3]:
        split[row] = "validation"
    data = dataclasses.replace(data, split=split)
    config = CompareConfig(heads=("knn",), validation="predefined")
    comparison, _ = compare([data], config)
    sizes = [point.images for point in comparison.insights.learning_curve.points]
    assert sizes == sorted(sizes)
    assert sizes[-1] == pytest.approx(40 if sampled else 84, abs=2)
