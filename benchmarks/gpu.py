"""One NVIDIA GPU: parity, embedding speed against torch on the same GPU, and the head search.

    python benchmarks/gpu.py [DATA] [--network efficientnet-lite0] [--images 4096] [--write]
    python benchmarks/gpu.py --rehearse [--images 32]    # the same on the CPU, to try the script

Takes 8 minutes at most: what does not fit any more is left out, with a line that says so, and so
is what fails, for example without onnxruntime-gpu, without TensorRT, or with a driver that is too
old. Needs torch with CUDA beside onnxruntime-gpu for the comparison.

- Parity: the certificate of the network, by each provider in fp32 and fp16, and the cosine to the
  CPU's features on photos.
- Embedding: `headstart features` into a store, decoding included, in turn with a DataLoader and
  eager torch, and with torch.compile, in the same precision. The bound is the smaller one of what
  decoding and inference reach alone. TF32 is off on both sides. Compiling is off the clock.
- Heads: Headstart's search of logistic regression on the CPU's cores, against L-BFGS in torch on
  the GPU over the same C and folds.

Photos are copies of those of DATA, each with a comment of its own, so that every file's bytes are
unique; without DATA they are drawn. Only JPEG files of DATA are used.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import alternate
import networks
import numpy as np
import page
import photos as photo_files
from headstart.backbones.inference import parity
from headstart.backbones.inference.precision import variant
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import HeadstartError, one_line
from headstart.core.linalg import normalise, row_cosine
from headstart.core.parallel import available_cores
from headstart.datasets import demo, images
from headstart.heads import HEADS
from headstart.heads.folds import stratified_folds
from headstart.heads.training_set import TrainingSet

CONTENDERS = Path(__file__).parent / "contenders"
LIMIT = 480  # seconds
PARTS = ("parity", "embedding", "heads")
COMPARED = 64  # photos whose features are compared with the CPU's
DRAWN, SIDE = 64, 480  # drawings in place of photos, and their pixels a side
FOLDS, CLASSES, DIM = 5, 20, 1280
C_PATH = tuple(float(c) for c in np.logspace(-2, 4, 7))


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--network", default=networks.EMBEDDED, choices=networks.NAMES)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=5000, help="of the head search")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rehearse", action="store_true", help="run on the CPU")
    cache = Path(tempfile.gettempdir()) / "headstart-bench"
    parser.add_argument("--cache", type=Path, default=cache, help=f"default {cache}")
    options = parser.parse_args()
    with page.recorded(options), tempfile.TemporaryDirectory() as folder:
        benchmark(options, Path(folder))


def benchmark(options: argparse.Namespace, folder: Path) -> None:
    end = time.monotonic() + LIMIT
    print(f"GPU: {gpu()}{'; a rehearsal on the CPU' if options.rehearse else ''}")
    devices = ["cpu"] if options.rehearse else ["cuda", "tensorrt"]
    model = networks.model_file(options.network, options.cache / "models")
    files = [*unique(sources(options.data), options.images, folder)]
    steps: dict[str, Callable[[], None]] = {}
    for device, precision in itertools.product(devices, ("fp32", "fp16")):
        name = f"{device}, {precision}"
        if "parity" in options.parts:
            steps[f"parity, {name}"] = lambda d=device, p=precision: prove(model, files, d, p)
        slow = device == "cpu" and precision == "fp16"  # which no CPU computes in
        if "embedding" in options.parts and not slow:
            steps[f"embedding, {name}"] = lambda d=device, p=precision: race(
                options, model, files, d, p
            )
    if "heads" in options.parts:
        steps["heads"] = lambda: search(options.rows, options.rounds, devices[0])
    for name, step in steps.items():
        if time.monotonic() > end:
            print(f"{name}: left out, {LIMIT} s are over")
            continue
        try:
            step()
        except (HeadstartError, alternate.ContenderError, RuntimeError, ImportError) as error:
            page.sample("failures", {"step": name, "reason": one_line(error)})
            print(f"{name}: not possible here: {one_line(error)[:300]}")


def gpu() -> str:
    """Return the GPU's name, driver and memory, or why they are unknown."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"none ({type(error).__name__} of nvidia-smi)"
    page.sample("gpu", *done.stdout.strip().splitlines())
    return "; ".join(done.stdout.strip().splitlines())


