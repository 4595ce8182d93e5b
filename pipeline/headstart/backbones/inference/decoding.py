"""The same network for images prepared by other rules: their range, colours, policy, fit or views.

The rules are part of the file's description, so stores, models, servers and the example that comes
with a model all follow them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference import external_data, parity
from headstart.backbones.inference.description import METADATA, read_backbone, read_metadata
from headstart.backbones.inference.runner import Runner
from headstart.backbones.inference.views import averaging, views_of
from headstart.core.cache import cached_file
from headstart.core.choices import FITS
from headstart.core.errors import BackboneError, one_line
from headstart.core.files import replacing
from headstart.core.preprocess import canonical_views
from headstart.core.records import Backbone, Preprocess


def with_rules(
    model: Path, value_range: str, colour: str, policy: int = 0, fit: str = "", views: str = ""
) -> Path:
    """Return an exported file whose description has these rules; empty and 0 keep its own.

    The certificate is checked as the exporter issued it, and issued again by the new rules.

    Raises:
        BackboneError: this machine's features differ from the exporter's, or the file cannot follow
            a rule.
    """
    metadata = read_metadata(model)
    backbone = read_backbone(metadata, model)
    own = backbone.preprocess
    rules = dataclasses.replace(
        own,
        value_range=value_range or own.value_range,
        colour=colour or own.colour,
        policy=policy or own.policy,
    )
    rules = _viewed(fitted(rules, fit, backbone), views, backbone)
    if rules == own:
        return model
    described = dataclasses.replace(backbone, preprocess=rules)
    read_backbone({METADATA: json.dumps(described.to_json())}, model)  # knows the policy
    key = hashlib.sha256(model.read_bytes() + _text(rules, own).encode()).hexdigest()[:16]
    name = "".join(char if char.isalnum() or char in "-._" else "-" for char in backbone.name)
    path = cached_file("backbones", f"{name}-rules-{key}.onnx")
    if not path.is_file():
        _write(model, path, metadata, described)
    return path


def _text(rules: Preprocess, own: Preprocess) -> str:
    text = f"{rules.value_range} {rules.colour}"
    if rules.policy != own.policy:
        text += f" {rules.policy}"
    if (rules.resize, rules.fit, rules.views) != (own.resize, own.fit, own.views):
        text += f" {rules.resize} {rules.fit} {rules.fill} {rules.views}"
    return text


def fitted(own: Preprocess, fit: str, backbone: Backbone) -> Preprocess:
    """Return a preprocessing that fits images into the network's input in one of `FITS`."""
    if fit not in ("", *FITS):
        raise BackboneError(f"no fit {one_line(fit)!r}; use one of: {', '.join(FITS)}")
    if fit in ("", own.fit):
        return own
    name = one_line(backbone.name)
    if fit == "whole":
        raise BackboneError(
            f"{name} was exported for images of {_shown(own.input_size)}; export it with --fit "
            "whole, or use pad or squash"
        )
    if own.fit == "whole":
        raise BackboneError(f"{name} was exported for --fit whole; export it again for {fit}")
    if len(own.each_view) > 1 and fit != "crop":
        raise BackboneError(_CROP)
    if fit == "crop":
        resize = own.resize if isinstance(own.resize, int) else max(own.resize)
        return dataclasses.replace(own, resize=resize, fit="", fill=())
    if backbone.networks and fit == "pad":
        raise BackboneError("--fit pad is of one network; several side by side crop or squash")
    padded = {"fit": "pad", "fill": _mean(backbone)} if fit == "pad" else {"fit": "", "fill": ()}
    return dataclasses.replace(own, resize=own.input_size, **padded)


_CROP = "sums of --views show the network's own crop; leave --fit out, or take --views flip"


def _mean(backbone: Backbone) -> tuple[int, ...]:
    """Return the colour that is about zero after the normalisation."""
    return tuple(min(255, max(0, int(255 * mean + 0.5))) for mean in backbone.mean)


def _viewed(own: Preprocess, views: str, backbone: Backbone) -> Preprocess:
    """Return a preprocessing to several views."""
    try:
        views = canonical_views(views)
    except ValueError as error:
        raise BackboneError(one_line(error)) from error
    if views in ("", own.views):
        return own
    name = one_line(backbone.name)
    if own.views:
        raise BackboneError(f"{name} was exported for --views {own.views}; export it again")
    if views == "flip":
        return dataclasses.replace(own, views=views)
    if own.fit or own.resize == own.input_size:
        raise BackboneError(_CROP)
    if backbone.networks:
        raise BackboneError(f"--views {views} is of one network; several side by side take flip")
    if own.quality:
        raise BackboneError("--quality best shows two views already; leave --views out")
    resize = own.resize if isinstance(own.resize, int) else max(own.resize)
    fill = _mean(backbone) if "pad" in views else ()
    return dataclasses.replace(own, resize=resize, views=views, fill=fill)


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"


def _write(model: Path, path: Path, metadata: dict[str, str], backbone: Backbone) -> None:
    import onnx

    runner = Runner(model)
    own, rules = runner.backbone.preprocess, backbone.preprocess
    parity.check_metadata(runner.metadata, runner.embed, own)
    graph = onnx.load(model, load_external_data=False)
    embed: parity.Embed = runner.embed
    if rules.views != own.views:
        external_data.refuse(model, "--views")
        graph, embed = averaging(graph, rules), partial(_mean_of_views, runner, rules.views)
    changed = {METADATA: json.dumps(backbone.to_json())}
    proof = parity.issue(embed, rules, backbone.widths)
    changed[parity.METADATA] = proof.to_json()
    changed |= external_data.move(graph, model, path)
    onnx.helper.set_model_props(graph, metadata | changed)
    with replacing(path) as unfinished:
        onnx.save(graph, unfinished)
        if rules.views != own.views:
            onnx.checker.check_model(graph)
            parity.check(proof, Runner(unfinished).embed, rules)


def _mean_of_views(runner: Runner, views: str, arrays: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows = [runner.embed(np.ascontiguousarray(view)) for view in views_of(arrays, views)]
    mean: NDArray[np.float32] = np.mean(rows, axis=0, dtype=np.float32)
    return mean
