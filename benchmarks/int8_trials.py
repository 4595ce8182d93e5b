"""Ways to quantise efficientnet-lite0 to int8, side by side: drift and speed of each.

Usage: python benchmarks/int8_trials.py DATA [--measured N] [--sensitivity]

Every trial is calibrated on the images that ``headstart features --precision int8`` would take, and
measured on the next N. Speed is processor time of inference on one thread, in turns with fp32. With
``--sensitivity`` every convolution is put back into float by itself, beside the first.

Cross-layer equalisation is that of Nagel, van Baalen, Blankevoort and Welling, *Data-Free
Quantization Through Weight Equalization and Bias Correction*, ICCV 2019, section 4.1. Between two
layers ReLU6 becomes a limit for each channel, or, as there, ReLU.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path

import page

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnx
from headstart import backbones, datasets
from headstart.backbones import export
from headstart.backbones.inference import precision_choice, quantization
from headstart.backbones.inference.description import INPUT, OUTPUT
from headstart.backbones.inference.runner import CPU_BATCH, Runner, open_session
from onnx import helper, numpy_helper
from onnxruntime.quantization.shape_inference import quant_pre_process

ROUNDS, BATCHES, SWEEPS = 15, 3, 20


class Trials:
    """A network, images to calibrate on and others to measure on."""

    def __init__(self, model: Path, data: str, measured: int, folder: Path) -> None:
        listing = datasets.open_source(data)
        refs, recipe = precision_choice.sample(listing), Runner(model).backbone.preprocess
        self.calibration, _, used = precision_choice._calibration(listing, refs, recipe)
        # As many at a time as calibrate: that is what the function reads.
        parts = range(used, used + measured, precision_choice.CALIBRATION)
        batches = [precision_choice._calibration(listing, refs[at:], recipe)[0] for at in parts]
        self.images = np.concatenate(batches)[:measured]
        self.folder, self.plain = folder, folder / "plain.onnx"
        quant_pre_process(model, self.plain, skip_symbolic_shape=True)
        self.wanted = self.features(self.plain)
        graph = onnx.load(self.plain).graph
        self.convolutions = [
            node.name for node in quantization.find_convolutions(onnx.load(self.plain))
        ]
        clips = {n.input[0]: n.name for n in graph.node if n.op_type in ("Clip", "Relu")}
        made = {node.name: node.output[0] for node in graph.node}
        grouped = {node.name for node in graph.node if quantization.groups_of(node) > 1}
        self.depthwise = [name for name in self.convolutions if name in grouped]
        self.clip = {name: clips[made[name]] for name in self.convolutions if made[name] in clips}

    def features(self, path: Path) -> np.ndarray:
        """Return the features of the images to measure on."""
        session = open_session(path)
        starts = range(0, len(self.images), CPU_BATCH)
        batches = (self.images[at : at + CPU_BATCH] for at in starts)
        return np.concatenate([session.run([OUTPUT], {INPUT: batch})[0] for batch in batches])

    def report(self, title: str, timed: bool = True, **recipe) -> None:
        """Print the drift of a recipe (see `make`), and its speed."""
        path = self.make(**recipe)
        found = self.features(path)
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(self.wanted, axis=1)
        cosine = (found * self.wanted).sum(axis=1) / lengths
        told = f"{title:58s} {cosine.mean():.4f} {cosine.min():.3f}"
        speed = self.speed(path) if timed else None
        page.sample(title, {"cosine": cosine.round(5), "speed": speed})
        print(told + (f" {speed:.2f}" if timed else ""), flush=True)

    def make(
        self,
        dense: int = 63,
        depthwise: int = 127,
        corrected: bool = True,
        in_float: list[str] | tuple[str, ...] = (),
        equalised: str = "",
    ) -> Path:
        """Quantise; ``dense`` and ``depthwise`` are the largest weights, 63 in 7 bits."""
        graph = onnx.load(self.plain)
        if equalised:
            equalise(graph, equalised)
        spared = [*in_float, *(self.clip[name] for name in in_float if name in self.clip)]
        largest = (dense, depthwise)
        path, calibration = self.folder / "trial.onnx", self.calibration
        made = quantization.in_integers(graph, calibration, self.folder, spared, largest, corrected)
        onnx.save(made, path)
        return path

    def speed(self, path: Path) -> float:
        """Return the median of processor time in fp32 to that of a file, round by round."""
        batch, ratios = self.images[:CPU_BATCH], []
        sessions = [open_session(self.plain), open_session(path)]
        for _ in range(ROUNDS + 1):
            spent = []
            for session in sessions:
                started = time.process_time()
                for _ in range(BATCHES):
                    session.run([OUTPUT], {INPUT: batch})
                spent.append(time.process_time() - started)
            ratios.append(spent[0] / spent[1])
        return statistics.median(ratios[1:])


def equalise(model: onnx.ModelProto, limit: str) -> None:
    """Give the channels between two convolutions equal ranges of weights on both sides, in place.

    Args:
        model: the graph.
        limit: of ReLU6 between them: ``channel`` keeps it, divided by each channel's scale, and
            ``none`` leaves it out.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = neighbours(model)
    names = {name for first, _, last in pairs for node in (first, last) for name in node.input[1:3]}
    held = {name: numpy_helper.to_array(tensors[name]).astype(np.float64) for name in names}
    scales = {first.name: np.ones(len(held[first.input[1]])) for first, _, _ in pairs}
    for _ in range(SWEEPS):
        for first, _, last in pairs:
            scales[first.name] *= balance(held, first, last)
    for name, value in held.items():
        tensors[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    for first, clip, _ in pairs:
        if clip is not None:
            open_limit(model.graph, clip, 6 / scales[first.name] if limit == "channel" else None)


def neighbours(model: onnx.ModelProto) -> list[tuple]:
    """Return convolutions one behind the other, nothing but clipping between: first, clip, last."""
    readers: dict[str, list] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    pairs = []
    for node in quantization.find_convolutions(model):
        clip, behind = None, readers.get(node.output[0], [])
        if len(behind) == 1 and behind[0].op_type == "Clip":
            clip = behind[0]
            behind = readers.get(clip.output[0], [])
        if len(behind) == 1 and behind[0].op_type == "Conv":
            pairs.append((node, clip, behind[0]))
    return pairs


def balance(held: dict[str, np.ndarray], first, last) -> np.ndarray:
    """Divide the channels between two layers by scales that make both ranges equal; return them."""
    before, behind = held[first.input[1]], held[last.input[1]]
    depthwise = quantization.groups_of(last) > 1
    ranges = (
        np.abs(before).max(axis=(1, 2, 3)),
        np.abs(behind).max(axis=(1, 2, 3) if depthwise else (0, 2, 3)),
    )
    scale = np.ones(len(before))
    used = np.minimum(*ranges) > 1e-8
    scale[used] = np.sqrt(ranges[0][used] / ranges[1][used])
    held[first.input[1]] = before / scale[:, None, None, None]
    held[first.input[2]] = held[first.input[2]] / scale
    held[last.input[1]] = behind * scale.reshape((-1, 1, 1, 1) if depthwise else (1, -1, 1, 1))
    return scale


def open_limit(graph: onnx.GraphProto, clip, largest: np.ndarray | None) -> None:
    """Make ReLU6 ReLU, with a limit for each channel behind it if there is one."""
    clip.op_type, out = "Relu", clip.output[0]
    del clip.input[1:]
    if largest is None:
        return
    limits = largest.astype(np.float32)[:, None, None]
    graph.initializer.append(numpy_helper.from_array(limits, f"{out}_limit"))
    clip.output[0] = f"{out}_positive"
    least = helper.make_node("Min", [f"{out}_positive", f"{out}_limit"], [out])
    graph.node.insert(list(graph.node).index(clip) + 1, least)


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("data")
    parser.add_argument("--measured", type=int, default=200)
    parser.add_argument("--sensitivity", action="store_true")
    options = parser.parse_args()
    with page.recorded(options):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    logging.getLogger().setLevel(logging.ERROR)
    model = export.model_file(backbones.DEFAULT)[0]
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(model, options.data, options.measured, Path(folder))
        layers, depthwise = trials.convolutions, trials.depthwise
        print(f"{'':58s} mean   min   ÷ fp32")
        if options.sensitivity:
            trials.report(f"float: {layers[0]}", timed=False, in_float=layers[:1])
            for name in layers[1:]:
                both = [layers[0], name]
                trials.report(f"float: {layers[0]}, {name}", timed=False, in_float=both)
            return
        first = layers[:1]
        trials.report("7, 7 bits", depthwise=63, corrected=False)
        trials.report("7, 8", corrected=False)
        trials.report("7, 8, corrected")
        trials.report("8, 8, corrected", dense=127)
        trials.report("7, 8, corrected, first in float", in_float=first)
        trials.report("7, 8, first in float", corrected=False, in_float=first)
        trials.report("7, 7, corrected, first in float", depthwise=63, in_float=first)
        trials.report("8, 8, corrected, first in float", dense=127, in_float=first)
        for count in (2, 3, 4, 9):
            title = f"7, 8, corrected, first {count} in float"
            trials.report(title, in_float=layers[:count])
        few = [*first, *depthwise[:2]]
        trials.report("7, 8, corrected, first and two depthwise in float", in_float=few)
        every = [*first, *depthwise]
        trials.report("7, 8, corrected, first and all depthwise in float", in_float=every)
        for limit in ("channel", "none"):
            for spared in ([], first):
                title = f"7, 8, corrected, equalised, limit: {limit}"
                title += ", first in float" if spared else ""
                trials.report(title, in_float=spared, equalised=limit)


if __name__ == "__main__":
    main()
