"""Several networks side by side, from the images to the prediction."""

from __future__ import annotations

import json

import numpy as np
import pytest
from factories import write_tiny_backbone
from headstart.backbones.inference.description import describe
from headstart.core.artifacts import CARD
from headstart.core.records import Preprocess
from headstart.features import store
from headstart.features.image_embedder import ImageEmbedder


@pytest.fixture
def name(tmp_path) -> str:
    """Two networks of other sizes and licences."""
    write_tiny_backbone(tmp_path / "wide.onnx", 1, name="wide")
    small = {"preprocess": Preprocess(28, 24), "licence": "MIT"}
    write_tiny_backbone(tmp_path / "small.onnx", 2, name="small", **small)
    return "wide.onnx+small.onnx"


@pytest.fixture
def photos(image_folder):
    return image_folder("photos", per_class=16)


@pytest.mark.slow
def test_features_heads_model_and_predictions(headstart, photos, name, tmp_path):
    headstart("features", photos, "--backbone", name, "--out", "s.h5")
    again = headstart("features", photos, "--backbone", "small.onnx+wide.onnx", "--out", "s.h5")
    assert "up to date" in again.stdout
    rows = store.read(tmp_path / "s.h5")
    assert rows.extraction["backbone"]["name"] == "small+wide"
    embedder = ImageEmbedder(name)
    paths = [photos / path for path in rows.path[:5]]
    assert np.array_equal(embedder.fit_transform(paths), rows.features[:5])
    assert embedder.n_features_out_ == 24

    words = ("--heads", "logistic-regression", "--repeats", 1)
    headstart("train-heads", "s.h5", *words, "--out", "out")
    card = (tmp_path / "out" / CARD).read_text()
    assert "MIT AND Apache-2.0" in card
    assert "small: MIT" in card
    assert "wide: Apache-2.0" in card
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(results["extraction"]["document"]["backbone"]["networks"]) == 2
    assert describe(tmp_path / "out" / "model.onnx").dim == 24
    assert "same features" in headstart("verify", "out/model.onnx").stdout
    assert "same features" in headstart("verify", "s.h5").stdout
    assert headstart("predict", "out/model.onnx", photos).stdout.count("bark") >= 16


@pytest.mark.slow
def test_a_store_of_one_network_does_not_go_on_with_two(headstart, photos, name):
    headstart("features", photos, "--backbone", "wide.onnx", "--out", "s.h5")
    error = headstart("features", photos, "--backbone", name, "--out", "s.h5", code=1).stderr
    assert "small+wide" in error


@pytest.mark.slow
def test_in_integers_the_resizing_stays_exact(headstart, photos, name, tmp_path):
    words = ("features", photos, "--backbone", name)
    headstart(*words, "--out", "s.h5")
    budget = ("--max-drift", 2, "--max-accuracy-loss", 100)
    headstart(*words, "--precision", "int8", *budget, "--out", "i.h5")
    plain, rounded = (store.read(tmp_path / file).features[:] for file in ("s.h5", "i.h5"))
    assert np.abs(plain - rounded).max() > 0
    cosine = (plain * rounded).sum(1) / np.linalg.norm(plain, axis=1)
    assert (cosine / np.linalg.norm(rounded, axis=1)).min() > 0.99


@pytest.mark.slow
def test_a_file_of_both_and_a_ranking(headstart, photos, name, tmp_path):
    said = headstart("export", name, "--out", "both.onnx")
    assert "small reads the middle" in said.stdout + said.stderr
    assert describe(tmp_path / "both.onnx").name == "small+wide"
    words = ("backbones", "--for", photos, "--only-named", "--json")
    named = [word for each in ("wide.onnx", name) for word in ("--backbone", each)]
    tried = json.loads(headstart(*words, *named).stdout)["tried"]
    assert {each["name"] for each in tried} == {"wide.onnx", name}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("backbones", "efficientnet-lite0+timm:resnet18", "--layers"), "several networks"),
        (
            ("finetune", "photos", "--backbone", "efficientnet-lite0+timm:resnet18", "--out", "f"),
            "one is fine-tuned at a time",
        ),
        (
            ("features", "photos", "--backbone", "x.onnx+y.onnx", "--layer", "a", "--out", "s.h5"),
            "--layer and --pool are of one network",
        ),
        (
            ("features", "photos", "--backbone", "x.onnx+y.onnx", "--out", "s.h5"),
            "no backbone file at x.onnx",
        ),
    ],
)
def test_what_cannot_be_is_one_line(headstart, photos, words, message):
    error = headstart(*(photos if word == "photos" else word for word in words), code=1).stderr
    assert message in error
    assert len([line for line in error.splitlines() if line.startswith("headstart")]) <= 1
