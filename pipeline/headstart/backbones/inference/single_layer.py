"""Cut one layer out of an exported backbone with several, without what is behind it.

A head reads one layer, so its classifier should compute no more than that.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from headstart.backbones.inference import external_data, parity
from headstart.backbones.inference.description import (
    INPUT,
    METADATA,
    OUTPUT,
    output_names,
    read_backbone,
    read_metadata,
)
from headstart.backbones.inference.runner import Runner
from headstart.core.cache import cached_file
from headstart.core.errors import BackboneError, one_line
from headstart.core.files import replacing

VERSION = 1  # of what this module makes; part of the cache key
_PREFIX = "whole."  # of names in the graph that the layer is cut out of


def one_layer(model: Path, number: int) -> Path:
    """Return the file of one of `Backbone.parts`, by number, making it if the cache lacks it.

    It has the description that `headstart.backbones.export` writes for that layer alone, and that
    layer's part of the certificate.

    Raises:
        BackboneError: the layer cannot be cut out, or gives other features.
    """
    import onnx
    from onnx import compose
    from onnx.utils import Extractor

    metadata = read_metadata(model)
    whole = read_backbone(metadata, model)
    backbone = whole.split_layers()[number]
    key = hashlib.sha256(model.read_bytes() + f"layer {number} {VERSION}".encode()).hexdigest()
    path = cached_file("backbones", f"layer-{key[:24]}.onnx")
    if path.is_file():
        return path
    proof = parity.Certificate.from_json(metadata[parity.METADATA]).of_layer(number)
    output = output_names(whole)[number]
    try:
        graph = onnx.load(model)
        part = Extractor(graph).extract_model([INPUT], [output])
        # A prefix for all values, so that none already has the name of the new output.
        part = compose.add_prefix(part, _PREFIX)
        part.graph.input[0].name, part.graph.output[0].name = INPUT, OUTPUT
        part.graph.node.insert(0, onnx.helper.make_node("Identity", [INPUT], [_PREFIX + INPUT]))
        part.graph.node.append(onnx.helper.make_node("Identity", [_PREFIX + output], [OUTPUT]))
    except Exception as error:  # the extractor raises anything on foreign graphs
        raise BackboneError(
            f"layer {one_line(backbone.layer)} cannot be taken out of {one_line(model)}: "
            f"{one_line(error)[:200]}"
        ) from error
    named = {METADATA: json.dumps(backbone.to_json()), parity.METADATA: proof.to_json()}
    inherited = {key: text for key, text in metadata.items() if key != external_data.KEY}
    onnx.helper.set_model_props(part, inherited | named)
    with replacing(path) as partial:
        external_data.save(part, partial, path)
        parity.check(proof, Runner(partial).embed, backbone.preprocess)
    return path
