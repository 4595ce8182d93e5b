"""The loop on a real store: seeds reproduce, a killed run continues, what goes wrong is said."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from headstart.core.errors import HeadstartError, RunnerError
from headstart.core.records import ImageRef, Listing
from headstart.core.remarks import remark
from headstart.features.store.activations import ActivationReader, ActivationWriter, View
from headstart.finetune.batches import LabelledPhotos, StoredBatches
from headstart.finetune.config import FinetuneConfig
from headstart.finetune.model import Classifier
from headstart.finetune.photos import Photo
from headstart.finetune.single_label import CrossEntropy
from headstart.finetune.training import Progress, Trainer, TrainingSetup, choose_device

DIM, CLASSES = 6, 3
CONFIG = FinetuneConfig(mode="top", epochs=4, batch=8, views=2, patience=9).settled(100)


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    rng = np.random.default_rng(0)
    classes = np.arange(60) % CLASSES
    centres = rng.normal(size=(CLASSES, DIM))
    nothing = Listing(Path(), (), (), {}, ""), ImageRef("none", None, "")
    photos = [Photo(*nothing, bytes([n]) * 32, 2 if n < 45 else 1) for n in range(60)]
    path = tmp_path_factory.mktemp("activations") / "a.h5"
    with ActivationWriter(path, {"backbone": {"name": "tiny"}}, DIM) as writer:
        views = [View(p.sha256, v) for p in photos for v in range(p.views)]
        for view in views:
            row = centres[classes[view.sha256[0]]] + rng.normal(size=DIM)
            writer.append([view.record(row.astype(np.float16))])
        writer.publish(views)
    parts = [LabelledPhotos(photos[part], classes[part]) for part in (slice(45), slice(45, 60))]
    return StoredBatches(*parts, 0, ActivationReader(path))


class Base(torch.nn.Module):
    """A tiny top that can be told to fail."""

    def __init__(self, fail=None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(DIM, 5)
        self._fail = fail

    def forward(self, inputs):
        if self._fail and self.training:
            self._fail(inputs)
        return self.layer(inputs.float())


def trainer(batches, checkpoint, config=CONFIG, fail=None, identity="same", said=None):
    start = np.zeros((CLASSES, 5), np.float32), np.zeros(CLASSES, np.float32)
    model = Classifier(Base(fail), *start)
    notice = (said if said is not None else []).append
    return Trainer(
        model,
        batches,
        TrainingSetup(config, checkpoint, identity, CrossEntropy(smoothing=config.smoothing)),
        notice,
    ), model


def test_it_learns_and_keeps_the_best_epoch(batches, tmp_path):
    run, model = trainer(batches, tmp_path / "c", dataclasses.replace(CONFIG, lr=0.05, epochs=8))
    done = run.run()
    accuracy = [one["validation_accuracy"] for one in done.history]
    assert accuracy[done.best] == max(accuracy) > accuracy[0]
    right = [float((model.eval()(x).argmax(1) == y).sum()) for x, y in batches.validation(100)]
    assert sum(right) / 15 == pytest.approx(accuracy[done.best])


def test_the_same_seed_gives_the_same_and_a_killed_run_continues(batches, tmp_path):
    whole, first = trainer(batches, tmp_path / "a")
    whole.run()
    calls = []

    def kill(_):
        calls.append(1)
        if len(calls) > 14:  # in the third epoch of six steps
            raise KeyboardInterrupt

    killed, _ = trainer(batches, tmp_path / "b", fail=kill)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    said: list[str] = []
    again, second = trainer(batches, tmp_path / "b", said=said)
    done = again.run()
    assert said[0] == "continuing after epoch 2"
    assert [one["epoch"] for one in done.history] == [0, 1, 2, 3, 4]
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_another_training_starts_over(batches, tmp_path):
    trainer(batches, tmp_path / "c")[0].run()
    said: list[str] = []
    trainer(batches, tmp_path / "c", identity="other", said=said)[0].run()
    assert said[0].startswith("epoch 0:")


def test_a_loss_that_is_not_finite_stops_it(batches, tmp_path):
    calls = []

    def wild(inputs):
        calls.append(1)
        if len(calls) > 8:
            inputs.fill_(torch.inf)

    run, model = trainer(batches, tmp_path / "c", fail=wild)
    done = run.run()
    assert done.stopped == "the loss was not finite in epoch 2"
    assert "a lower --lr may help" in done.remarks[0].text
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    calls += [1] * 8
    with pytest.raises(HeadstartError, match="not finite in epoch 1; nothing was trained"):
        trainer(batches, tmp_path / "d", fail=wild)[0].run()


def test_where_memory_does_not_suffice_batches_are_halved(batches, tmp_path):
    def full(inputs):
        if len(inputs) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    done = trainer(batches, tmp_path / "c", fail=full)[0].run()
    assert done.batch == 2
    assert [one["epoch"] for one in done.history] == [0, 1, 2, 3, 4]
    assert "memory" in done.remarks[-1].text
    assert "batch size is now 2" in done.remarks[-1].text


def test_remarks_of_a_former_checkpoint_are_texts():
    new = Progress.of(dataclasses.asdict(Progress(remarks=[remark("HS904", "b")])))
    assert new.remarks == [remark("HS904", "b")]
    assert [old.text for old in Progress.of({"remarks": ["a"]}).remarks] == ["a"]


def test_it_stops_when_validation_does_not_improve(batches, tmp_path):
    config = dataclasses.replace(CONFIG, lr=1e-12, head_lr=1e-12, epochs=30, patience=2)
    done = trainer(batches, tmp_path / "c", config)[0].run()
    assert done.stopped == "no better validation in 2 epochs"
    assert len(done.history) < 31


def test_every_view_is_shown_once_in_so_many_epochs(batches):
    shown = [torch.cat([x for x, _ in batches.train(epoch, 45)]) for epoch in (1, 2)]
    assert len(torch.cat(shown).unique(dim=0)) == 90


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(RunnerError, match="finds no NVIDIA GPU"):
        choose_device("cuda")


def test_overfitting_is_warned_of_once(batches, tmp_path):
    validating = batches.validating._replace(targets=(batches.validating.targets + 1) % CLASSES)
    shuffled = dataclasses.replace(batches, validating=validating)
    said: list[str] = []
    config = dataclasses.replace(CONFIG, lr=0.05, head_lr=0.05, epochs=6)
    done = trainer(shuffled, tmp_path / "c", config, said=said)[0].run()
    about = [one.text for one in done.remarks if one.code == "HS905"]
    assert len(about) == 1
    assert f"WARNING: {about[0]}" in said
    assert "--views" in about[0]
    calm = trainer(batches, tmp_path / "d", dataclasses.replace(CONFIG, epochs=1))[0].run()
    assert not calm.remarks


def test_classes_weigh_what_they_are_given(batches, tmp_path):
    start = np.zeros((CLASSES, 5), np.float32), np.zeros(CLASSES, np.float32)
    config = dataclasses.replace(CONFIG, lr=0.05, head_lr=0.05, smoothing=0.0)
    shares = []
    for weights in (None, np.array([50.0, 1e-3, 1e-3], np.float32)):
        model = Classifier(Base(), *start)
        place = tmp_path / str(len(shares))
        run = Trainer(model, batches, TrainingSetup(config, place, "w", CrossEntropy(weights)))
        run.run()
        answers = [run._average.module(x).argmax(1) for x, _ in batches.validation(100)]
        shares.append(float((torch.cat(answers) == 0).float().mean()))
    assert shares[1] > shares[0]
