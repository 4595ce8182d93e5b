"""Settings of a training: defaults of each mode, and values that are refused."""

from __future__ import annotations

import pytest
from headstart.core.choices import MODES
from headstart.core.errors import InputError
from headstart.finetune.config import FinetuneConfig


@pytest.mark.parametrize("mode", MODES)
def test_settled_fills_only_what_is_not_set(mode):
    settled = FinetuneConfig(mode=mode).settled()
    assert None not in (settled.epochs, settled.lr, settled.head_lr, settled.depth_decay)
    own = FinetuneConfig(mode=mode, epochs=3, lr=0.5).settled()
    assert (own.epochs, own.lr, own.head_lr) == (3, 0.5, settled.head_lr)
    assert settled.settled() == settled


def test_another_mode_has_its_own_rates_and_no_boundary():
    top = FinetuneConfig(boundary="blocks.4", lr=0.5, epochs=3, views=2).settled()
    everything = top.for_mode("all")
    assert (everything.boundary, everything.epochs, everything.views) == ("", 3, 2)
    assert everything.lr == FinetuneConfig(mode="all").settled().lr
    assert top.for_mode("top").boundary == "blocks.4"


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "some"}, {"mode": "all", "boundary": "x"}, {"views": 0}, {"epochs": 0}, {"batch": 0}],
)
def test_a_wrong_value_is_refused(wrong):
    with pytest.raises(InputError):
        FinetuneConfig(**wrong)
