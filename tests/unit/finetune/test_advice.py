"""Advice: what is predicted from a pilot, which images it may see, and the command."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from headstart.cli import cli
from headstart.finetune.advice import WORTH, predict, recommend
from headstart.finetune.config import FinetuneConfig
from headstart.finetune.division import Division
from headstart.finetune.pilot import IMAGES, Pilot, sample
from hypothesis import given
from hypothesis import strategies as st

SIZES = {"train": 1000, "validation": 90, "test": 100, "classes": 5}
TIMES = {"head": 1e-5, "top": 0.004, "all": 0.03}


def pilot(frozen: float, head: float, top: float, held_out: int = 400) -> Pilot:
    def right(accuracy: float):
        return np.arange(held_out) < round(accuracy * held_out)

    answers = {"frozen": right(frozen), "head": right(head), "top": right(top)}
    return Pilot(400, answers, {}, {"head": 0.005, "top": 0.006}, TIMES)


def advice(found: Pilot, error: float = 0.1, **given):
    modes = predict(found, error, SIZES, FinetuneConfig(**given))
    return {one["mode"]: one for one in modes}, recommend(modes)[0]


def test_a_mode_that_halves_the_errors_is_recommended():
    modes, chosen = advice(pilot(0.8, 0.81, 0.9))
    assert chosen == "top"
    assert 0.03 < modes["top"]["gain"] < 0.05  # no mode usually takes half of the errors
    assert modes["top"]["gain_ci"][0] > 0
    assert modes["top"]["risk"] < 0.05 < modes["head"]["risk"]
    assert modes["top"]["accuracy"] == pytest.approx(0.9 + modes["top"]["gain"])
    assert not modes["all"]["tried"]


def test_all_is_judged_by_what_top_did_with_a_wider_interval_and_takes_longer():
    modes, _ = advice(pilot(0.8, 0.8, 0.9))
    top, everything = modes["top"], modes["all"]
    assert 0.02 < everything["gain"] < top["gain"]
    width = {name: np.diff(modes[name]["gain_ci"])[0] for name in ("top", "all")}
    assert width["all"] > width["top"]
    assert everything["seconds"] > top["seconds"] > modes["head"]["seconds"]


@pytest.mark.parametrize("top", [0.7, 0.8])
def test_where_nothing_is_gained_nothing_is_recommended(top):
    modes, chosen = advice(pilot(0.8, 0.8, top))
    assert chosen == "none"
    assert modes["top"]["risk"] > 0.3


def test_a_pilot_of_few_images_says_less_than_what_a_mode_usually_brings():
    bad, good = (
        [advice(pilot(0.8, 0.8, top, n))[0]["top"]["gain"] for n in (20, 400)] for top in (0.6, 1.0)
    )
    assert bad[0] > bad[1]
    assert good[0] < good[1]


def test_of_two_modes_as_good_the_faster_is_recommended():
    modes, chosen = advice(pilot(0.8, 0.8, 1.0))
    assert abs(modes["all"]["gain"] - modes["top"]["gain"]) > WORTH  # a wider spread counts less
    as_good = [modes[name] | {"gain": 0.05, "risk": 0.01} for name in ("head", "top", "all")]
    assert recommend(as_good)[0] == "head"
    assert recommend(as_good[1:])[0] == chosen == "top"


def test_fewer_images_held_out_make_wider_intervals():
    few, many = (advice(pilot(0.8, 0.8, 0.9, n))[0]["top"] for n in (40, 4000))
    assert np.diff(few["gain_ci"]) > np.diff(many["gain_ci"])


def test_views_and_epochs_cost_time():
    some, more = (advice(pilot(0.8, 0.8, 0.9), views=n)[0]["top"]["seconds"] for n in (2, 8))
    assert more - some == pytest.approx(6 * 1000 * 0.006)
    one, two = (advice(pilot(0.8, 0.8, 0.9), epochs=n)[0]["top"]["seconds"] for n in (1, 2))
    assert two - one == pytest.approx(0.004 * (1000 + 30))


@given(st.tuples(*[st.floats(0, 1)] * 3), st.floats(0, 1), st.integers(1, 50), st.integers(0, 9))
def test_whatever_a_pilot_finds_the_advice_is_in_order(found, error, held_out, seed):
    modes, chosen = advice(pilot(*found, held_out), error, seed=seed)
    for one in modes.values():
        low, high = one["gain_ci"]
        assert low <= one["gain"] <= high <= error + 1e-9
        assert 0 <= one["risk"] <= 1
        assert one["seconds_range"][0] <= one["seconds"] <= one["seconds_range"][1]
    assert chosen == "none" or modes[chosen]["gain"] >= WORTH


@given(st.lists(st.integers(4, 300), min_size=2, max_size=6), st.integers(0, 9))
def test_the_trial_trains_on_two_of_each_class_and_scores_others(counts, seed):
    label = np.repeat(np.arange(len(counts)), counts)
    rows = np.random.default_rng(seed).permutation(len(label))
    test, validation, train = np.split(rows, [len(rows) // 10, len(rows) // 5])
    short = np.bincount(label[train], minlength=len(counts)) < 2
    if short.any():
        return
    whole = Division(
        np.sort(train), np.sort(validation), np.sort(test), np.arange(len(counts)), True, []
    )
    part = sample(SimpleNamespace(label=label), whole, seed)  # type: ignore[arg-type]
    assert len(np.intersect1d(part.train, part.validation)) == 0
    assert len(np.intersect1d(test, [*part.train, *part.validation])) == 0
    assert np.bincount(label[part.train], minlength=len(counts)).min() >= 2
    assert len(part.train) <= max(IMAGES, 2 * len(counts))
    assert len(part.validation)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "Missing option '--out'"),
        (["--advise", "--mode", "all"], 1, "leave out --mode"),
        (["--from", "blocks.44", "--out", "o"], 1, "did you mean blocks.4"),
        (["--device", "cuda", "--out", "o"], 1, "finds no NVIDIA GPU"),
    ],
)
def test_what_cannot_be_is_said_before_any_image_is_embedded(
    words, code, said, image_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["finetune", str(image_folder()), *words])
    message = done.output if code == 2 else str(done.exception)
    assert said in message
    assert not (tmp_path / "o" / "frozen.h5").exists()


@pytest.mark.slow
@pytest.mark.long
def test_the_command_predicts_every_mode_and_leaves_nothing(image_folder, tmp_path, monkeypatch):
    folder = image_folder(splits=("train", "validation", "test"))
    before = sorted(tmp_path.rglob("*"))
    words = ["finetune", str(folder), "--advise", "--json", "--batch-size", "8"]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert [one["mode"] for one in told["modes"]] == ["head", "top", "all"]
    assert all(one["seconds"] > 0 for one in told["modes"])
    assert told["recommended"] in ("none", "head", "top", "all")
    assert told["frozen"]["learning_curve"]["points"]
    assert sorted(tmp_path.rglob("*")) == before
