"""Collages of real photos, each with the classes of its tiles: the promises for several labels."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import collages
import headstart as hs
import numpy as np
import pytest

POINTS = 0.003  # of macro average precision, below scikit-learn's


@pytest.mark.long
@pytest.mark.acceptance
def test_collages_of_clothing(clothing, tmp_path):
    folder = tmp_path / "collages"
    collages.write(clothing, folder)
    features = hs.extract_features(folder / "labels.csv", tmp_path / "collages.h5")
    result = hs.train_heads(features, tmp_path / "results")
    best = result.results["heads"][0]
    assert best["map"] >= _one_versus_rest(tmp_path / "collages.h5") - POINTS
    assert best["macro_f1"] > best["macro_f1_at_half"]


def _one_versus_rest(store: Path) -> float:
    """Return the macro average precision of scikit-learn's own search on the same features."""
    from headstart.features.store import read
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import average_precision_score
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import normalize

    data = read(store)
    rows, test = normalize(data.features), np.array([split == "test" for split in data.split])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = LogisticRegressionCV(cv=5, scoring="neg_log_loss", max_iter=1000)
        model = OneVsRestClassifier(search).fit(rows[~test], data.label_sets[~test])
    answers = model.predict_proba(rows[test])
    return float(average_precision_score(data.label_sets[test], answers, average="macro"))


@pytest.mark.further(
    "tests/cli/test_multilabel.py::test_predict_writes_the_labels_and_a_column_for_each"
)
@pytest.mark.slow
def test_collages_of_textures(tmp_path):
    photos, folder = tmp_path / "textures", tmp_path / "collages"
    hs.write_demo_data(photos, per_class=12)
    classes = collages.write(photos, folder, count=100, side=64)
    features = hs.extract_features(folder / "flags.csv", tmp_path / "collages.h5")
    heads = ["logistic-regression"]
    result = hs.train_heads(features, tmp_path / "results", heads=heads, near_duplicates=False)
    document = json.loads((tmp_path / "results" / "results.json").read_text(encoding="utf-8"))
    assert document["dataset"]["classes"] == classes
    best, (prevalence, *_) = document["heads"][0], document["baselines"]
    assert best["map"] > prevalence["map"] + 0.2
    predicted = list(result.predict(sorted((folder / "test").glob("*.jpg"))[:4]))
    assert all(set(prediction.labels) <= set(classes) for prediction in predicted)
