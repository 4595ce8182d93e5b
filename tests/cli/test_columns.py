"""The columns of a table can be named wherever a command takes a source."""

from __future__ import annotations

import importlib
import json

import pytest
from headstart.core.records import Choice
from headstart.features import store
from headstart.finetune.job import FinetuneJob
from headstart.workflows import finetuning as workflow

COLUMNS = ("--path-column", "shot", "--label-column", "species")


@pytest.fixture
def shots(image_folder, tmp_path):
    root = image_folder(tmp_path / "photos", per_class=12)
    files = sorted(path.relative_to(root) for path in root.rglob("*.*"))
    lines = [f"{path};{path.parts[1]};{path.parts[0]}" for path in files]
    (root / "shots.csv").write_text("\n".join(["shot;species;split", *lines]))
    return root / "shots.csv"


def test_features(headstart, shots, tiny_backbone, tmp_path):
    words = ["features", shots, "--backbone", tiny_backbone, "--out", "store.h5"]
    assert "--path-column" in headstart(*words, code=1).stderr
    headstart(*words, *COLUMNS)
    assert len(store.read(tmp_path / "store.h5").classes) == 2


@pytest.mark.slow
def test_a_ranking_of_backbones(headstart, shots, tiny_backbone):
    words = ["backbones", "--for", shots, "--backbone", tiny_backbone, "--only-named", "--json"]
    assert "--path-column" in headstart(*words, code=1).stderr
    ranked = json.loads(headstart(*words, *COLUMNS).stdout)
    assert (ranked["images"], ranked["classes"]) == (24, 2)
    assert "need --for" in headstart("backbones", *COLUMNS, code=2).stderr


def test_a_model_in_other_arithmetic(headstart, shots, tiny_classifier, tmp_path):
    words = ["export-model", tiny_classifier, shots, "--precision", "fp16", "--out", "half.onnx"]
    assert "--path-column" in headstart(*words, code=1).stderr
    headstart(*words, *COLUMNS, "--max-drift", 2, "--max-accuracy-loss", 100)
    assert (tmp_path / "half.onnx").is_file()


def test_fine_tuning(headstart, shots, tiny_backbone, monkeypatch):
    jobs = []

    def advise(data, frozen, choice, config, hooks, reading, named_groups):
        jobs.append(FinetuneJob.create(data, frozen, choice, config, reading, named_groups))
        return {}

    finetuning = importlib.import_module("headstart.finetune")
    monkeypatch.setattr(finetuning, "check_trainable", lambda choice, config: None)
    monkeypatch.setattr(finetuning, "advise", advise)
    monkeypatch.setattr(workflow, "_network", lambda *_: Choice(str(tiny_backbone)))
    words = ["finetune", shots, "--backbone", tiny_backbone, "--advise", "--json"]
    assert "--path-column" in headstart(*words, code=1).stderr
    headstart(*words, *COLUMNS)
    (job,) = jobs
    (photos,) = job.photos((job.division.test, 1))
    assert len(photos) == 24
