"""Network, head and distance in one graph, in the oldest format that supports it."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference import external_data
from headstart.backbones.inference.description import (
    DISTANCE,
    HEAD_INPUT,
    MODEL_METADATA,
    OUTPUT,
    PROBABILITIES,
)
from headstart.core.onnx_format import ModelProto
from headstart.models import seal
from headstart.models.novelty import Reference

_NOVELTY = "novelty_"  # prefix of the distance's names in the joined graph
_HEAD = "head_"  # prefix of the head's names in the joined graph
# The first onnxruntime that reads an opset (onnxruntime.ai/docs/reference/compatibility).
_OLDEST_RUNTIME = {18: "1.14", 19: "1.15", 20: "1.17", 21: "1.18", 22: "1.21", 23: "1.22"}


def named_scores(graph: ModelProto) -> ModelProto:
    """Return a head's graph with its scores as ``probabilities``, and no other output yet."""
    from onnx import compose, helper

    graph = compose.add_prefix(graph, _HEAD)
    scores = graph.graph.output[-1].name
    del graph.graph.output[:]
    graph.graph.node.append(helper.make_node("Identity", [scores], [PROBABILITIES]))
    return graph


def joined(trunk: ModelProto | None, head: ModelProto, reference: Reference | None) -> ModelProto:
    """Return backbone, head and distance in one graph, in the oldest format that supports it.

    Without a backbone, the graph takes features.
    """
    from onnx import helper

    if trunk is None:
        model = _taking_features(head)
    else:
        head.ir_version = trunk.ir_version
        merge = _appended if external_data.is_outside(trunk) else _merged
        model = merge(trunk, head)
        model.graph.output.append(trunk.graph.output[0])  # for embeddings and the parity check
    if reference is not None:
        add_distance(model, reference)
    for node in model.graph.node:  # debugging notes of the exporter
        node.ClearField("doc_string")
        del node.metadata_props[:]
    del model.graph.value_info[:]
    declare_operators(model)
    oldest = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    model.ir_version = head.ir_version = oldest
    return model


def _merged(trunk: ModelProto, head: ModelProto) -> ModelProto:
    from onnx import compose

    return compose.merge_models(trunk, head, io_map=[(OUTPUT, HEAD_INPUT)], name="headstart")


def _appended(trunk: ModelProto, head: ModelProto) -> ModelProto:
    """Merge as onnx does, which insists on finding the weights that are outside the graph."""
    model = type(trunk)()
    model.CopyFrom(trunk)
    model.graph.name = "headstart"
    for node in head.graph.node:
        copy = model.graph.node.add()
        copy.CopyFrom(node)
        copy.input[:] = [OUTPUT if name == HEAD_INPUT else name for name in node.input]
    model.graph.initializer.extend(head.graph.initializer)
    del model.graph.output[:]
    model.graph.output.extend(head.graph.output)
    domains = {entry.domain for entry in model.opset_import}
    model.opset_import.extend(e for e in head.opset_import if e.domain not in domains)
    return model


def _taking_features(head: ModelProto) -> ModelProto:
    """Return a copy of a head's graph whose input is called ``features``."""
    model = type(head)()
    model.CopyFrom(head)
    model.graph.name = "headstart"
    model.graph.input[0].name = OUTPUT
    for node in model.graph.node:
        node.input[:] = [OUTPUT if name == HEAD_INPUT else name for name in node.input]
    return model


def add_distance(model: ModelProto, reference: Reference) -> None:
    """Add ``distance``, ``(n,) float32``, computed from features as `Reference.distances` does.

    The reference is stored in float16, which halves its size; the runtime casts it once.
    """
    from onnx import TensorProto, helper, numpy_helper

    def name(part: str) -> str:
        return _NOVELTY + part

    constants: dict[str, NDArray[Any]] = {
        "reference": np.ascontiguousarray(reference.rows.T),
        "neighbours": np.array([reference.neighbours], np.int64),
        "last": np.array([reference.neighbours - 1], np.int64),
        "one": np.array(1, np.float32),
        "axis": np.array([1], np.int64),
    }
    graph = model.graph
    graph.initializer.extend(
        numpy_helper.from_array(value, name(part)) for part, value in constants.items()
    )
    steps: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
        ("LpNormalization", [OUTPUT], ["unit"], {"axis": 1, "p": 2}),
        ("Cast", [name("reference")], ["columns"], {"to": TensorProto.FLOAT}),
        ("MatMul", [name("unit"), name("columns")], ["cosine"], {}),
        ("TopK", [name("cosine"), name("neighbours")], ["nearest", "which"], {"axis": 1}),
        ("Gather", [name("nearest"), name("last")], ["kth"], {"axis": 1}),
        ("Squeeze", [name("kth"), name("axis")], ["flat"], {}),
    ]
    for kind, inputs, outputs, attributes in steps:
        graph.node.append(helper.make_node(kind, inputs, list(map(name, outputs)), **attributes))
    graph.node.append(helper.make_node("Sub", [name("one"), name("flat")], [DISTANCE]))
    graph.output.append(helper.make_tensor_value_info(DISTANCE, TensorProto.FLOAT, ["n"]))


def needs(model: ModelProto) -> dict[str, Any]:
    """Return the software that wrote the file, and the oldest runtime that reads it."""
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    oldest = _OLDEST_RUNTIME.get(max(18, opsets["ai.onnx"]), version("onnxruntime"))
    return {
        "software": {name: version(name) for name in ("headstart", "scikit-learn", "skl2onnx")},
        "opset": opsets,
        "ir_version": model.ir_version,
        "min_onnxruntime": oldest,
    }


def save_sealed(
    model: ModelProto, metadata: dict[str, str], facts: dict[str, Any], path: Path
) -> None:
    """Check a model, and write it with its metadata and facts; the seal comes last."""
    import onnx

    properties = metadata | {MODEL_METADATA: json.dumps(facts), seal.KEY: seal.blank()}
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)
    external_data.check_model(model, path)
    seal.seal(path)


def declare_operators(model: ModelProto) -> None:
    """Declare each operator set that a graph uses exactly once, as the quantiser requires."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    used = {node.domain for node in model.graph.node}
    del model.opset_import[:]
    for domain in sorted(used | {""}):
        model.opset_import.add(domain=domain, version=versions[domain])
