"""Names of tensors: what may be renamed, and what is in doubt."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.backbones.renaming import by_order, without_prefixes

OWN = {
    "stem.weight": (8, 3),
    "blocks.0.weight": (8, 8),
    "blocks.0.bias": (8,),
    "blocks.1.weight": (8, 8),
    "blocks.1.bias": (8,),
    "head.weight": (10, 8),
}
OTHER = [
    "conv.weight",
    *("layers.2.weight", "layers.2.bias", "layers.10.weight", "layers.10.bias"),
    "fc.weight",
]


def tensors(names, shapes=OWN):
    return {name: np.zeros(shape) for name, shape in zip(names, shapes.values(), strict=True)}


def test_order_shapes_and_kinds_decide():
    own, state = tensors(OWN), tensors(OTHER)
    renamed = by_order(own, state, ("head.",))
    assert list(renamed) == list(OWN)
    assert renamed["blocks.1.bias"] is state["layers.10.bias"]


def test_a_classifier_may_be_of_other_classes():
    state = tensors(OTHER, OWN | {"head.weight": (3, 8)})
    assert by_order(tensors(OWN), state, ("head.",)) is not None
    assert by_order(tensors(OWN), state, ()) is None


@pytest.mark.parametrize(
    "names",
    [
        OTHER[:1] + OTHER[3:5] + OTHER[1:3] + OTHER[5:],  # sorted as text: 10 before 2
        [name.replace("layers.2.bias", "layers.2.gamma") for name in OTHER],
        [name.replace("layers.2.bias", "layers.3.bias") for name in OTHER],
        [name.replace("layers.10.bias", "layers.11.bias") for name in OTHER],
        ["stem.weight", *OTHER[1:]],
    ],
)
def test_what_is_in_doubt_is_left_alone(names):
    assert by_order(tensors(OWN), tensors(names), ("head.",)) is None


def test_two_modules_of_one_are_left_alone():
    names = [name.replace("layers.10.", "layers.2.x.") for name in OTHER]
    assert by_order(tensors(OWN), tensors(names), ()) is not None
    shared = {"a.weight": 0, "a.bias": 0}
    own = {"a.weight": np.zeros(2), "b.bias": np.zeros(2)}
    assert by_order(own, {f"n.{key}": np.zeros(2) for key in shared}, ()) is None


def test_prefixes_of_most_names():
    notes: list[str] = []
    state = {"module.model.backbone.a.weight": 1, "module.model.backbone.b": 2, "module.c": 3}
    assert without_prefixes(state, notes) == {"a.weight": 1, "b": 2}
    assert [note.split()[2] for note in notes] == ["module.", "model.", "backbone."]
    torchs = without_prefixes(state, None)
    assert torchs.keys() == {"model.backbone.a.weight", "model.backbone.b", "c"}
    few = {"backbone.a": 1, "b": 2, "c": 3}
    assert without_prefixes(few, notes) == few
