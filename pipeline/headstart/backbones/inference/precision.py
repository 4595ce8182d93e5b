"""Exported backbones in another precision: cheaper to run, and proved close enough.

Half precision halves memory traffic and suits the matrix units of GPUs. A CPU without
half-precision arithmetic runs such a file through float32 and gains nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from headstart.backbones.inference import external_data, parity
from headstart.backbones.inference.description import (
    METADATA,
    describe,
    read_backbone,
    read_metadata,
)
from headstart.backbones.inference.runner import Runner
from headstart.core.cache import cached_file
from headstart.core.choices import PRECISIONS
from headstart.core.errors import BackboneError, one_line
from headstart.core.files import replacing
from headstart.core.onnx_format import ModelProto

VERSION = 1  # of what this module makes; part of the cache key


def variant(model: Path, precision: str) -> Path:
    """Return an exported fp32 file in another precision, converting it if the cache lacks it.

    ``precision`` is ``fp32`` (the file itself), ``fp16``, or the ``int8+`` name of a file that
    `headstart.backbones.inference.precision_choice` made. The description names the precision, so
    the features have a digest of their own. An fp16 file keeps the exporter's certificate, so its
    features are compared with torch's in float32 on every machine.

    Raises:
        BackboneError: it cannot be converted, or drifts further than the certificate allows.
    """
    if precision in ("int8", "auto"):
        raise BackboneError(
            f"precision {precision} is measured on images, as headstart features and "
            "ImageEmbedder.fit do; without images use fp32 or fp16"
        )
    if precision not in ("fp32", "fp16") and not precision.startswith("int8+"):
        raise BackboneError(
            f"no precision {one_line(precision)!r}; use one of: {', '.join(PRECISIONS)}"
        )
    described = describe(model)
    if described.precision == precision:
        return model
    if described.precision != "fp32":
        raise BackboneError(
            f"{one_line(model)} is in {described.precision} already; "
            f"convert the fp32 file to {precision}"
        )
    path = place(model, precision)
    if path.is_file():
        return path
    if precision != "fp16":
        raise BackboneError(
            f"the {precision} file of {one_line(described.name)} is not in the cache, and "
            "only the images that it was calibrated on could make it again"
        )

    def held_to_torch(partial: Path) -> dict[str, str]:
        runner = Runner(partial)
        parity.check_metadata(runner.metadata, runner.embed, runner.backbone.preprocess)
        return {}

    return keep(_half(model), model, precision, held_to_torch)


def place(model: Path, precision: str) -> Path:
    """Return where the cache stores an exported fp32 file in another precision."""
    external_data.refuse(model, f"--precision {precision}")
    key = hashlib.sha256(model.read_bytes() + f"{precision} {VERSION}".encode()).hexdigest()[:16]
    kind = precision.partition("+")[0]
    return cached_file("backbones", f"{_plain(describe(model).name)}-{kind}-{key}.onnx")


def keep(
    converted: ModelProto, model: Path, precision: str, finish: Callable[[Path], dict[str, str]]
) -> Path:
    """Store a converted graph in the cache, with the metadata of the fp32 file it was made of.

    ``finish`` checks the file before it gets its name, and returns the metadata to add.
    """
    import onnx

    metadata, path = read_metadata(model), place(model, precision)
    backbone = dataclasses.replace(read_backbone(metadata, model), precision=precision)
    properties = metadata | {METADATA: json.dumps(backbone.to_json())}
    onnx.helper.set_model_props(converted, properties)
    with replacing(path) as partial:
        onnx.save(converted, partial)
        added = finish(partial)
        if added:
            onnx.helper.set_model_props(converted, properties | added)
            onnx.save(converted, partial)
    return path


def _half(model: Path) -> ModelProto:
    """Convert weights and arithmetic to float16; images stay ``uint8``, features float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)
    graph = onnx.load(model)
    try:
        # Operators without a half-precision form, and values too large for it, stay in float32.
        half = convert_float_to_float16(graph, keep_io_types=True)
        onnx.checker.check_model(half, full_check=True)
    except Exception as error:  # the converter and the checker raise nearly anything
        raise BackboneError(
            f"{one_line(model)} cannot be converted to fp16: {one_line(error)[:200]}"
        ) from error
    return half


def _plain(name: str) -> str:
    """Return a backbone's name as part of a file's name."""
    return "".join(char if char.isalnum() or char in "-._" else "-" for char in name)
