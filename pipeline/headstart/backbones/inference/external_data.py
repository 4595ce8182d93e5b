"""Networks beyond 2 GiB: their weights are in a file beside the graph.

A protobuf message holds 2 GiB at most, so ONNX lets tensors be in another file ("external data").
Of a model ``NAME`` it is ``NAME.data``. The model's metadata hold its name, size and SHA-256, so
whatever protects the model protects its data.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.backbones.inference.description import is_file, read_metadata
from headstart.core.errors import BackboneError, one_line
from headstart.core.files import replacing, sha256_of
from headstart.core.onnx_format import ModelProto

KEY = "headstart.data"  # in the metadata
LIMIT = 2**31 - 2**25  # bytes of tensors in the graph's own file; the rest is for nodes
_SMALL = 1024  # bytes; smaller tensors are shapes and axes, which stay in the graph
_ALIGNMENT = 4096


def save(model: ModelProto, path: Path, final: Path | None = None) -> dict[str, str]:
    """Write a graph, with its tensors in a file beside it if they are too large for one message.

    ``final`` is the name that ``path`` will get. Returns what was added to the metadata.
    """
    import onnx

    metadata = {prop.key: prop.value for prop in model.metadata_props}
    added = {}
    if KEY not in metadata and _size(model) > LIMIT:
        added = {KEY: json.dumps(_detach(model, _beside(final or path)))}
        onnx.helper.set_model_props(model, metadata | added)
    onnx.save(model, path)
    return added


def check_model(model: ModelProto, path: Path) -> None:
    """Check a graph that is written at ``path``, as onnx does."""
    import onnx

    onnx.checker.check_model(str(path) if is_outside(model) else model)


def folder_of(model: Path, metadata: Mapping[str, str]) -> Path | None:
    """Return the folder of a model's data, after checking them; None if it has none.

    Raises:
        BackboneError: the data are missing, damaged, of another model, or outside the folder.
    """
    if KEY not in metadata:
        return None
    facts, data = _facts(model, metadata)
    names = _locations(model)
    if names - {data.name} or data.is_symlink():
        raise BackboneError(
            f"{one_line(model)} takes weights from outside its folder "
            f"({one_line(', '.join(sorted(names - {data.name})) or data.name)}), which may be any "
            "file; export it again"
        )
    if data.stat().st_size != facts["bytes"] or sha256_of(data) != facts["sha256"]:
        raise BackboneError(
            f"{one_line(data)} is damaged or belongs to another model: its SHA-256 is not the one "
            f"that {one_line(model.name)} names; copy both files again, or export the network again"
        )
    return model.parent


def is_outside(model: ModelProto) -> bool:
    """Say whether a graph has tensors in another file."""
    return bool(_outside(model))


def data_of(model: Path) -> Path | None:
    """Return the file with a model's weights; None if they are in the model itself."""
    metadata = read_metadata(model)
    return _facts(model, metadata)[1] if KEY in metadata else None


def size_of(model: Path) -> int:
    """Return the bytes of a model with its data."""
    data = data_of(model)
    return model.stat().st_size + (data.stat().st_size if data else 0)


def copy(source: Path, target: Path) -> None:
    """Copy a model with its data, which get the name that belongs to the copy."""
    import onnx

    metadata = read_metadata(source)
    with replacing(target) as partial:
        if KEY not in metadata:
            shutil.copyfile(source, partial)
            return
        model = onnx.load(source, load_external_data=False)
        onnx.helper.set_model_props(model, metadata | move(model, source, target))
        onnx.save(model, partial)


def move(model: ModelProto, source: Path, target: Path) -> dict[str, str]:
    """Put the data of the file ``source`` beside ``target``, and make a graph refer to them.

    Returns what to change in the metadata of the graph; nothing if ``source`` has no data.
    """
    metadata = read_metadata(source)
    if KEY not in metadata:
        return {}
    facts, data = _facts(source, metadata)
    beside = _beside(target)
    if not (is_file(beside) and beside.samefile(data)):
        copy_data(data, beside)
    for tensor in _outside(model):
        next(entry for entry in tensor.external_data if entry.key == "location").value = beside.name
    return {KEY: json.dumps(facts | {"file": beside.name})}


def copy_data(data: Path, target: Path) -> None:
    """Copy a file of weights. The package onnx takes links, hard ones too, for an attack."""
    with replacing(target) as partial:
        shutil.copyfile(data, partial)


def refuse(model: Path, what: str) -> None:
    """Raise a `BackboneError` if a model has its weights beside it, which ``what`` cannot use."""
    if KEY in read_metadata(model):
        raise BackboneError(
            f"{what} is not available for {one_line(model.name)}, whose weights exceed 2 GiB; use "
            "a smaller network"
        )


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def _size(model: ModelProto) -> int:
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def _detach(model: ModelProto, path: Path) -> dict[str, Any]:
    """Write the tensors of a graph to a file, and return what the metadata say of it."""
    from onnx import TensorProto

    digest, offset = hashlib.sha256(), 0
    with replacing(path) as partial, partial.open("wb") as file:
        for tensor in model.graph.initializer:
            content = tensor.raw_data
            if len(content) < _SMALL:
                continue
            for part in (b"\0" * (-offset % _ALIGNMENT), content):
                file.write(part)
                digest.update(part)
            start = file.tell() - len(content)
            offset = file.tell()
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (
                ("location", path.name),
                ("offset", start),
                ("length", len(content)),
            ):
                tensor.external_data.add(key=key, value=str(value))
    return {"file": path.name, "bytes": offset, "sha256": digest.hexdigest()}


def _facts(model: Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any], Path]:
    """Return what a model's metadata say of its data, and their file, which exists."""
    try:
        facts = json.loads(metadata[KEY])
        name, _, _ = str(facts["file"]), int(facts["bytes"]), str(facts["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise BackboneError(f"{one_line(model)} is damaged: {KEY} cannot be read") from error
    if Path(name).name != name or name in ("", ".", ".."):
        raise BackboneError(
            f"{one_line(model)} takes weights from outside its folder ({one_line(name)}), which "
            "may be any file; export it again"
        )
    data = model.with_name(name)
    if not is_file(data):
        raise BackboneError(
            f"{one_line(model)} needs its weights in {one_line(name)} beside it, which is missing; "
            "copy both files, under the names that they had"
        )
    return facts, data


def _locations(model: Path) -> set[str]:
    """Return the files that a graph takes tensors from."""
    import onnx

    graph = onnx.load(model, load_external_data=False)
    return {
        entry.value
        for tensor in _outside(graph)
        for entry in tensor.external_data
        if entry.key == "location"
    }


def _outside(model: ModelProto) -> list[Any]:
    from onnx import TensorProto

    return [
        tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL
    ]