# ---- photos --------------------------------------------------------------------------------------


def sources(data: str | None) -> list[bytes]:
    """Return JPEG files: of a source, or drawn."""
    if data is not None:
        paths = photo_files.sample(data, 2000)
        found = [path.read_bytes() for path in paths if path.suffix.lower() in (".jpg", ".jpeg")]
        if found:
            return found
        print(f"{Path(data).name} has no JPEG files; photos are drawn")
    return [
        images.encode(
            demo.draw(demo.CLASSES[n % len(demo.CLASSES)], np.random.default_rng(n), SIDE), "JPEG"
        )
        for n in range(DRAWN)
    ]


def unique(contents: list[bytes], count: int, folder: Path) -> Iterator[Path]:
    """Write JPEG files, each with a comment of its own."""
    for number, data in zip(range(count), itertools.cycle(contents), strict=False):
        comment = b"image %09d" % number
        segment = b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment
        path = folder / f"{number:06}.jpg"
        path.write_bytes(data[:2] + segment + data[2:])
        yield path


# ---- parity --------------------------------------------------------------------------------------


def prove(model: Path, files: list[Path], device: str, precision: str) -> None:
    """Check the certificate on a device, and compare photos with float32 on the CPU."""
    reference = Runner(model)
    runner = Runner(variant(model, precision), device, batch=None)
    preprocess = runner.backbone.preprocess
    drift = parity.check_metadata(runner.metadata, runner.embed, preprocess)
    crops = np.stack([images.decode(path.read_bytes(), preprocess) for path in files[:COMPARED]])
    cosine = row_cosine(runner.embed(crops), reference.embed(crops))
    same = np.array_equal(runner.embed(crops), runner.embed(crops))
    page.sample(f"parity, {device}, {precision}", {"certificate": vars(drift), "cosine": cosine})
    print(
        f"parity, {device}, {precision}: {runner.provider} on {runner.device}, certificate "
        f"{drift.min_cosine:.6f} ({drift.worst}); {len(crops)} photos, cosine to the CPU's fp32 "
        f"mean {cosine.mean():.6f}, smallest {cosine.min():.6f}; "
        f"{'the same bits' if same else 'OTHER bits'} when repeated"
    )


# ---- embedding -----------------------------------------------------------------------------------


def race(
    options: argparse.Namespace, model: Path, files: list[Path], device: str, precision: str
) -> None:
    """Embed the same photos by Headstart and by torch, in turn."""
    title, paths = f"{device}, {precision}", [str(path) for path in files]
    embed, torch_gpu = CONTENDERS / "headstart_embed.py", CONTENDERS / "torch_gpu.py"
    ours = {"model": str(variant(model, precision)), "device": device}
    theirs = {
        "network": options.network,
        "device": "cpu" if options.rehearse else "cuda",
        "workers": 0 if options.rehearse else available_cores(),
        "half": precision == "fp16" and not options.rehearse,
    }
    compiled = theirs | {"backend": "eager" if options.rehearse else "inductor"}
    rivals = {"torch eager": theirs, "torch.compile": compiled}
    with contextlib.ExitStack() as stack:
        racers = {"headstart": opened(stack, embed, ours, paths)}
        for name, request in rivals.items():
            try:
                if device != "tensorrt":  # torch does the same there as beside cuda
                    racers[name] = opened(stack, torch_gpu, request, paths)
            except alternate.ContenderError as error:
                print(f"{name}, {title}: not possible here: {one_line(error)[:300]}")
        settings = {name: (name, "headstart") for name in racers}
        settings |= {name: ("headstart", name) for name in ("decoding", "inference")}

        def speed(racer: str, setting: str) -> float:
            return float(racers[racer].ask({"paths": paths, "setting": {"name": setting}})["speed"])

        calls = {name: lambda r=run: speed(*r) for name, run in settings.items()}
        speeds = alternate.rounds(calls, options.rounds)
    for name, values in speeds.items():
        page.sample(f"{title}: {name}, images/s", *values)
        print(f"embedding, {title}: {name:14} {alternate.show(values)} images/s")
    limits = [min(pair) for pair in zip(speeds["decoding"], speeds["inference"], strict=True)]
    for name, values in {"bound": limits, **speeds}.items():
        if name == "bound" or name in rivals:
            ratios = alternate.paired(speeds["headstart"], values)
            page.ratio(f"{title}: headstart / {name}", ratios)
            print(f"embedding, {title}: headstart / {name}: {alternate.show(ratios, 2)}")


