"""A job: what belongs to a training, and the digest that names it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from factories import feature_set
from headstart.core.records import Choice
from headstart.features.embed import EmbedConfig, embed
from headstart.features.store import read
from headstart.finetune.config import FinetuneConfig
from headstart.finetune.job import FinetuneJob
from headstart.finetune.photos import read_again
from headstart.finetune.single_label import class_weights, search


def make_job(data=None, **config) -> FinetuneJob:
    frozen = feature_set(n=60, k=3) if data is None else data
    return FinetuneJob.create("photos", frozen, Choice("tiny"), FinetuneConfig(**config))


def test_targets_index_the_trained_classes():
    label = np.tile([0, 2], 30)
    job = make_job(feature_set(label, k=3))
    assert job.division.classes.tolist() == [0, 2]
    assert (job.targets(np.arange(4)) == [0, 1, 0, 1]).all()


def test_balanced_weights_have_mean_1_over_images():
    label = np.r_[np.zeros(80, int), np.ones(20, int)]
    job = make_job(feature_set(label, k=2), class_weight="balanced")
    weights = class_weights(job)
    assert weights[1] > weights[0]
    assert weights[job.targets(job.division.train)].mean() == pytest.approx(1, rel=1e-5)
    assert class_weights(make_job()) is None


def test_few_images_keep_the_norms_statistics():
    assert make_job().frozen_norms


@pytest.mark.parametrize("change", [{"seed": 1}, {"views": 3}, {"mode": "all"}])
def test_the_identity_changes_with_all_that_decides_the_weights(change):
    assert make_job().identity("layer") == make_job().identity("layer")
    assert make_job(**change).identity("layer") != make_job().identity("layer")
    assert make_job().identity("other") != make_job().identity("layer")


def test_the_identity_does_not_depend_on_the_number_of_threads():
    job = make_job()
    other = dataclasses.replace(job, config=dataclasses.replace(job.config, workers=7))
    assert other.identity("") == job.identity("")


@pytest.mark.slow
def test_photos_are_the_images_that_were_embedded(tiny_backbone, image_folder, tmp_path):
    folder = str(image_folder(splits=("train", "validation", "test")))
    embed(folder, tmp_path / "s.h5", EmbedConfig(str(tiny_backbone)))
    frozen = read(tmp_path / "s.h5")
    job = FinetuneJob.create(folder, frozen, Choice("tiny"), FinetuneConfig())
    train, validation = job.photos((job.division.train, 4), (job.division.validation, 1))
    assert [photo.sha256 for photo in train] == [
        frozen.sha256[row].tobytes() for row in job.division.train
    ]
    assert {photo.views for photo in train} == {4}
    assert {photo.views for photo in validation} == {1}
    assert read_again(train[0])


def test_the_identity_changes_with_the_groups_and_not_without_any():
    split = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    data = feature_set(n=60, k=3, split=split)

    def identity(size):
        named = {path: str(row // size) for row, path in enumerate(data.path)} if size else None
        job = FinetuneJob.create(
            "photos", data, Choice("tiny"), FinetuneConfig(), named_groups=named
        )
        assert job.division.train.tolist() == list(range(40))
        return job.identity("layer")

    assert len({identity(0), identity(4), identity(5)}) == 3
    assert identity(4) == identity(4)
    assert identity(0) == make_job(data).identity("layer")


@pytest.mark.parametrize(("patients", "apart"), [(4, True), (1, False)])
def test_the_first_classifier_is_chosen_on_folds_of_whole_groups(patients, apart):
    split = ["train"] * 48 + ["validation"] * 12 + ["test"] * 12
    data = feature_set(n=72, k=3, split=split)
    named = {path: f"{row % 3}-{row // 3 % patients}" for row, path in enumerate(data.path[:48])}
    job = FinetuneJob.create("photos", data, Choice("tiny"), FinetuneConfig(), named_groups=named)
    _, training = search(job)
    group = job.division.group[job.division.train]
    folds = [np.unique(training.fold[0][group == number]) for number in np.unique(group)]
    assert all(len(own) == 1 for own in folds) == apart
