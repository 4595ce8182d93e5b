"""Timing runs a few steps of every mode on few images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from factories import feature_set
from headstart.core.choices import MODES
from headstart.core.records import Choice
from headstart.finetune import preparation, timing
from headstart.finetune.batches import Batches, LabelledPhotos
from headstart.finetune.config import FinetuneConfig
from headstart.finetune.job import FinetuneJob
from headstart.finetune.model import Classifier
from headstart.finetune.photos import Photo


class Rows(Batches):
    """Batches of random rows in place of images."""

    def _inputs(self, photos, epoch):
        return torch.randn(len(photos), 2, 2, 2)


@pytest.fixture
def prepared(monkeypatch):
    jobs = []

    def prepare(job, head, out, progress):
        jobs.append(job)
        rows = job.division.train, job.division.validation
        parts = [LabelledPhotos([Photo] * len(part), job.targets(part)) for part in rows]
        for count in (1, 2):
            progress(count, 2)
        base = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 8))
        start = np.zeros((3, 8), np.float32), np.zeros(3, np.float32)
        return preparation.Prepared(Classifier(base, *start), None, Rows(*parts, 0, 1), "layer")

    monkeypatch.setattr(preparation, "prepare", prepare)
    return jobs


def test_every_mode_is_timed_on_two_batches(prepared):
    config = FinetuneConfig(batch=8, boundary="layer")
    job = FinetuneJob.create("photos", feature_set(n=300, k=3), Choice("tiny"), config)
    paces = timing.measure(job, None)
    assert list(paces) == list(MODES)
    assert paces["all"].view == 0
    assert paces["head"].view >= 0
    assert [timed.config.mode for timed in prepared] == list(MODES)
    assert {len(timed.division.train) for timed in prepared} == {16}
    assert [timed.config.boundary for timed in prepared] == ["", "layer", ""]
