"""Settings of a training: defaults of each mode, and values that are refused."""

from __future__ import annotations

import pytest
from headstart.core.choices import MODES
from headstart.core.errors import InputError
from headstart.finetune.config import FinetuneConfig


@pytest.mark.parametrize("mode", MODES)
def test_settled_fills_only_what_is_not_set(mode):
    settled = FinetuneConfig(mode=mode).settled(1000)
    chosen = ("epochs", "views", "lr", "head_lr", "depth_decay")
    assert None not in [getattr(settled, name) for name in chosen]
    own = FinetuneConfig(mode=mode, epochs=3, lr=0.5).settled(1000)
    assert (own.epochs, own.lr, own.head_lr) == (3, 0.5, settled.head_lr)
    assert settled.settled(1000) == settled


@pytest.mark.parametrize(
    ("images", "epochs", "views"),
    [(1, 12, 8), (1_500, 12, 8), (2_000, 9, 6), (2_977, 6, 4), (3_000, 6, 4), (100_000, 6, 4)],
)
def test_many_images_are_shown_less_often(images, epochs, views):
    settled = FinetuneConfig().settled(images)
    assert (settled.epochs, settled.views) == (epochs, views)
    longer = FinetuneConfig(epochs=12).settled(images)
    assert (longer.epochs, longer.views) == (12, 8)
    assert FinetuneConfig(views=3).settled(images).views == 3
    for mode, other in (("head", 30), ("all", 12)):
        assert FinetuneConfig(mode=mode).settled(images).epochs == other


def test_another_mode_has_its_own_rates_and_no_boundary():
    top = FinetuneConfig(boundary="blocks.4", lr=0.5, epochs=3, views=2).settled(1000)
    everything = top.for_mode("all", 1000)
    assert (everything.boundary, everything.epochs, everything.views) == ("", 3, 2)
    assert everything.lr == FinetuneConfig(mode="all").settled(1000).lr
    assert top.for_mode("top", 1000).boundary == "blocks.4"


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "some"}, {"mode": "all", "boundary": "x"}, {"views": 0}, {"epochs": 0}, {"batch": 0}],
)
def test_a_wrong_value_is_refused(wrong):
    with pytest.raises(InputError):
        FinetuneConfig(**wrong)
