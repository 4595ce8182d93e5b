"""Exported backbones in other arithmetic: the same file, cheaper to run, proved close enough.

Half precision halves the memory traffic and is what the matrix units of a GPU are built for. A CPU
without half-precision arithmetic runs such a file too, through float32, and gains nothing by it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from pipeline import certificate
from pipeline.errors import BackboneError, one_line
from pipeline.files import replacing
from pipeline.records import PRECISIONS
from pipeline.runner import METADATA, Runner

VERSION = 1  # of what this module makes; part of the cache key


def variant(model: Path, precision: str) -> Path:
    """Return an exported backbone in another precision, converting it if the cache lacks it.

    The certificate stays the exporter's: the features of the variant are held to those that torch
    gave in float32, here and on every machine.

    Args:
        model: a file that `pipeline.export` wrote.
        precision: one of `pipeline.records.PRECISIONS`; ``fp32`` is the file itself.

    Returns:
        The file; its description says the precision, so its features have another digest.

    Raises:
        BackboneError: it cannot be converted, or its features drift further than the certificate
            allows; the message gives both numbers.
        OutputError: the cache cannot be written.
    """
    import onnx

    if precision not in PRECISIONS:
        raise BackboneError(
            f"no precision {one_line(precision)!r}; use one of: {', '.join(PRECISIONS)}"
        )
    described = Runner(model)
    if described.backbone.precision == precision:
        return model
    if described.backbone.precision != "fp32":
        raise BackboneError(
            f"{one_line(model)} is in {described.backbone.precision} already; "
            f"convert the fp32 file to {precision}"
        )
    key = hashlib.sha256(model.read_bytes() + f"{precision} {VERSION}".encode()).hexdigest()[:16]
    cache = user_cache_path("headstart") / "backbones"
    path = cache / f"{_plain(described.backbone.name)}-{precision}-{key}.onnx"
    if path.is_file():
        return path
    backbone = dataclasses.replace(described.backbone, precision=precision)
    converted = _half(model)
    properties = described.metadata | {METADATA: json.dumps(backbone.to_json())}
    del converted.metadata_props[:]
    onnx.helper.set_model_props(converted, properties)
    with replacing(path) as partial:
        onnx.save(converted, partial)
        runner = Runner(partial)
        certificate.check_metadata(runner.metadata, runner.embed, backbone.preprocess)
    return path


def _half(model: Path) -> Any:  # noqa: ANN401 - ModelProto
    """Convert weights and arithmetic to float16; images stay ``uint8``, features float32.

    The conversion is onnxruntime's own, which leaves operators without a half-precision form, and
    values that float16 cannot hold, alone.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)
    graph = onnx.load(model)
    try:
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
