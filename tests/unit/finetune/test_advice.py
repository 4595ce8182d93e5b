"""Advice: the rule against the recorded runs, what it predicts, and the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from factories import feature_set, label_sets
from headstart.cli import advice_table, cli
from headstart.core.choices import MODES
from headstart.core.records import Choice
from headstart.finetune import timing
from headstart.finetune.advice import (
    NONE,
    REMOVED,
    WORTH,
    covered,
    predict,
    predict_time,
    recommend,
)
from headstart.finetune.advice import advise as advise_on
from headstart.finetune.config import FinetuneConfig
from headstart.finetune.timing import Pace
from hypothesis import given
from hypothesis import strategies as st

PACES = {"head": Pace(0.005, 1e-5), "top": Pace(0.006, 0.004), "all": Pace(0.0, 0.03)}
SIZES = {"train": 1000, "validation": 90, "test": 100}
PILOT = 0.0057  # accuracy that the former advice, from a trial training, lost on these runs

with (Path(__file__).parents[3] / "benchmarks" / "advice.csv").open(newline="") as file:
    RUNS = list(csv.DictReader(file))
ADVISED = ["none", *["top"] * 12]


def advise(images: int, error: float, **changes):
    modes = predict(images, error)
    for mode in modes:
        mode |= predict_time(mode["mode"], PACES, SIZES, FinetuneConfig(**changes))
    return {mode["mode"]: mode for mode in modes}, recommend(modes)[0]


def test_what_is_advised_loses_no_more_on_the_recorded_runs_than_a_trial_training_did():
    assert len(RUNS) == 13
    advised, lost = [], []
    for run in RUNS:
        _, recommended = advise(int(run["images"]), 1 - float(run["frozen"]))
        gains = {NONE: 0.0} | {mode: float(run[mode]) for mode in MODES if run[mode]}
        advised.append(recommended)
        lost.append(max(gains.values()) - gains[recommended])
    assert advised == ADVISED
    always_top = np.mean([max(0.0, *_gains(run)) - float(run["top"]) for run in RUNS])
    assert np.mean(lost) <= PILOT < always_top


def _gains(run):
    return [float(run[mode]) for mode in MODES if run[mode]]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run['source']}-{run['images']}")
def test_recorded_gains_lie_in_their_intervals(run):
    images, error = int(run["images"]), 1 - float(run["frozen"])
    assert covered(images, error)
    for mode in predict(images, error):
        if run[mode["mode"]]:
            low, high = mode["gain_ci"]
            assert low <= float(run[mode["mode"]]) <= high


def test_more_images_and_fewer_errors_make_top_more_likely_to_pay():
    risks = [
        advise(images, error)[0]["top"]["risk"]
        for images, error in ((100, 0.3), (400, 0.3), (400, 0.1))
    ]
    assert risks == sorted(risks, reverse=True)
    assert advise(100, 0.3)[1] != "top"
    assert advise(400, 0.1)[1] == "top"


def test_what_lies_outside_the_recorded_runs_is_marked():
    assert covered(1000, 0.1)
    assert not covered(100, 0.1)
    assert not covered(50_000, 0.1)
    assert not covered(1000, 0.4)


def test_without_errors_there_is_nothing_to_gain():
    modes, recommended = advise(1000, 0.0)
    assert recommended == NONE
    assert all(mode["gain"] == 0 and mode["risk"] == 1 for mode in modes.values())


def test_of_two_modes_as_good_the_faster_is_recommended():
    modes, _ = advise(1000, 0.1)
    as_good = [modes[name] | {"gain": 0.05, "risk": 0.01} for name in MODES]
    assert recommend(as_good)[0] == "head"
    assert recommend(as_good[1:])[0] == "top"


def test_views_and_epochs_cost_time():
    some, more = (advise(1000, 0.1, views=n)[0]["top"]["seconds"] for n in (2, 8))
    assert more - some == pytest.approx(6 * 1000 * 0.006)
    first, second = (advise(1000, 0.1, views=2, epochs=n)[0]["top"]["seconds"] for n in (1, 2))
    assert second - first == pytest.approx(0.004 * (1000 + 30))


@given(st.integers(4, 10**7), st.floats(0, 1))
def test_the_advice_is_in_order_for_any_images_and_error(images, error):
    modes, recommended = advise(images, error)
    for mode in modes.values():
        low, high = mode["gain_ci"]
        assert low <= mode["gain"] <= high <= error + 1e-9
        assert 0 <= mode["risk"] <= 1
        assert mode["seconds_range"][0] <= mode["seconds"] <= mode["seconds_range"][1]
    assert recommended == NONE or modes[recommended]["gain"] >= WORTH


def test_the_lines_are_those_that_the_recorded_runs_support():
    shares = [float(run["top"]) / (1 - float(run["frozen"])) for run in RUNS]
    x = [np.log2(int(run["images"]) / (1 - float(run["frozen"])) ** 2) for run in RUNS]
    slope, intercept = np.polyfit(x, shares, 1)
    assert REMOVED["top"].slope == pytest.approx(slope, rel=0.02)
    assert REMOVED["top"].intercept == pytest.approx(intercept, rel=0.02)


def test_the_advice_is_one_json_document(monkeypatch):
    monkeypatch.setattr(timing, "measure", lambda job, head: PACES)
    data = feature_set(n=300, k=3, spread=4.0)
    document = json.loads(json.dumps(advise_on("photos", data, Choice("tiny"), FinetuneConfig())))
    assert document["frozen"]["learning_curve"]["points"]
    assert [mode["mode"] for mode in document["modes"]] == list(MODES)
    assert document["images"]["classes"] == 3
    advice_table.show(document)


def test_several_labels_have_times_and_scores_and_no_gain(monkeypatch, capsys):
    monkeypatch.setattr(timing, "measure", lambda job, head: PACES)
    data = label_sets(n=300)
    document = json.loads(json.dumps(advise_on("photos", data, Choice("tiny"), FinetuneConfig())))
    assert 0 < document["frozen"]["map"] <= 1
    assert document["frozen"]["learning_curve"]["points"]
    assert document["recommended"] == "unknown"
    for mode in document["modes"]:
        assert mode["seconds"] > 0
        assert "gain" not in mode
    advice_table.show(document)
    shown = capsys.readouterr().out
    assert "mAP" in shown
    assert "rough guess" not in shown


@pytest.mark.parametrize(
    ("words", "code", "noun"),
    [
        ([], 2, "--out"),
        (["--advise", "--mode", "all"], 1, "--mode"),
        (["--advise", "--ignore", "HS901"], 2, "--ignore"),
        (["--from", "blocks.44", "--out", "o"], 1, "did you mean blocks.4"),
        (["--device", "cuda", "--out", "o"], 1, "GPU"),
    ],
)
def test_what_cannot_work_is_refused_before_any_image_is_embedded(
    words, code, noun, image_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(cli, ["finetune", str(image_folder()), *words])
    message = run.output if code == 2 else str(run.exception)
    assert noun in message
    assert not (tmp_path / "o" / "frozen.h5").exists()


@pytest.mark.slow
@pytest.mark.long
def test_the_command_predicts_every_mode_and_leaves_nothing(image_folder, tmp_path, monkeypatch):
    folder = image_folder(splits=("train", "validation", "test"))
    before = sorted(tmp_path.rglob("*"))
    words = ["finetune", str(folder), "--advise", "--json", "--batch-size", "8"]
    run = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert run.exit_code == 0
    advice = json.loads(run.stdout)
    assert [mode["mode"] for mode in advice["modes"]] == ["head", "top", "all"]
    assert all(mode["seconds"] > 0 for mode in advice["modes"])
    assert advice["recommended"] in ("none", "head", "top", "all")
    assert advice["frozen"]["learning_curve"]["points"]
    assert not advice["basis"]["covers_these_images"]
    assert sorted(tmp_path.rglob("*")) == before
