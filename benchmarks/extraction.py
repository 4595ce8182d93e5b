"""Embedding speed against its bound, a torch DataLoader and two packages that do the same job.

Usage: python benchmarks/extraction.py DATA [--images 256] [--large-images 48] [--rounds 3]
           [--trial full|short]
           [--networks efficientnet-lite0,resnet18,resnet50,mobilenet_v3_large]
           [--int8 efficientnet-lite0]
           [--rivals dataloader,img2vec_pytorch,thingsvision] [--cache FOLDER]

Every contender reads the same files with the same network, each in a process of its own, one at a
time, in turn; a ratio compares two of one round. Building the network is outside the clock
for all (Headstart opens and checks it once more, and that time is taken off); Headstart's time
includes listing the images and writing the store, which no other does.

- The bound is what the cores could do if threads cost nothing: cores / (seconds to read, decode
  and resize an image + seconds to infer it), measured alone on one thread in the same round.
- Cores that share caches, memory and a clock are slower together. So as many processes as there are
  cores, which share nothing and only do that, run side by side too ("apart").
- The networks of --int8 run in int8 too, in the same rounds, with a bound of their own. Their
  file is calibrated on the photos, outside the clock.
- The DataLoader runs with the library's own transforms (timm's or torchvision's). A trial of every
  mix of workers, batch, layout and threads picks two, which both run in every round; the faster
  one of the round counts. ``--trial short`` tries those alone that have won such trials.
- img2vec_pytorch and thingsvision come from the package index, each into an environment of its
  own under --cache (4 GB in all), with the torch, torchvision and Pillow of this one. A trial picks
  their batch. Their weights are random. img2vec_pytorch resizes in its own way.

The photos are those of DATA, and large ones of 12 megapixels that are made of them under --cache.
The rivals, being slow, read an even selection of them (--rival-images, and 32 large ones): enough
for their steady speed, while Headstart's fixed costs, the store's above all, need more images to
weigh what they weigh in use.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import alternate
import environments
import networks
import page
import photos
from alternate import Contender, ContenderError
from headstart.core.parallel import available_cores
from rich.console import Console
from rich.table import Table

CONTENDERS = Path(__file__).parent / "contenders"
SCRIPTS = {
    "dataloader": "torch_dataloader.py",
    "img2vec_pytorch": "img2vec_folder.py",
    "thingsvision": "thingsvision_folder.py",
}
TRIAL, LARGE_TRIAL = 32, 12  # images that a setting is tried on, unless its batch is larger
LARGE_RIVAL = 32  # large photos that a rival reads: whole batches for each of two workers
OURS = ("headstart", "headstart int8")
LIMITS = ("bound", "apart")
KEPT = {"dataloader": 2}  # settings that a trial picks; of others one
# For the estimate, seconds on two cores of a server processor: what an image of Headstart's costs
# in a round, bound included; what one of the rivals' costs, all of them together; the trial.
COST = {
    "efficientnet-lite0": (0.018, 0.07, 50),
    "resnet18": (0.056, 0.11, 65),
    "resnet50": (0.12, 0.25, 130),
    "mobilenet_v3_large": (0.018, 0.07, 50),
}
LARGE_COST = (0.08, 0.5, 35)
out = Console()
if not out.is_terminal:
    out = Console(width=132)  # a file or a pipe has room for the table


def main() -> None:
    options = parse()
    with page.recorded(options):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    out.print(f"about {estimate(options) / 60:.0f} minutes, if the environments are there already")
    machine = alternate.machine()
    normal = photos.sample(options.data, options.images)
    large = photos.enlarge(normal, options.cache / "large", options.large_images)
    sets = {name: paths for name, paths in (("photos", normal), ("12 MP", large)) if paths}
    pythons = {name: interpreter(name, options.cache) for name in options.rivals}
    cells: list[dict[str, Any]] = []
    for network in options.networks:
        for cell in race(network, sets, pythons, options):
            cells.append(cell)
            page.sample("cells", cell)
            for rival, values in cell["headstart_to"].items():
                page.ratio(f"{cell['network']}, {cell['photos']}: headstart / {rival}", values)
            for rival, values in cell["int8_to"].items():
                page.ratio(f"{cell['network']}, {cell['photos']}: int8 / {rival}", values)
    for name in sets:
        out.print(table_of(name, [cell for cell in cells if cell["photos"] == name]))
    out.print({name: value for name, value in machine.items() if name != "versions"})
    out.print(machine["versions"])


def parse() -> argparse.Namespace:
    parser = page.parser(__doc__)
    parser.add_argument("data", help="a folder of photos, or what `headstart features` takes")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--large-images", type=int, default=48, help="0: no large ones")
    parser.add_argument("--rival-images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trial", choices=["full", "short"], default="full")
    parser.add_argument("--networks", type=names_of(networks.NAMES), default=networks.NAMES)
    parser.add_argument("--int8", type=names_of(networks.NAMES), default=[networks.EMBEDDED])
    parser.add_argument("--rivals", type=names_of(SCRIPTS), default=list(SCRIPTS))
    cache = Path(tempfile.gettempdir()) / "headstart-bench"
    parser.add_argument("--cache", type=Path, default=cache, help=f"default {cache}")
    return parser.parse_args()


def names_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a parser of comma-separated names."""

    def names(text: str) -> list[str]:
        given = [name for name in text.split(",") if name]
        unknown = [name for name in given if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {unknown[0]}; there is: {', '.join(known)}")
        return given

    return names


def estimate(options: argparse.Namespace) -> float:
    """Return the seconds that a run may take on a machine with two cores."""
    seconds = 0.0
    for network in options.networks:
        ours, rivals, trial = COST[network]
        trial = trial / 5 if options.trial == "short" else trial
        seconds += options.rounds * (ours * options.images + rivals * options.rival_images) + trial
        if options.large_images:
            ours, rivals, trial = LARGE_COST
            seconds += options.rounds * (ours * options.large_images + rivals * LARGE_RIVAL) + trial
    return seconds


def interpreter(rival: str, cache: Path) -> Path | str | None:
    """Return the Python of a rival's environment; None for this one, a reason if it has none."""
    if rival not in environments.RIVALS:
        return None
    with out.status(f"the environment of {rival}"):
        try:
            python = environments.python_of(rival, cache)
        except ContenderError as error:
            return str(error)
    out.print(f"{rival}: {environments.size_gib(rival, cache):.1f} GiB")
    return python


class Crew:
    """Headstart's process, and for the setting ``apart`` one more for each further core."""

    def __init__(self, request: dict[str, Any]) -> None:
        script = CONTENDERS / "headstart_embed.py"
        self._all = [Contender(script, request) for _ in range(available_cores())]
        self.opened = self._all[0].opened

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Let the first measure, or for ``apart`` all at once: their speeds are added."""
        if request["setting"]["name"] != "apart":
            return self._all[0].ask(request)
        with ThreadPoolExecutor(len(self._all)) as pool:
            answers = list(pool.map(lambda each: each.ask(request), self._all))
        return {"speed": sum(answer["speed"] for answer in answers)}

    def close(self) -> None:
        """End the processes."""
        for each in self._all:
            each.close()


def race(
    network: str,
    sets: dict[str, list[Path]],
    pythons: dict[str, Path | str | None],
    options: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """Measure one network on every set of photos."""
    model = networks.model_file(network, options.cache)
    request = {"network": network, "model": str(model)}
    racers: dict[str, Contender | Crew] = {"headstart": Crew(request)}
    if network in options.int8:
        file = networks.int8_file(model, options.data)
        racers["headstart int8"] = Crew({"model": str(file)})
    absent = {}
    for rival, python in pythons.items():
        try:
            if isinstance(python, str):
                raise ContenderError(python)
            there = {} if python is None else {"python": python}
            racers[rival] = Contender(CONTENDERS / SCRIPTS[rival], request, **there)
        except ContenderError as error:
            absent[rival] = str(error)
    settings = {name: racer.opened["settings"] for name, racer in racers.items()}
    if options.trial == "short":
        settings |= {name: winners(settings[name]) for name in racers if name not in OURS}
    for name, paths in sets.items():
        started = time.perf_counter()
        files = [str(path) for path in paths]
        few = photos.spread(files, options.rival_images if name == "photos" else LARGE_RIVAL)
        trial = TRIAL if name == "photos" else LARGE_TRIAL
        cell = measure(
            racers, settings, absent, dict.fromkeys(OURS, files) | {"": few}, trial, options.rounds
        )
        yield {
            "network": network,
            "photos": name,
            "images": len(paths),
            "rival_images": len(few),
            "absent": dict(absent),
            "notes": {n: r.opened.get("note", "") for n, r in racers.items()},
            **cell,
        }
        out.print(f"{network}, {name}: {time.perf_counter() - started:.0f} s", style="dim")
        settings = {key: shortlist(cell["trials"].get(key), settings[key]) for key in racers}
    for racer in racers.values():
        racer.close()


def measure(
    racers: dict[str, Contender | Crew],
    settings: dict[str, list[dict[str, Any]]],
    absent: dict[str, str],
    paths: dict[str, list[str]],
    few: int,
    rounds: int,
) -> dict[str, Any]:
    """Try every setting of every contender, then alternate the best ones.

    Everybody reads the paths under its name or else under the empty one, in the trial a few of
    them. A rival that fails in the trial leaves ``racers`` for ``absent``; Headstart may not fail.
    """
    for path in {path for some in paths.values() for path in some}:
        Path(path).read_bytes()  # into the page cache, for whoever comes first

    def speed(racer: str, setting: dict[str, Any], count: int | None = None) -> float:
        files = paths.get(racer, paths[""])
        some = files if count is None else photos.spread(files, count)
        answer = racers[racer].ask({"paths": some, "setting": setting})
        return float(answer["speed"])

    trials: dict[str, dict[str, float]] = {}
    running = {}
    for racer, choices in settings.items():
        try:
            speed(racer, choices[0], 8)  # the first call pays for much that the others do not
            if racer not in OURS:
                trials[racer] = {
                    choice["name"]: speed(racer, choice, max(few, 2 * choice["batch"]))
                    for choice in choices
                }
        except ContenderError as error:
            if racer in OURS:
                raise
            absent[racer] = str(error)
            del racers[racer]
            continue
        kept = best(trials[racer], KEPT.get(racer, 1)) if racer in trials else None
        for choice in choices:
            if kept is None or choice["name"] in kept:
                running[racer, choice["name"]] = choice
    speeds = alternate.rounds(
        {key: lambda key=key, c=choice: speed(key[0], c) for key, choice in running.items()}, rounds
    )
    return {"trials": trials} | results(speeds)


def best(trial: dict[str, float], count: int) -> list[str]:
    """Return the names of the fastest settings."""
    return sorted(trial, key=lambda name: trial[name], reverse=True)[:count]


def winners(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the settings that full trials pick: many threads, channels last, no batch of 32.

    What a rival has no choice of is left as it is.
    """
    threads = max(each.get("threads", 1) for each in settings)
    return [
        each
        for each in settings
        if each.get("threads", 1) == threads
        and each.get("channels_last", True)
        and each["batch"] <= 8
    ]


def shortlist(
    trial: dict[str, float] | None, settings: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return what to try on large photos, where the layout matters little and a batch of 32 never.

    Decoding rules there, so the layout that won on the other photos is kept.
    """
    if trial is None:
        return settings
    winner = next(s for s in settings if s["name"] == best(trial, 1)[0])
    layout = winner.get("channels_last")
    return [s for s in settings if s.get("channels_last") == layout and s["batch"] <= 8]


def results(speeds: dict[tuple[str, str], list[float]]) -> dict[str, Any]:
    """Turn images per second by (contender, setting) into those by contender, with ratios.

    A contender with several settings counts with the best one of each round.
    """
    by_racer: dict[str, list[float]] = {}
    for (racer, setting), values in speeds.items():
        name = _named(racer, setting)
        known = by_racer.get(name, values)
        by_racer[name] = [max(pair) for pair in zip(known, values, strict=True)]
    rivals = [name for name in by_racer if name.split(" ")[0] not in ("headstart", *LIMITS)]

    def to(ours: str, others: list[str]) -> dict[str, list[float]]:
        if ours not in by_racer:
            return {}
        return {name: alternate.paired(by_racer[ours], by_racer[name]) for name in others}

    return {
        "settings": {"/".join(key): values for key, values in speeds.items()},
        "speeds": by_racer,
        "headstart_to": to("headstart", [*LIMITS, *rivals]),
        "bound_to": to("bound", rivals),
        "int8_to": to("headstart int8", ["headstart", *(f"{x} int8" for x in LIMITS), *rivals]),
    }


def _named(racer: str, setting: str) -> str:
    return setting + racer.removeprefix("headstart") if setting in LIMITS else racer


def table_of(name: str, cells: list[dict[str, Any]]) -> Table:
    """Show one set of photos: who did how much, and what Headstart and its bound are to them."""
    table = Table(
        "network", "contender", "images/s", "headstart ÷ it", "bound ÷ it", "int8 ÷ it",
        title=f"{name}: {cells[0]['images']} images, for the rivals {cells[0]['rival_images']}; "
        "medians (and ranges), ratios paired by round",
    )  # fmt: skip
    for cell in cells:
        for racer, values in cell["speeds"].items():
            ratios = [cell[key].get(racer) for key in ("headstart_to", "bound_to", "int8_to")]
            digits = 3 if racer.split(" ")[0] in LIMITS else 2
            table.add_row(
                cell["network"] if racer == "headstart" else "",
                label(cell, racer),
                alternate.show(values),
                *(alternate.show(ratio, digits) if ratio else "" for ratio in ratios),
            )
        for racer, reason in cell["absent"].items():
            table.add_row("", racer, "n/a", reason)
        table.add_section()
    return table


def label(cell: dict[str, Any], racer: str) -> str:
    """Name a contender with its best setting."""
    if racer not in cell["trials"]:
        return racer
    medians = {
        key.split("/", 1)[1]: alternate.spread(values)["median"]
        for key, values in cell["settings"].items()
        if key.split("/")[0] == racer
    }
    note = cell["notes"][racer]
    return f"{racer} ({', '.join(filter(None, [note, best(medians, 1)[0]]))})"


if __name__ == "__main__":
    main()
