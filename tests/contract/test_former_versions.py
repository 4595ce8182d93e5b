"""Stores, models and results that former versions wrote are read for ever.

`tests/files/version-X` was written by that version, of 54 drawn images and the tiny backbone;
``expected.json`` holds what that version itself read in them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from headstart import load_model, report
from headstart.features import store

FILES = Path(__file__).parents[1] / "files"
VERSIONS = sorted(FILES.glob("version-*"))


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def version(request, tmp_path) -> Path:
    """Give a copy of what one version wrote."""
    return Path(shutil.copytree(request.param, tmp_path / "written"))


@pytest.fixture
def expected(version) -> dict:
    return json.loads((version / "expected.json").read_text())


def test_a_store_has_the_same_rows(version, expected):
    data = store.read(version / "store.h5")
    features = np.ascontiguousarray(data.features)
    assert len(data.path) == expected["rows"]
    assert data.digest == expected["digest"]
    assert list(data.classes) == expected["classes"]
    assert hashlib.sha256(features.tobytes()).hexdigest() == expected["features_sha256"]


def test_a_model_gives_the_same_probabilities(version, expected):
    crops = np.random.default_rng(5).integers(0, 256, (6, 32, 32, 3), np.uint8)
    probabilities = load_model(version / "model.onnx").predict(crops)
    assert np.allclose(probabilities, expected["probabilities"], atol=1e-6)


@pytest.mark.slow
def test_results_make_a_report(version):
    data = [store.read(version / "store.h5")]
    report.write_report(version, data, "pca")
    assert "logistic" in (version / "report.html").read_text().lower()


def test_a_store_of_several_labels_has_the_same_rows(tmp_path):
    """Version 2 of the store's format, of 8 drawn images and the tiny backbone."""
    written = Path(shutil.copytree(FILES / "store-version-2", tmp_path / "written"))
    expected = json.loads((written / "expected.json").read_text())
    data = store.read(written / "store.h5")
    assert store.verify(written / "store.h5") == []
    assert (len(data), data.digest, list(data.classes)) == (
        expected["rows"],
        expected["digest"],
        expected["classes"],
    )
    assert data.label_sets.tolist() == expected["label_sets"]
    features = np.ascontiguousarray(data.features)
    assert hashlib.sha256(features.tobytes()).hexdigest() == expected["features_sha256"]
