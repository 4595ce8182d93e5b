"""Write backbones/facts.csv of the package: facts that torchvision and timm do not list.

Usage: python benchmarks/backbone_facts.py [--only PART_OF_NAME] [--keras]

With --keras it writes keras-VERSION.json beside it instead: all that the installed Keras offers,
which takes half a minute to ask.

For every architecture at every input size that published weights have: parameters, multiply-adds
of one image (torch's FLOP counter, halved) and pooled features. The networks are built on torch's
meta device, without memory or arithmetic, so the whole takes some minutes. Rows that are there are
kept; what cannot be built or traced so is left out, and listed with a dash.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import signal
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

from headstart.backbones.layers import before, classifier_of
from headstart.core.torchvision_import import import_timm, import_torchvision

FILE = Path(__file__).parents[1] / "pipeline" / "headstart" / "backbones" / "facts.csv"
COLUMNS = ("architecture", "height", "width", "parameters", "gmacs", "features")
SECONDS = 60  # for one network


def wanted():
    """Yield ``(architecture, (height, width), build)``; a build gives logits and features."""
    import_torchvision()
    from torchvision import models

    for name in models.list_models(module=models):
        sizes = {int(w.transforms().crop_size[0]) for w in models.get_model_weights(name)}
        for size in sorted(sizes):
            yield f"torchvision:{name}", (size, size), lambda n=name, s=size: torchvision_(n, s)
    timm = import_timm()
    seen = set()
    published = timm.list_models(pretrained=True)
    for name in [
        *published,
        *sorted(set(timm.list_models()) - {n.split(".")[0] for n in published}),
    ]:
        config = timm.data.resolve_data_config(
            pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()
        )
        size = tuple(config["input_size"][1:])
        key = (name.split(".")[0], size)
        if key not in seen:
            seen.add(key)
            yield f"timm:{key[0]}", size, lambda n=name: timm.create_model(n, pretrained=False)


def torchvision_(name: str, size: int):
    from torchvision import models

    options = {"image_size": size} if name.startswith("vit_") else {}
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": False, "aux_logits": False}
    return models.get_model(name, weights=None, **options)


def measure(name: str, size: tuple[int, int], build) -> dict[str, object]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    meta = not name.startswith("torchvision:regnet")  # it computes its widths with torch
    with torch.device("meta" if meta else "cpu"), torch.inference_mode():
        network = build().eval()
        parameters = sum(p.numel() for p in network.parameters())
        image = torch.zeros(1, 3, *size)
        counter = FlopCounterMode(display=False)
        with counter:
            network(image)
        if name.startswith("timm:"):
            network.reset_classifier(0)
            features = network(image)
        else:
            features = before(network, classifier_of(network, 1000))(image)
    return {
        "parameters": parameters,
        "gmacs": f"{counter.get_total_flops() / 2e9:.3g}",
        "features": features.shape[1],
    }


def write_keras() -> None:
    from headstart.backbones import keras_zoo

    rows = ",\n".join(
        json.dumps(dataclasses.asdict(entry)) for entry in keras_zoo.KerasProvider().entries()
    )
    path = FILE.with_name(f"keras-{version('keras')}.json")
    path.write_text(f"[\n{rows}\n]\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--keras", action="store_true")
    options = parser.parse_args()
    only = options.only
    if options.keras:
        write_keras()
        return
    warnings.simplefilter("ignore")
    held = {}
    if FILE.exists():
        with FILE.open(newline="") as file:
            held = {(r["architecture"], r["height"], r["width"]): r for r in csv.DictReader(file)}

    def late(*_):
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    for name, size, build in wanted():
        key = (name, str(size[0]), str(size[1]))
        if key in held or only not in name:
            continue
        signal.alarm(SECONDS)
        try:
            held[key] = dict(zip(COLUMNS, key, strict=False)) | measure(name, size, build)
        except Exception as error:  # one network in 1,400: say so and go on
            print(f"{name} {size}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        finally:
            signal.alarm(0)
        if len(held) % 50 == 0:
            write(held)
    write(held)


def write(held) -> None:
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(held[key] for key in sorted(held))


if __name__ == "__main__":
    main()
