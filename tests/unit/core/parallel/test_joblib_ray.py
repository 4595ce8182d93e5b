"""Folds and grids on a real Ray cluster: the same results, and errors in one line."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner
from headstart.cli import cli
from headstart.core.errors import HeadstartError, InputError
from headstart.core.parallel import joblib_ray
from headstart.core.parallel.blas import folds_by
from headstart.core.parallel.joblib_ray import joblib_on_ray
from headstart.heads import HEADS
from headstart.heads.baselines import RawPixels
from headstart.heads.search import TrainingSet, stratified_folds


@pytest.fixture
def training():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = rng.normal(size=(3, 8))[labels] + rng.normal(size=(90, 8))
    return TrainingSet(features.astype(np.float32), labels, stratified_folds(labels, 3, 0))


def test_the_items_come_back_in_order(ray_cluster):
    import os

    with joblib_on_ray() as mapped:
        assert mapped(lambda item: item * 2, range(7)) == [0, 2, 4, 6, 8, 10, 12]
        assert os.getpid() not in mapped(lambda _: os.getpid(), range(4))


@pytest.mark.parametrize("name", ["linear-svm", "rbf-svm", "raw-pixels"])
def test_folds_on_ray_give_what_threads_give(name, training, ray_cluster):
    family = RawPixels() if name == "raw-pixels" else HEADS[name]
    here = family.search(training)
    with joblib_on_ray() as mapped, folds_by(mapped):
        there = family.search(dataclasses.replace(training))
    assert (there.params, there.grid, there.cv_std) == (here.params, here.grid, here.cv_std)
    assert np.array_equal(there.out_of_fold, here.out_of_fold)


def test_what_goes_wrong_there_is_one_line_here(ray_cluster):
    def fails(item):
        raise ValueError("two\nlines")

    def refuses(item):
        raise InputError("no such thing")

    with joblib_on_ray() as mapped:
        with pytest.raises(HeadstartError, match=r"^a worker failed: ValueError: two\\nlines$"):
            mapped(fails, [1, 2])
        with pytest.raises(InputError, match=r"^no such thing$"):
            mapped(refuses, [1])


def test_other_source_is_refused(monkeypatch, ray_cluster):
    monkeypatch.setattr(joblib_ray, "code_digest", lambda: "another")
    with joblib_on_ray() as mapped, pytest.raises(HeadstartError, match="another version of Head"):
        mapped(abs, [1])


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (["--address", "127.0.0.1:9"], 2, "--address needs --engine ray"),
        (["--engine", "spark"], 2, "'spark' is not one of 'threads', 'ray'"),
    ],
)
def test_options_that_do_not_fit_are_usage_errors(options, code, line, tmp_path):
    words = ["train-heads", str(tmp_path / "s.h5"), "--out", str(tmp_path / "out"), *options]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == code
    assert line in done.output
