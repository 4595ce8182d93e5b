"""How fast this machine fine-tunes, from two batches in every mode."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from headstart.core.choices import MODES
from headstart.finetune import preparation
from headstart.finetune.config import ALL
from headstart.finetune.job import FinetuneJob
from headstart.finetune.model import Start
from headstart.finetune.training import Trainer, TrainingSetup

_BATCHES = 2
_EPOCHS = 2  # the first one warms up
_VIEWS = 2


@dataclass(frozen=True)
class Pace:
    """Seconds to compute a cached view (0 without a cache), and per training image and epoch."""

    view: float
    image: float


def measure(job: FinetuneJob, start: Start) -> dict[str, Pace]:
    """Return the pace of every mode; ``start`` is the job's."""
    few = job.config.batch * _BATCHES
    division = job.division
    part = dataclasses.replace(
        division, train=division.train[:few], validation=division.validation[:1]
    )
    paces = {}
    for mode in MODES:
        config = job.config.for_mode(mode, len(part.train))
        config = dataclasses.replace(config, epochs=_EPOCHS, views=_VIEWS)
        with TemporaryDirectory(prefix="headstart-timing-") as folder:
            small = dataclasses.replace(job, division=part, config=config)
            paces[mode] = _pace(small, start, Path(folder))
    return paces


def _pace(job: FinetuneJob, start: Start, folder: Path) -> Pace:
    marks: list[tuple[int, float]] = []
    prepared = preparation.prepare(
        job, start, folder, lambda count, total: marks.append((count, time.perf_counter()))
    )
    setup = TrainingSetup(job.config, folder / "checkpoint", job.config.mode, job.objective())
    trainer = Trainer(prepared.model, prepared.batches, setup)
    history = trainer.run().history
    images = len(job.division.train)
    seconds = min(epoch["seconds"] for epoch in history[1:]) / images
    if job.config.mode == ALL:
        return Pace(0.0, seconds)
    (first, started), (last, ended) = marks[0], marks[-1]
    per_image = (ended - started) / max(1, last - first)
    return Pace(per_image / _VIEWS, seconds)