def opened(
    stack: contextlib.ExitStack, script: Path, request: dict[str, Any], paths: list[str]
) -> alternate.Contender:
    """Start a contender and let it embed once, which compiles and fills the page cache."""
    contender = alternate.Contender(script, request)
    stack.callback(contender.close)
    contender.ask({"paths": paths, "setting": {"name": "headstart"}})
    return contender


# ---- heads ---------------------------------------------------------------------------------------


def search(count: int, rounds: int, device: str) -> None:
    """Search logistic regression by Headstart on the CPU, and by torch on the device."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(count) % CLASSES)
    centres = rng.normal(size=(CLASSES, 64)).astype(np.float32)
    hidden = centres[labels] + 2.5 * rng.normal(size=(count, 64)).astype(np.float32)
    mixing = rng.normal(size=(64, DIM)).astype(np.float32) / 8
    noise = rng.normal(size=(count, DIM)).astype(np.float32)
    features = np.maximum(hidden @ mixing + noise, 0)
    fold = stratified_folds(labels, FOLDS, 0)
    accuracies: dict[str, float] = {}

    def ours() -> float:
        started = time.perf_counter()
        training = TrainingSet(features, labels, fold, workers=available_cores())
        accuracies["headstart"] = HEADS["logistic-regression"].search(training).cv_accuracy
        return time.perf_counter() - started

    def theirs() -> float:
        started = time.perf_counter()
        accuracies["torch"] = torch_search(normalise(features), labels, fold, device)
        return time.perf_counter() - started

    seconds = alternate.rounds({"headstart": ours, "torch": theirs}, rounds + 1)
    for name, values in seconds.items():
        values.pop(0)  # the first call loads libraries
        page.sample(f"heads, {name}, seconds", *values)
        print(
            f"heads, {count:,} rows: {name:9} {statistics.median(values):6.2f} s, best "
            f"cross-validated accuracy {accuracies[name]:.4f}"
        )
    page.ratio("heads: torch / headstart", alternate.paired(seconds["torch"], seconds["headstart"]))


def torch_search(rows: np.ndarray, labels: np.ndarray, fold: np.ndarray, device: str) -> float:
    """Return the best mean accuracy of the folds over `C_PATH`, each C starting at the last one."""
    import torch

    place = "cpu" if device == "cpu" else "cuda"
    x = torch.from_numpy(rows).to(place)
    y = torch.from_numpy(labels).to(place)
    right = np.zeros((len(C_PATH), FOLDS))
    for number in range(FOLDS):
        train = torch.from_numpy(fold != number).to(place)
        layer = torch.nn.Linear(rows.shape[1], CLASSES).to(place)
        for position, c in enumerate(C_PATH):
            fit(layer, x[train], y[train], c)
            with torch.inference_mode():
                correct = layer(x[~train]).argmax(1) == y[~train]
            right[position, number] = float(correct.float().mean())
    return float(right.mean(axis=1).max())


def fit(layer: Any, x: Any, y: Any, c: float) -> None:
    """Fit a layer by L-BFGS, with scikit-learn's penalty for this C."""
    import torch

    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Any:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(layer(x), y)
        value = value + layer.weight.square().sum() / (2 * c * len(x))
        value.backward()
        return value

    optimiser.step(loss)


if __name__ == "__main__":
    main()
