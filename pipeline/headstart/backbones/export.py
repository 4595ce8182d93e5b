"""Export a torch module to an ONNX file that describes itself, and prove that both are equal.

The graph takes ``(n, h, w, 3) uint8`` RGB and returns ``(n, d) float32``. It contains the cast, the
normalisation and the pooling, so no caller can get them wrong. The file's metadata describe what
happens before the graph: resize, crop and colour.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import backbones
from headstart.backbones import joint, torch_graph
from headstart.backbones.candidate import SOFTWARE, Candidate
from headstart.backbones.inference import decoding, external_data
from headstart.backbones.inference import parity as certificate
from headstart.backbones.inference.description import (
    METADATA,
    describe,
    is_file,
    output_names,
)
from headstart.backbones.inference.precision import variant
from headstart.backbones.inference.runner import Runner
from headstart.backbones.inference.single_layer import one_layer
from headstart.backbones.onnx_file import Foreign
from headstart.backbones.onnx_import.request import FILE, ImportRequest
from headstart.backbones.proof import Parity as Parity
from headstart.backbones.proof import prove, prove_shapes, remarks, samples
from headstart.backbones.proof import read_parity as read_parity
from headstart.core import sandbox
from headstart.core.cache import cached_file
from headstart.core.errors import BackboneError, HeadstartError, RunnerError, one_line
from headstart.core.files import replacing
from headstart.core.onnx_format import OPSET, ModelProto, any_size
from headstart.core.parallel import available_memory
from headstart.core.records import Backbone, Choice, digest_of
from headstart.datasets.images import POLICY

if TYPE_CHECKING:
    import torch

VERSION = 3  # of the file that this module builds; part of the cache key
_COPIES, _LARGE = 4, 2**28  # an export's memory by its weights; bytes of weights that matter

Notice = Callable[[str], None]


def model_file(
    choice: Choice | str, precision: str = "fp32", notice: Notice = lambda line: None
) -> tuple[Path, Parity | None]:
    """Return the ONNX file of a backbone, exporting it if the cache lacks it.

    A name alone means the published weights and the network's own layer; the path of a file that
    `export` wrote means that file. ``precision`` is one of `headstart.core.choices.PRECISIONS`. The
    second value is the parity, if the backbone was exported just now. ``notice`` receives a line
    before an export that the memory will hardly suffice for.
    """
    choice = Choice(choice) if isinstance(choice, str) else choice
    model, parity = _exported(dataclasses.replace(choice, value_range="", colour=""), notice)
    rules = choice.value_range, choice.colour, choice.policy
    model = decoding.with_rules(model, *rules, _rule(choice), choice.views)
    return (model if precision == "fp32" else variant(model, precision)), parity


def _rule(choice: Choice) -> str:
    """Return the fit that is a rule of a finished file; others are part of the export."""
    return "" if backbones.is_joint(choice) else choice.fit


def _exported(choice: Choice, notice: Notice) -> tuple[Path, Parity | None]:
    if backbones.is_joint(choice):
        members = backbones.members_of(choice)
        return _side_by_side([_exported(member, notice)[0] for member in members])
    if choice.name.endswith(".onnx") and not choice.name.startswith("onnx:"):
        return _own_file(choice), None
    candidate = backbones.find(dataclasses.replace(choice, policy=0))
    if choice.policy:  # a file that an earlier Headstart exported, which its int8 files belong to
        path = _place(candidate, choice.policy)
        if path.is_file():
            return path, None
    path = _place(candidate, POLICY)
    if path.is_file():
        return path, None
    if isinstance(candidate, Foreign):
        return path, export_foreign(candidate, path)
    short = memory_shortage(candidate.name, candidate.weights_size, available_memory())
    if short:
        notice(short)
    module, backbone = candidate.load()
    return path, export(module, backbone, path, candidate.weights.notes)


def memory_shortage(name: str, weights_size: int, free: int) -> str:
    """Return a warning that an export takes more memory than is free; empty if it suffices.

    ``weights_size`` and ``free`` are bytes, 0 if they are unknown. An export takes about
    `_COPIES` times the weights, as decision 226 measured.
    """
    needed = _COPIES * weights_size
    if weights_size < _LARGE or not free or needed <= free:
        return ""
    return (
        f"WARNING: exporting {one_line(name)} takes about {needed / 2**30:.1f} GiB of memory, and "
        f"{free / 2**30:.1f} GiB are free, so the system may end this process; free some, or run "
        "headstart export on a larger machine and copy the file"
    )


def _side_by_side(files: Sequence[Path]) -> tuple[Path, Parity | None]:
    """Return the file of several networks, and how it compares with them one by one."""
    several = joint.Joint.of(files)
    backbone = several.backbone
    path = cached_file("backbones", f"{_plain(backbone.name)[:100]}-{several.digest[:16]}.onnx")
    if path.is_file():
        return path, None
    expected = several.embed(samples(backbone.preprocess.size))
    return path, _write(
        several.graph(), several.embed, expected, backbone, path, "each network", several.notes
    )


def _place(candidate: Candidate | Foreign, policy: int) -> Path:
    identity = candidate.identity | {
        "policy": policy,
        "software": _software(),
        "opset": OPSET,
        "version": VERSION,
    }
    return cached_file("backbones", f"{_plain(candidate.name)}-{digest_of(identity)[:16]}.onnx")


def _plain(name: str) -> str:
    return re.sub(r"[^\w.@+-]", "-", name)


def _own_file(choice: Choice) -> Path:
    path = Path(choice.name)
    if not is_file(path):
        raise BackboneError(f"no backbone file at {one_line(choice.name)}; see: headstart export")
    cut = choice.layer or choice.pool or choice.layers
    if choice.weights or cut or choice.preprocess or choice.quality or choice.size:
        raise BackboneError(
            f"{one_line(choice.name)} is exported already, with its weights, layer, pooling and "
            "size; leave --weights, --layer, --pool, --preprocess, --quality and --size out, or "
            "export it again by its name"
        )
    return path


def locate(facts: dict[str, Any], hint: str, weights: str = "") -> Path:
    """Find the ONNX file of the backbone that made a store's features, or export it again.

    ``facts`` is the store's description of the backbone. ``hint`` is the file that was used then;
    it counts only if it still describes that backbone. ``weights`` is the user's own weights file
    then, if any.

    Raises:
        BackboneError: the file is gone, and the backbone cannot be exported again.
    """
    backbone = Backbone.from_json(facts)
    if hint and is_file(Path(hint)):
        with contextlib.suppress(HeadstartError):  # damaged, foreign or older: no match
            existing = describe(Path(hint))
            if existing == backbone:
                return Path(hint)
            if backbone in existing.split_layers():
                return one_layer(Path(hint), existing.split_layers().index(backbone))
    try:
        path = model_file(backbones.choice_of(backbone, weights), backbone.precision)[0]
        if describe(path) == backbone:
            return path
        cause = "what has that name now is another one"
    except HeadstartError as error:
        cause = str(error)
    raise BackboneError(
        f"the backbone {one_line(backbone.name)} that made these features was not found, so no "
        f"model can be written; put its file back at {one_line(hint) or 'its place'} ({cause})"
    )


def export(
    module: torch.nn.Module, backbone: Backbone, path: Path, notes: Sequence[str] = ()
) -> Parity:
    """Write a module as ONNX, after checking the graph against torch.

    ``module`` maps normalised ``(n, 3, h, w) float32`` to ``(n, d)``. The graph normalises with the
    mean and the standard deviation of ``backbone``. ``notes`` become those of the result.

    Raises:
        BackboneError: the graph cannot be made or differs from the module; no file is written.
    """
    graph = torch_graph.normalised(module, backbone)
    images = samples(backbone.preprocess.size)
    try:
        model = torch_graph.to_onnx(graph, images[:2], output_names(backbone))
        if backbone.preprocess.fit == "whole":
            any_size(model)
        expected = torch_graph.forward(graph, images)
    except Exception as error:  # torch.export fails in many ways, none the user's fault
        cause: BaseException = error  # the innermost exception names the cause
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise BackboneError(
            f"{one_line(backbone.name)} cannot be exported to ONNX: {one_line(cause)[:300]}"
        ) from error

    def original(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return torch_graph.forward(graph, crops)

    return _write(model, original, expected, backbone, path, notes=notes)


def export_foreign(candidate: Foreign, path: Path) -> Parity:
    """Write an ONNX file from elsewhere as a backbone, in a sandboxed process."""
    with replacing(path) as partial, TemporaryDirectory(dir=path.parent) as folder:
        target = Path(folder) / path.name
        request = candidate.request.to_json()
        document = sandbox.call(
            f"{__name__}:import_file", candidate.path, target, kind=FILE, options=request
        )
        data = external_data.data_of(target)
        if data is not None:
            external_data.copy_data(data, path.with_name(data.name))
        target.replace(partial)
    return Parity.from_json(document)


def import_file(source: Path, target: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Import a file in the process that `export_foreign` starts, and return the parity as JSON."""
    from headstart.backbones.onnx_import import steps

    imported = steps.import_network(source, target.parent, ImportRequest.from_json(request), OPSET)
    images = samples(imported.backbone.preprocess.size)
    expected = imported.original(images)
    try:
        parity = _write(
            imported.model,
            imported.original,
            expected,
            imported.backbone,
            target,
            "the file as it was",
            imported.notes,
        )
    except (BackboneError, RunnerError) as error:
        if any(node.op_type == "DynamicQuantizeLinear" for node in imported.model.graph.node):
            raise BackboneError(
                f"{one_line(source)} is quantised dynamically, by the range of each batch, so its "
                "features depend on the other images; take the float file, or one quantised "
                "statically"
            ) from error
        if isinstance(error, BackboneError):
            raise
        raise BackboneError(
            f"{one_line(source)} takes a fixed number of images, or does not run ({error}); export "
            "it with a dynamic batch, or cut it earlier with #NODE"
        ) from error
    return dataclasses.asdict(parity)


