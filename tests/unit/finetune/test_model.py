"""What is trained, and how it is held: rates by depth, the pull to the start."""

from __future__ import annotations

import numpy as np
import torch
from headstart.finetune.model import Anchor, Classifier, freeze_norms, groups


def classifier() -> Classifier:
    base = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 5),
    )
    return Classifier(base, np.zeros((3, 5), np.float32), np.zeros(3, np.float32))


def test_later_layers_learn_faster_and_the_classifier_at_its_own_rate():
    model = classifier()
    found = groups(model, lr=1.0, head_lr=7.0, depth_decay=0.5)
    rates = [float(group["lr"]) for group in found]  # type: ignore[arg-type]
    assert rates == sorted(rates)
    assert rates[-2:] == [1.0, 7.0]
    assert 0.5 <= rates[0] < 1.0
    held = [p for group in found for p in group["params"]]  # type: ignore[attr-defined]
    assert {id(p) for p in held} == {id(p) for p in model.parameters()}


def test_weights_are_drawn_to_where_they_started_and_biases_are_not():
    model = classifier()
    optimizer = torch.optim.SGD(groups(model, 0.5, 0.5, 1.0), lr=0.5)
    anchor = Anchor(model, optimizer, decay=0.2)
    start = [p.detach().clone() for p in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    anchor.pull()
    for parameter, first in zip(model.parameters(), start, strict=True):
        moved = 0.9 if parameter.dim() > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), first + moved)


def test_frozen_statistics_stay_while_weights_learn():
    model = classifier().train()
    freeze_norms(model)
    norm = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    model(torch.randn(6, 3, 4, 4) * 9).sum().backward()
    assert norm.running_mean is not None
    assert not norm.running_mean.any()
    assert norm.weight.requires_grad
    assert model.training
