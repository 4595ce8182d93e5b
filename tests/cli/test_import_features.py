"""``headstart import-features``, and what works without images."""

import csv
import io
import json
from contextlib import redirect_stderr, redirect_stdout

import headstart as hs
import numpy as np
import onnxruntime as ort
import pytest
from headstart.features import store

pytestmark = pytest.mark.slow


def drawn(n=90, dim=12, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    centres = np.random.default_rng(9).normal(size=(3, dim))
    return (centres[labels] + noise * rng.normal(size=(n, dim))).astype(np.float32), labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with features, ``a.npz``, their store, and results on them; written once."""
    folder = tmp_path_factory.mktemp("trained")
    features, labels = drawn()
    names = [f"img_{row:02d}.png" for row in range(len(labels))]
    words = np.array(["cat", "dog", "owl"])[labels]
    np.savez(folder / "a.npz", X=features, y=words, names=names)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        hs.import_features(folder / "a.npz", folder / "a.h5", name="dino")
        hs.train_heads(folder / "a.h5", folder / "results", heads="logistic-regression", repeats=1)
    return folder


def test_a_model_of_features_predicts_what_its_head_does(headstart, trained):
    def predict(*words):
        return headstart("predict", *words).stdout

    tables = [
        list(csv.DictReader(headstart("predict", trained / "results", data).stdout.splitlines()))
        for data in (trained / "a.npz", trained / "a.h5")
    ]
    assert tables[0] == tables[1]
    features = np.load(trained / "a.npz")["X"]
    assert [row["path"] for row in tables[0]] == np.load(trained / "a.npz")["names"].tolist()
    session = ort.InferenceSession(trained / "results" / "model.onnx")
    assert [tensor.name for tensor in session.get_inputs()] == ["features"]
    (probabilities,) = session.run(["probabilities"], {"features": features})
    shown = np.array([[float(row[f"p:{c}"]) for c in ("cat", "dog", "owl")] for row in tables[0]])
    np.testing.assert_allclose(shown, probabilities, atol=1e-5)


def test_the_report_and_the_card_do_without_pictures(trained):
    results = json.loads((trained / "results" / "results.json").read_text())
    assert results["heads"][0]["cv_accuracy"] > 0.8
    page = (trained / "results" / "report.html").read_text()
    assert "imported:dino" in page
    assert "1 × 1" not in page
    assert "`features`, `(n, 12) float32`" in (trained / "results" / "MODEL_CARD.md").read_text()


def test_evaluate_scores_rows_and_knows_those_it_was_trained_on(headstart, trained):
    document = json.loads(
        headstart("evaluate", trained / "results", trained / "a.npz", "--json").stdout
    )
    assert document["images"] == 90
    assert any(remark["code"] == "HS502" for remark in document["remarks"])
    fresh, labels = drawn(seed=5)
    np.savez("fresh.npz", X=fresh, y=np.array(["cat", "dog", "owl"])[labels])
    document = json.loads(headstart("evaluate", trained / "results", "fresh.npz", "--json").stdout)
    assert not any(remark["code"] == "HS502" for remark in document["remarks"])
    assert document["models"][0]["accuracy"] > 0.8


def test_where_images_would_be_needed_there_is_one_line(headstart, trained, image_folder):
    photos = image_folder()
    for words in (
        ("serve", trained / "results", "--port", 0),
        ("export-model", trained / "results", photos, "--precision", "int8", "--out", "q.onnx"),
        ("predict", trained / "results", next(photos.rglob("*.*g"))),
        ("evaluate", trained / "results", photos),
    ):
        line = headstart(*words, code=1).stderr.splitlines()[-1]
        assert "features" in line


def test_a_model_takes_features_of_its_own_width_alone(headstart, trained, tiny_classifier):
    np.save("narrow.npy", np.ones((3, 5)))
    assert "12" in headstart("predict", trained / "results", "narrow.npy", code=1).stderr


def test_imported_features_compare_with_our_own_by_name(headstart, embedded, tmp_path):
    data = store.read(embedded / "store.h5")
    rng = np.random.default_rng(0)
    separate = np.eye(2)[data.label] * 5 + rng.normal(size=(len(data), 2)) * 0.1
    wide = np.hstack([separate, rng.normal(size=(len(data), 9)) * 0.01])
    names = [f"/elsewhere/{path}" for path in data.path]
    order = rng.permutation(len(data))[:-2]
    np.savez("f.npz", X=wide[order], names=np.array(names)[order])
    headstart("import-features", "f.npz", "--out", "f.h5")
    done = headstart("train-heads", "f.h5", embedded / "store.h5", "--out", "r", "--heads", "knn")
    results = json.loads((tmp_path / "r" / "results.json").read_text())
    assert results["dataset"]["n_images"] == len(data) - 2
    assert {head["backbone"] for head in results["heads"]} >= {"imported:f"}
    assert results["extraction"]["document"]["backbone"]["name"] == "imported:f"
    assert any("joined by" in warning["text"] for warning in results["warnings"])
    table = (tmp_path / "r" / "predictions.csv").read_text().splitlines()
    paths = {row["path"] for row in csv.DictReader(table)}
    assert paths <= set(data.path)  # the names of our own images, which have pictures
    assert "knn" in done.stdout


def test_a_store_of_features_is_verified_and_named_in_json(headstart, trained):
    assert "sound" in headstart("verify", trained / "a.h5").stdout
    document = json.loads(
        headstart(
            "import-features", trained / "a.npz", "--name", "dino", "--out", "b.h5", "--json"
        ).stdout
    )
    assert (document["rows"], document["dim"], document["backbone"]) == (90, 12, "imported:dino")
