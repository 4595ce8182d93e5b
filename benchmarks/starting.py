"""Seconds until a command is of use: help is printed, a photo is classified, a server is ready.

    python benchmarks/starting.py MODEL.onnx PHOTO [--rounds 7] [--part commands|light]

Each command is a process, the commands in turn. The yardstick is a process that only imports what
no prediction can do without: numpy, onnxruntime, Pillow and click. Wall time counts what else runs
on the machine, processor time hardly does. ``light`` installs the wheel without torch into a fresh
environment, and says its size and how long ``import headstart`` and ``predict`` take there.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import alternate
import environments
import page

HEADSTART = [sys.executable, "-c", "from headstart.cli import main; main()"]
IMPORTS = [sys.executable, "-c", "import numpy, onnxruntime, PIL.Image, click"]


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--part", choices=["commands", "light"], default="commands")
    options = parser.parse_args()
    if options.part == "light":
        with page.recorded(options, "light"), tempfile.TemporaryDirectory() as folder:
            light(Path(folder), options.model.resolve(), options.photo.resolve(), options.rounds)
        return
    with page.recorded(options):
        benchmark(options.model, options.photo, options.rounds)


def light(folder: Path, model: Path, photo: Path, rounds: int) -> None:
    python = environments.light(folder)
    sizes = environments.sizes(python)
    command = python.with_name("headstart")
    compare(
        {
            "python": [str(python), "-c", ""],
            "import headstart": [str(python), "-c", "import headstart"],
            "--help": [str(command), "--help"],
            "predict": [str(command), "predict", str(model), str(photo)],
        },
        rounds,
    )
    for name, size in sizes.items():
        page.sample(f"{name}, MB", size / 1e6)
    print()
    print(f"{sizes['packages'] / 1e6:.0f} MB of packages without pip and compiled Python files,")
    print(f"{sizes['compiled'] / 1e6:.0f} MB of compiled Python files; the largest packages:")
    largest = {name: size for name, size in sizes.items() if name not in ("packages", "compiled")}
    print(", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in largest.items()))


def benchmark(model: Path, photo: Path, rounds: int) -> None:
    commands = {
        "imports": IMPORTS,
        "--help": [*HEADSTART, "--help"],
        "predict": [*HEADSTART, "predict", str(model), str(photo)],
        "serve": [*HEADSTART, "serve", str(model), "--port", "0"],
    }
    compare(commands, rounds)


def compare(commands: dict[str, list[str]], rounds: int) -> None:
    wall: dict[str, list[float]] = {name: [] for name in commands}

    def processor(name: str) -> float:
        seconds, used = measure(commands[name], until="serving" if name == "serve" else "")
        wall[name].append(seconds)
        return used

    calls = {name: lambda n=name: processor(n) for name in commands}
    alternate.rounds(calls, 1)  # compiled files and the page cache
    for values in wall.values():
        values.clear()
    used = alternate.rounds(calls, rounds)
    yardstick = next(iter(commands))
    print("command           processor s: median (range)    wall s: median (range)")
    for name in commands:
        page.sample(f"{name}, processor s", *used[name])
        page.sample(f"{name}, wall s", *wall[name])
        print(f"{name:17} {alternate.show(used[name], 2):30} {alternate.show(wall[name], 2)}")
        if name != yardstick:
            page.ratio(f"{name} / {yardstick}", alternate.paired(used[name], used[yardstick]))


def measure(command: list[str], until: str) -> tuple[float, float]:
    """Run a command to its end, or to the line that has a word; return wall and processor time."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if until and until in line:
            break
    seconds = time.perf_counter() - started
    if until:
        process.terminate()
    process.communicate()
    if process.returncode not in (0, 143) or (until and until not in "".join(lines)):
        raise SystemExit(f"{' '.join(command[3:5])} failed: {''.join(lines)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, sum(after[:2]) - sum(before[:2])


if __name__ == "__main__":
    main()