def _write(
    model: ModelProto,
    original: certificate.Embed,
    expected: NDArray[np.float32],
    backbone: Backbone,
    path: Path,
    called: str = "torch",
    notes: Sequence[str] = (),
) -> Parity:
    """Write a graph that gives the expected features; ``called`` names the original in messages."""
    import onnx

    images = samples(backbone.preprocess.size)
    notes = [*notes, *remarks(expected, backbone)]
    properties = {
        METADATA: json.dumps(backbone.to_json()),
        "headstart.software": json.dumps(_software()),
    }
    onnx.helper.set_model_props(model, properties)
    with replacing(path) as partial:
        properties |= external_data.save(model, partial, path)
        runner = Runner(partial)
        parity = prove(runner, images, expected, called, notes)
        if backbone.preprocess.fit == "whole":
            prove_shapes(runner, original)
        del runner  # two sessions of a large network would need twice the memory
        # Only metadata change from here on, so the figures stay true of the graph.
        proof = certificate.issue(original, backbone.preprocess, backbone.widths)
        certificate.check(proof, Runner(partial).embed, backbone.preprocess)
        properties["headstart.parity"] = json.dumps(dataclasses.asdict(parity))
        properties[certificate.METADATA] = proof.to_json()
        onnx.helper.set_model_props(model, properties)
        external_data.save(model, partial)
        external_data.check_model(model, partial)
    return parity


def _software() -> dict[str, str]:
    """Return the versions of what exports networks; empty for what is not installed."""
    versions = {}
    for name in SOFTWARE:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = ""
    return versions
