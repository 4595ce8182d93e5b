"""The networks that the benchmarks run: as a torch module, as a transform, as an ONNX file.

Speed does not depend on the weights' values, so torchvision's networks carry random ones, drawn
with a fixed seed; efficientnet-lite0 has its own.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from headstart.core.records import Backbone, Preprocess, digest_of
from headstart.core.torchvision_import import import_timm, import_torchvision

EMBEDDED = "efficientnet-lite0"
NAMES = (EMBEDDED, "resnet18", "resnet50", "mobilenet_v3_large")
DIMS = {"resnet18": 512, "resnet50": 2048, "mobilenet_v3_large": 960}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SEED = 0


def module(name: str) -> Any:
    """Build a network without its classifier: ``(n, 3, 224, 224)`` to ``(n, d)``, normalised."""
    if name == EMBEDDED:
        from headstart import backbones  # here, as below

        return backbones.find(name).load()[0]
    import_torchvision()
    import torch
    from torchvision import models

    torch.manual_seed(SEED)
    network = models.get_model(name, weights=None)
    head = "fc" if name.startswith("resnet") else "classifier"
    setattr(network, head, torch.nn.Identity())
    return awake(network)


def model_file(name: str, cache: Path) -> Path:
    """Return the ONNX file of a network, exporting it into the cache if it is not there."""
    from headstart.backbones import (
        export,  # here, because the rivals' environments lack what it needs
    )

    if name == EMBEDDED:
        return export.model_file(name)[0]
    backbone = Backbone(
        name=f"{name}-random",
        source=f"torchvision {name}, random weights (seed {SEED})",
        weights_sha256=digest_of({"random": SEED}),
        licence="BSD-3-Clause",
        layer="avgpool",
        pool="avg",
        precision="fp32",
        dim=DIMS[name],
        mean=MEAN,
        std=STD,
        preprocess=Preprocess(resize=256, crop=224, interpolation="bilinear"),
    )
    identity = dataclasses.asdict(backbone) | {"export": export.VERSION, "opset": export.OPSET}
    path = cache / f"{name}-{digest_of(identity)[:16]}.onnx"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        export.export(module(name), backbone, path)
    return path


def int8_file(model: Path, data: str) -> Path:
    """Return the file in int8 beside an exported network, calibrated on photos of ``data``.

    What it costs in accuracy is another benchmark's matter, so few photos measure that.
    """
    from headstart import datasets  # here, as above
    from headstart.backbones.inference import precision_choice
    from headstart.core.parallel import available_cores

    listing, few = datasets.open_source(data), precision_choice.FEWEST
    return precision_choice.quantised(model, listing, available_cores(), lambda file: few)[0]


def transform(name: str) -> Any:
    """Return the library's own transform: of timm for efficientnet-lite0, else torchvision's."""
    if name == EMBEDDED:
        timm = import_timm()
        config = timm.data.resolve_data_config(pretrained_cfg=module(name).pretrained_cfg)
        return timm.data.create_transform(**config)
    import_torchvision()
    from torchvision.transforms._presets import ImageClassification

    return ImageClassification(crop_size=224, resize_size=256, mean=MEAN, std=STD)


def awake(network: Any) -> Any:
    """Give batch normalisation the statistics of noise, so that no layer's output dies away.

    Without them an untrained network's activations vanish or blow up with depth, and arithmetic
    on numbers that are too small to be normal is slow, which no real network is punished with.
    """
    import torch

    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None  # the cumulative mean, of the batch below alone
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(SEED)))
    return network.eval()
