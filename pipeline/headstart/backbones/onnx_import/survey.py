"""Say what a foreign file is: who wrote it, what it takes, how to prepare images, where to cut."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from headstart.backbones.layers import Layer
from headstart.backbones.onnx_import import cut as cutting
from headstart.backbones.onnx_import import load, metadata, steps, wrap
from headstart.backbones.onnx_import.graph import Graph
from headstart.backbones.onnx_import.recipe import Recipe
from headstart.backbones.onnx_import.shapes import shapes_of
from headstart.core.errors import one_line
from headstart.core.onnx_format import ModelProto, NodeProto

_ARITHMETIC = ("Sub", "Mul", "Div", "Add", "BatchNormalization")
_UNIT = 2.0  # what is subtracted from pixels of 0 to 1, at most
_MOST = 8  # features to try first
_HINTS = (  # preset, what in the file's name, producer or tensors suggests it, and why
    ("imagenet", r"ocr\S*det", "PaddleOCR's detectors take ImageNet's mean and deviation"),
    ("inception", r"pp-?ocr|ppocr|crnn", "PaddleOCR's readers take -1…1"),
    ("unit", r"yolo|ultralytics|darknet", "YOLO networks take 0…1"),
    ("caffe", r"nsfw|caffe|googlenet|alexnet|vgg|squeezenet", "networks of Caffe's age"),
    ("openface", r"openface|nn4", "OpenFace takes 0…1 of 96 pixels"),
    ("inception", r"mobilenet|inception|xception|mtcnn|arcface|facenet", "its kind takes -1…1"),
    ("tfhub", r"feature_vector|tfhub", "TensorFlow Hub's convention"),
    ("imagenet", r"pytorch|torch|paddle", "the usual values of torchvision, timm and PaddleClas"),
    ("inception", r"tf2onnx|keras", "the most frequent values of Keras; try caffe and raw too"),
)


def survey(path: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Return what a file is, as a JSON document.

    ``options`` are a ``recipe``, as for `steps.list_tensors`, and the file's ``name``.

    ``layers`` are the features worth trying first, the default one first, and ``reasons`` say why
    ``preprocess`` is proposed.

    Raises:
        BackboneError: it is no network of images.
    """
    model, _ = load.read(path)
    graph = Graph(model)
    wrap.check_inputs(graph)
    recipe = options["recipe"]
    settings = Recipe.from_json(recipe) if isinstance(recipe, dict) else Recipe()
    shapes = cache(partial(shapes_of, model, graph, settings))
    names = metadata.class_names(model)
    cut = cutting.choose(graph, "", shapes, len(names))
    image_input = wrap.input_of(wrap.subgraph(model, graph, cut.tensor), settings)
    sized, why = steps.sized(settings, image_input, *metadata.size(model))
    preset, reason = metadata.preparation(model), "as the file's metadata say"
    guess = not preset or _takes_whole(graph)
    if guess:
        preset, reason = _preset(options["name"], model, graph)
    if why and sized.size and guess:
        preset = f"{preset}:{sized.size[0]}x{sized.size[1]}"
        shapes = cache(partial(shapes_of, model, graph, sized))
    return {
        "written_by": one_line(f"{model.producer_name} {model.producer_version}").strip(),
        "opset": load.opset_of(model),
        "inputs": [wrap.described(value) for value in graph.inputs],
        "outputs": [one_line(name) for name in graph.outputs],
        "licence": metadata.licence(model),
        "classes": len(names),
        "layer": cut.node,
        "default": cut.note,
        "preprocess": preset,
        "guess": guess,
        "reasons": [reason, *filter(None, [why])],
        "layers": [dataclasses.asdict(layer) for layer in _first(graph, cut.node, shapes().layers)],
    }


def _preset(name: str, model: ModelProto, graph: Graph) -> tuple[str, str]:
    """Return the preset to try first, and why."""
    if _takes_whole(graph):
        return "raw", "its input takes whole numbers"
    steps = _first_steps(graph)
    if steps:
        kinds = ", ".join(node.op_type for node in steps)
        small = steps[0].op_type in ("Sub", "Add") and _largest(graph, steps[0]) <= _UNIT
        preset = "unit" if small else "raw"
        pixels = "0…1" if small else "0…255"
        return preset, f"it begins with {kinds}, so it normalises pixels of {pixels} by itself"
    words = [name, model.producer_name, *metadata.words(model), model.graph.name]
    words += [name for node in [*graph.graph.node][:20] for name in node.output]
    text = " ".join(words).lower()
    for preset, pattern, why in _HINTS:
        match = re.search(pattern, text)
        if match:
            return preset, f"{one_line(match[0])} in its names: {why}"
    return "imagenet", "nothing in the file says otherwise; try caffe, inception, unit and raw too"


def _takes_whole(graph: Graph) -> bool:
    wholes = {kind for kind, dtype in wrap.types().items() if dtype in wrap.WHOLE}
    return any(value.type.tensor_type.elem_type in wholes for value in graph.images)


def _first_steps(graph: Graph) -> list[Any]:
    """Return the arithmetic between the image and the first layer with weights."""
    steps: list[Any] = []
    for node in graph.graph.node:
        if graph.moving.isdisjoint(node.output):
            continue
        if graph.linear([node]):
            return steps
        if node.op_type == "DynamicQuantizeLinear":
            return steps  # what follows is arithmetic of ranges
        fixed = len(graph.moving_inputs(node)) == 1  # else it scales an image by its own range
        if node.op_type in _ARITHMETIC and fixed:
            steps.append(node)
    return []


def _largest(graph: Graph, node: NodeProto) -> float:
    """Return the largest constant that a node reads; infinity if it is not in the file."""
    from onnx import numpy_helper

    constants = [graph.constant(name) for name in node.input if name not in graph.moving]
    values = [abs(numpy_helper.to_array(value)).max() for value in constants if value is not None]
    return float(max(values, default=math.inf))


def _first(graph: Graph, default: str, layers: Sequence[Layer]) -> list[Layer]:
    """Return the default layer, other vectors before the head, and the last maps of each size."""
    by_name = {layer.name: layer for layer in layers}
    gates = [stretch.end for stretch in graph.stretches(default)]
    padded = {gate for gate in gates if graph.maker[gate].op_type == "Pad"}  # what they pad is one
    ordered = [by_name[gate] for gate in reversed(gates) if gate in by_name and gate not in padded]
    last: dict[tuple[int, ...], Layer] = {}
    for layer in ordered:
        places = layer.shape[1:] if layer.layout == "chw" else layer.shape[:-1]
        last.setdefault(places if layer.is_map else (layer.dim("avg"),), layer)
    chosen = [layer for layer in last.values() if layer.dim("avg") > 3]
    return ([by_name[default]] if default in by_name and by_name[default] not in chosen else []) + (
        chosen[:_MOST]
    )
