"""Exported backbones in other arithmetic: the same file, cheaper to run, proved close enough.

Half precision halves the memory traffic and is what the matrix units of a GPU are built for. A CPU
without half-precision arithmetic runs such a file too, through float32, and gains nothing by it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from headstart.backbones.inference import parity
from headstart.backbones.inference.description import (
    METADATA,
    describe,
    read_backbone,
    read_metadata,
)
from headstart.backbones.inference.runner import Runner
from headstart.core.choices import PRECISIONS
from headstart.core.errors import BackboneError, one_line
from headstart.core.files import replacing

VERSION = 1  # of what this module makes; part of the cache key


def variant(model: Path, precision: str) -> Path:
    """Return an exported backbone in another precision, converting it if the cache lacks it.

    The certificate stays the exporter's: the features of the variant are held to those that torch
    gave in float32, here and on every machine.

    Args:
        model: a file that `headstart.backbones.export` wrote.
        precision: ``fp32``, which is the file itself, ``fp16``, or an ``int8+`` with its digest,
            which `headstart.backbones.inference.precision_choice` makes.

    Returns:
        The file; its description says the precision, so its features have another digest.

    Raises:
        BackboneError: it cannot be converted, or its features drift further than the certificate
            allows; the message gives both numbers.
        OutputError: the cache cannot be written.
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
    """Return where the cache keeps an exported fp32 file in another precision."""
    key = hashlib.sha256(model.read_bytes() + f"{precision} {VERSION}".encode()).hexdigest()[:16]
    cache = user_cache_path("headstart") / "backbones"
    kind = precision.partition("+")[0]
    return cache / f"{_plain(describe(model).name)}-{kind}-{key}.onnx"


def keep(
    converted: Any,  # noqa: ANN401 - ModelProto
    model: Path,
    precision: str,
    finish: Callable[[Path], dict[str, str]],
) -> Path:
    """Put a converted graph into the cache, described as the file that it was made of.

    Args:
        converted: the graph; its metadata are replaced.
        model: the fp32 file that it was made of.
        precision: what it is now.
        finish: checks the file before it gets its name, and returns what its metadata lack.

    Raises:
        OutputError: the cache cannot be written.
    """
    import onnx

    metadata, path = read_metadata(model), place(model, precision)
    backbone = dataclasses.replace(read_backbone(metadata, model), precision=precision)
    properties = metadata | {METADATA: json.dumps(backbone.to_json())}
    del converted.metadata_props[:]
    onnx.helper.set_model_props(converted, properties)
    with replacing(path) as partial:
        onnx.save(converted, partial)
        added = finish(partial)
        if added:
            del converted.metadata_props[:]
            onnx.helper.set_model_props(converted, properties | added)
            onnx.save(converted, partial)
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
