"""The same network for images decoded by other rules: a range of values, colours, or a policy.

The rules are part of the file's description, so stores, models, servers and the example that comes
with a model all follow them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from headstart.backbones.inference import external_data, parity
from headstart.backbones.inference.description import METADATA, read_backbone, read_metadata
from headstart.backbones.inference.runner import Runner
from headstart.core.cache import cached_file
from headstart.core.files import replacing


def with_rules(model: Path, value_range: str, colour: str, policy: int = 0) -> Path:
    """Return an exported file whose description has these rules; empty and 0 keep its own.

    The certificate is checked as the exporter issued it, and issued again by the new rules.

    Raises:
        BackboneError: this machine's features differ from the exporter's.
    """
    metadata = read_metadata(model)
    backbone = read_backbone(metadata, model)
    own = backbone.preprocess
    rules = dataclasses.replace(
        own,
        value_range=value_range or own.value_range,
        colour=colour or own.colour,
        policy=policy or own.policy,
    )
    if rules == own:
        return model
    text = f"{rules.value_range} {rules.colour}"
    if rules.policy != own.policy:
        text += f" {rules.policy}"
    key = hashlib.sha256(model.read_bytes() + text.encode()).hexdigest()[:16]
    name = "".join(char if char.isalnum() or char in "-._" else "-" for char in backbone.name)
    path = cached_file("backbones", f"{name}-rules-{key}.onnx")
    if not path.is_file():
        _write(
            model,
            path,
            metadata
            | {METADATA: json.dumps(dataclasses.replace(backbone, preprocess=rules).to_json())},
        )
    return path


def _write(model: Path, path: Path, metadata: dict[str, str]) -> None:
    import onnx

    runner = Runner(model)
    parity.check_metadata(runner.metadata, runner.embed, runner.backbone.preprocess)
    backbone = read_backbone(metadata, model)
    proof = parity.issue(runner.embed, backbone.preprocess, backbone.widths)
    graph = onnx.load(model, load_external_data=False)
    metadata = metadata | {parity.METADATA: proof.to_json()}
    onnx.helper.set_model_props(graph, metadata | external_data.move(graph, model, path))
    with replacing(path) as partial:
        onnx.save(graph, partial)
