"""From the description of a backbone back to the choice that made it."""

from __future__ import annotations

import dataclasses
from typing import Any

from headstart.backbones import onnx_file
from headstart.backbones.layers import OWN
from headstart.backbones.onnx_import import recipe
from headstart.core.errors import BackboneError
from headstart.core.names import RANDOM
from headstart.core.records import Backbone, Choice

POOL = "avg"  # the default of every layer that can be pooled
BETWEEN = "\n"  # between the user's files of several networks


def choice_of(backbone: Backbone, weights_file: str = "") -> Choice:
    """Return the choice that gives a backbone again.

    ``weights_file`` is where the user's own weights or ONNX file were, if there were any.

    Raises:
        BackboneError: the weights or the file were the user's, and their location is unknown.
    """
    if backbone.networks:
        files = weights_file.split(BETWEEN) if weights_file else [""] * len(backbone.networks)
        several = tuple(map(choice_of, backbone.networks, files))
        choice = Choice(backbone.name, networks=several)
    else:
        choice = _network_of(backbone, weights_file)
    rules = backbone.preprocess
    return dataclasses.replace(
        choice,
        value_range=rules.value_range,
        colour=rules.colour,
        policy=rules.policy,
        quality=rules.quality,
        fit="" if backbone.networks else fit_of(backbone),
        size=None if backbone.networks else size_of(backbone),
        views=rules.views,
    )


def fit_of(backbone: Backbone) -> str:
    """Return how images are fitted into a backbone's input, as `Choice.fit`."""
    rules = backbone.preprocess
    if rules.fit or len(rules.each_view) > 1:
        return rules.fit
    if isinstance(rules.resize, int):
        return "crop"
    return "squash" if backbone.networks or rules.resize == rules.input_size else ""


def size_of(backbone: Backbone) -> tuple[int, int] | None:
    """Return the size that the user chose for a backbone; None for its own."""
    sizes = {
        None if rules.own_size else rules.input_size
        for rules in (each.preprocess for each in backbone.networks or (backbone,))
    }
    return sizes.pop() if len(sizes) == 1 else None


def _network_of(backbone: Backbone, weights_file: str) -> Choice:
    if backbone.name.startswith(f"{onnx_file.NAME}:"):
        if not weights_file:
            raise BackboneError("it was made from an ONNX file of yours")
        name, layer, pool = f"onnx:{weights_file}", backbone.layer, backbone.pool
        return Choice(name, "", layer, pool, recipe.of(backbone))
    name, plus, weights = backbone.name.partition("+")
    if weights and plus + weights.partition(":")[0] != RANDOM:
        if not weights_file:
            raise BackboneError(
                f"its weights were a file by the user with SHA-256 {backbone.weights_sha256}"
            )
        weights = weights_file
    preprocess = "" if backbone.preprocess.own_values else recipe.of(backbone)
    return Choice(name, weights, preprocess=preprocess, **cut_of(backbone))


def cut_of(backbone: Backbone) -> dict[str, Any]:
    """Return where a backbone is cut, as the fields of a `Choice`."""
    # Poolings differ only if the user chose none, which gave each layer its default.
    default = OWN in backbone.pool or "," in backbone.pool or backbone.pool == POOL
    layers = tuple(part.layer for part in backbone.parts)
    layer = "" if layers else backbone.layer
    return {"layer": layer, "layers": layers, "pool": "" if default else backbone.pool}
