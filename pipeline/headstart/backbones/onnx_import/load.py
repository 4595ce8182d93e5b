"""Read an untrusted ONNX file: nothing outside its folder, and no size that it merely claims.

This runs in a process of its own (`core.sandbox`), because protobuf and ONNX parse in C++.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from headstart.core.errors import BackboneError, one_line
from headstart.core.files import sha256_of
from headstart.core.onnx_format import ModelProto, NodeProto

MAX_BYTES = (1 << 31) - 1  # of a protobuf message, and so of an exported file
OLDEST = 7  # opset
DOMAINS = ("", "ai.onnx", "com.microsoft")  # what onnxruntime computes without custom operators
_ELEMENTS = 1 << 29  # of one tensor


def read(path: Path) -> tuple[Any, str]:
    """Return a ``ModelProto`` with all its data inside, and the SHA-256 of the file in hex.

    If weights lie in further files, the hash is that of all files' hashes.

    Raises:
        BackboneError: the file is damaged, too old or too new, or refers to files elsewhere.
    """
    import onnx
    import onnx.inliner

    shown = one_line(path)
    if path.stat().st_size > MAX_BYTES:
        raise BackboneError(f"{shown} is larger than 2 GB, which no ONNX file can be")
    data = path.read_bytes()
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:  # protobuf's error type differs between its releases
        raise BackboneError(f"{shown} is not an ONNX file, or a damaged one") from None
    if not model.graph.node:
        raise BackboneError(f"{shown} is not an ONNX file, or one without a graph")
    opset = opset_of(model)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        raise BackboneError(
            f"{shown} is of opset {opset}; {OLDEST} to {newest} can be read: convert it with "
            "onnx.version_converter, or export it again"
        )
    sha256 = hashlib.sha256(data).hexdigest()
    files = _fill(model, path)
    if files:
        parts = [sha256, *(f"{name} {sha256_of(file)}" for name, file in sorted(files.items()))]
        sha256 = hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
    for tensor in tensors(model):
        _check_claims(tensor, shown)
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:  # errors of the inliner, from C++
            raise BackboneError(
                f"{shown} has functions that cannot be written out: {one_line(error)[:120]}"
            ) from None
    named = [name for node in model.graph.node for name in node.output if name]
    twice = next((name for name, count in Counter(named).items() if count > 1), None)
    if twice is not None:
        raise BackboneError(f"{shown} is damaged: two of its nodes make {one_line(twice)}")
    return model, sha256


def opset_of(model: ModelProto) -> int:
    """Return the version of ONNX's own operators; 0 if the model names none."""
    return max(
        (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        default=0,
    )


def tensors(model: ModelProto) -> Iterator[Any]:
    """Yield every constant of a model, in subgraphs and functions too."""
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    graphs = [model.graph]
    for node in walk(nodes):
        graphs += subgraphs(node)
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            yield from attribute.tensors
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def walk(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield nodes and those of their subgraphs, however deep."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [inner for graph in subgraphs(node) for inner in graph.node]


def subgraphs(node: NodeProto) -> list[Any]:
    """Return the graphs in a node's attributes."""
    single = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return single + [graph for attribute in node.attribute for graph in attribute.graphs]


def _fill(model: ModelProto, path: Path) -> dict[str, Path]:
    """Put external data into the model, and return the files that it came from, by name."""
    import onnx

    folder = path.parent.resolve()
    files: dict[str, Path] = {}
    total = 0
    for tensor in tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        facts = {entry.key: entry.value for entry in tensor.external_data}
        name = facts.get("location", "")
        file = files.get(name) or _inside(folder, name, path)
        files[name] = file
        try:
            size = file.stat().st_size
            offset = int(facts.get("offset") or 0)
            length = int(facts.get("length") or size - offset)
        except ValueError:
            raise BackboneError(f"{one_line(path)} is damaged: it misplaces its weights") from None
        total += length
        if offset < 0 or length < 0 or offset + length > size or total > MAX_BYTES:
            raise BackboneError(
                f"{one_line(path)} refers to {length:,} bytes at {offset:,} of {one_line(name)}, "
                f"which has {size:,}; fetch both again (weights of more than 2 GB cannot be taken)"
            )
        with file.open("rb") as source:
            source.seek(offset)
            tensor.raw_data = source.read(length)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return files


def _inside(folder: Path, name: str, path: Path) -> Path:
    """Return a file of weights, refusing one outside of the model's own folder."""
    try:
        file = (folder / name).resolve()
        outside = not name or Path(name).is_absolute() or ".." in Path(name).parts
        outside = outside or not file.is_relative_to(folder)
        if not outside and not file.is_file():
            raise BackboneError(
                f"{one_line(path)} keeps its weights in {one_line(name)}, which is not a file "
                "beside it; fetch that too"
            )
    except (OSError, ValueError):
        outside = True
    if outside:
        raise BackboneError(
            f"{one_line(path)} refers to weights in {one_line(name) or 'nowhere'}, outside of its "
            "own folder, which is refused"
        )
    return file


def _check_claims(tensor: Any, shown: str) -> None:  # noqa: ANN401 - TensorProto
    """Refuse a tensor that claims an impossible or an enormous shape."""
    elements = 1
    for side in tensor.dims:
        elements *= max(side, -1)
        if not 0 <= elements <= _ELEMENTS:
            raise BackboneError(
                f"{shown} is damaged: a constant {one_line(tensor.name)} claims the shape "
                f"{' × '.join(map(str, tensor.dims[:8]))}"
            )
