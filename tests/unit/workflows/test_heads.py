"""Training heads from Python: the result, its files, and what the command makes of the same."""

import json
import re
import sys

import headstart as hs
import numpy as np
import pytest
from headstart.cli import run
from headstart.core.errors import InputError, UsageError

SETTINGS = {"heads": ["knn", "logistic-regression"], "folds": 3, "repeats": 1, "hooks": hs.Hooks()}


@pytest.fixture(scope="module")
def store(tmp_path_factory, write_image, tiny_backbone):
    folder = tmp_path_factory.mktemp("heads")
    seed = 0
    for split, count in (("train", 6), ("test", 4)):
        for label in ("bark", "<cloth>"):
            for index in range(count):
                write_image(folder / "photos" / split / label / f"{index}.png", seed)
                seed += 1
    hs.extract_features(
        folder / "photos", folder / "store.h5", backbone=tiny_backbone, hooks=hs.Hooks()
    )
    return folder / "store.h5"


@pytest.fixture(scope="module")
def result(store):
    return hs.train_heads(store, **SETTINGS)


def test_a_result_in_memory(result, store):
    assert result.folder is None
    assert not result.up_to_date
    features = hs.FeatureStore(store).features
    predicted = result.best_estimator_.predict(features)
    assert set(np.array(result.classes)[predicted]) <= {"bark", "<cloth>"}
    assert result.results["heads"][0]["name"] in repr(result)
    assert isinstance(result.warnings, list)


def test_the_leaderboard_is_a_data_frame_or_rows(result, monkeypatch):
    pandas = pytest.importorskip("pandas")
    frame = result.leaderboard()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["head"])[:2] == [head["name"] for head in result.results["heads"]]
    assert set(frame["kind"]) == {"head", "baseline"}
    monkeypatch.setitem(sys.modules, "pandas", None)
    rows = result.leaderboard()
    assert [row["head"] for row in rows] == list(frame["head"])
    assert set(rows[0]) == set(frame.columns)


def test_a_notebook_shows_a_table_with_escaped_names(result):
    text = result._repr_html_()
    assert text.count("<tr") == 1 + len(result.leaderboard())
    assert "knn" in text
    assert not re.search(r"<cloth>", text)


@pytest.mark.slow
def test_predictions_of_an_unsaved_result(result, store):
    predictions = list(result.predict(store.parent / "photos" / "test"))
    assert len(predictions) == 8
    assert {prediction.label for prediction in predictions} <= {"bark", "<cloth>"}
    single = next(result.predict([predictions[0].path]))
    assert single.probabilities == predictions[0].probabilities


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_save_writes_what_the_command_writes(result, store, tmp_path, capsys):
    result.save(tmp_path / "api", hooks=hs.Hooks())
    words = ["--out", str(tmp_path / "command"), "--heads", "knn,logistic-regression"]
    assert run(["train-heads", str(store), *words, "--folds", "3", "--repeats", "1"]) == 0
    ours, theirs = contents(tmp_path / "api"), contents(tmp_path / "command")
    assert ours.keys() == theirs.keys()
    for name in ours:
        if not name.endswith((".json", ".html", ".md", ".onnx", "heads.svg")):
            assert ours[name] == theirs[name], name
    documents = [json.loads(files["results.json"]) for files in (ours, theirs)]
    for document in documents:
        for key in ("created", "command"):
            document["provenance"].pop(key)
        for head in [*document["heads"], *document["baselines"]]:
            head.pop("seconds"), head.pop("predict_seconds")
    assert documents[0] == documents[1]
    assert ours["model.onnx"] == theirs["model.onnx"]


@pytest.mark.further("tests/cli/test_multilabel.py::test_the_same_command_again_does_nothing")
@pytest.mark.slow
def test_results_of_the_same_inputs_are_not_trained_again(result, store, tmp_path):
    result.save(tmp_path / "out", hooks=hs.Hooks())
    before = contents(tmp_path / "out")
    again = hs.train_heads([hs.FeatureStore(store)], tmp_path / "out", **SETTINGS)
    assert again.up_to_date
    assert contents(tmp_path / "out") == before
    assert again.results == json.loads(before["results.json"])
    assert again.best_estimator_.classes_.tolist() == [0, 1]
    forced = hs.train_heads(store, tmp_path / "out", force=True, **SETTINGS)
    assert not forced.up_to_date
    assert "headstart" in forced.results["provenance"]["command"]


def test_what_cannot_be_is_an_error_of_ours_and_a_value_error(store):
    with pytest.raises(InputError, match="name each store once"):
        hs.train_heads([store, str(store)], **SETTINGS)
    with pytest.raises(ValueError, match="folds"):
        hs.train_heads(store, folds=1)
    with pytest.raises(UsageError, match="--shard-size"):
        hs.extract_features("photos", "s.h5", shard_size=3)
    with pytest.raises(hs.HeadstartError, match="did you mean"):
        hs.train_heads(store, heads="kn", hooks=hs.Hooks())
