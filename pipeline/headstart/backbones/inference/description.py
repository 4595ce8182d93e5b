"""Read the description inside an exported file, without a session and without parsing the graph.

An ONNX file is a protobuf message: short fields with metadata, and one long field with the graph,
which is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from headstart.core.errors import BackboneError, one_line
from headstart.core.records import Backbone
from headstart.datasets.images import POLICIES

INPUT = "image"
OUTPUT = "features"  # with several layers, each output is ``features/LAYER``
METADATA = "headstart.backbone"
HEAD_INPUT = "head_X"
LABEL = "label"
LABELS = "labels"  # of a model for several labels on one image
PROBABILITIES = "probabilities"
DISTANCE = "distance"
MODEL_METADATA = "headstart.model"

_METADATA_PROPS = 14  # field numbers in onnx.proto, of ModelProto and StringStringEntryProto
_KEY, _VALUE = 1, 2
_LENGTH_OF = {1: 8, 5: 4}  # bytes of protobuf's fixed-length wire types
_VARINT, _DELIMITED = 0, 2


def is_file(path: Path) -> bool:
    """Say whether a path is a file; False if it cannot be looked up."""
    try:
        return path.is_file()
    except OSError:  # no permission, or a name that is too long
        return False


def describe(model: Path) -> Backbone:
    """Return the backbone that an exported file, or a classifier, describes.

    Raises:
        BackboneError: the file is missing, describes no backbone, or follows the decoding rules of
            another version.
    """
    return read_backbone(read_metadata(model), model)


def read_metadata(model: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file, by key; a damaged file has none.

    Raises:
        BackboneError: the file is missing or cannot be read.
    """
    if not is_file(model):
        raise BackboneError(f"no backbone file at {one_line(model)}; see: headstart export")
    entries: dict[str, str] = {}
    try:
        with model.open("rb") as file:
            for message in _fields(file, model.stat().st_size, _METADATA_PROPS):
                pair = _strings(message)
                entries[pair.get(_KEY, "")] = pair.get(_VALUE, "")
    except OSError as error:
        raise BackboneError(
            f"cannot read {one_line(model)}: {error.strerror or one_line(error)}"
        ) from error
    except ValueError:  # not a protobuf message, or a truncated one
        return {}
    return entries


def read_backbone(metadata: Mapping[str, str], model: Path) -> Backbone:
    """Return the backbone that a file's metadata describe; see `describe`."""
    try:
        backbone = Backbone.from_json(json.loads(metadata[METADATA]))
    except (KeyError, TypeError, ValueError):
        raise BackboneError(
            f"{one_line(model)} is not a file that Headstart wrote (its metadata lack {METADATA}); "
            "see: headstart export, headstart train-heads; for an ONNX file from elsewhere write "
            "onnx:PATH"
        ) from None
    if backbone.preprocess.policy not in POLICIES:
        raise BackboneError(
            f"{one_line(model)} was made for version {backbone.preprocess.policy} of the decoding "
            f"rules, and this Headstart has {' and '.join(map(str, POLICIES))}; export it again"
        )
    return backbone


def output_names(backbone: Backbone) -> list[str]:
    """Return the names of the graph's outputs that form a row of features, in order."""
    return [f"{OUTPUT}/{part.layer}" for part in backbone.parts] or [OUTPUT]


def _fields(file: BinaryIO, end: int, number: int) -> list[bytes]:
    """Return the contents of the length-delimited fields with a number, seeking past all others."""
    contents = []
    while file.tell() < end:
        tag = _varint(file)
        kind = tag & 7
        if kind == _VARINT:
            _varint(file)
            continue
        if kind != _DELIMITED and kind not in _LENGTH_OF:
            raise ValueError(f"wire type {kind}")
        length = _varint(file) if kind == _DELIMITED else _LENGTH_OF[kind]
        if file.tell() + length > end:
            raise ValueError("cut short")
        if kind == _DELIMITED and tag >> 3 == number:
            contents.append(file.read(length))
        else:
            file.seek(length, 1)
    return contents


def _strings(message: bytes) -> dict[int, str]:
    """Return the string fields of a message, by number."""
    return {
        number: field[-1].decode("utf-8")
        for number in (_KEY, _VALUE)
        if (field := _fields(BytesIO(message), len(message), number))
    }


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("cut short")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number of more than ten bytes")
