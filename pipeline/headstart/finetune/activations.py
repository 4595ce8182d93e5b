"""Run the frozen part of a network over every view of every image, once, into a store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.backbones.inference import parity
from headstart.backbones.inference.extract import batches
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import BackboneError, ImageError, InputError, one_line
from headstart.core.parallel import available_cores, run_threads
from headstart.features.store.activations import ActivationReader, ActivationWriter, View
from headstart.finetune.photos import Photo, read_again
from headstart.finetune.views import VERSION, Augment

CHUNK = 4  # images a worker takes at once
VIEWS_SEED = 0  # shared by all trainings, so that a run with another seed reuses the store


def fill(
    out: Path,
    model: Path,
    photos: Sequence[Photo],
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda finished, total: None,
) -> ActivationReader:
    """Bring an activation store up to date and open it.

    Then ``out`` holds every view of ``photos``, computed by ``model``: the frozen part of a
    network, exported without pooling. ``progress`` receives (images done, images to do).

    Raises:
        BackboneError: this machine's activations differ from the exporter's, or overflow float16.
        OutputError: the store cannot be written; finished views are kept.
    """
    runner = Runner(model, batch=None)
    parity.check_metadata(runner.metadata, runner.embed, runner.backbone.preprocess)
    document = {
        "backbone": dataclasses.asdict(runner.backbone),
        "views": {"seed": VIEWS_SEED, "recipe": VERSION},
    }
    augment = Augment(runner.backbone.preprocess, VIEWS_SEED)
    views = [View(photo.sha256, number) for photo in photos for number in range(photo.views)]
    with ActivationWriter(out, document, runner.backbone.dim) as writer, _one_thread():
        todo = list({p.sha256: p for p in photos if any(_missing(p, writer))}.values())
        worker = _Worker(runner, writer, augment)
        chunks = (todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK))
        finished = 0
        for count in run_threads(worker.run, chunks, workers or available_cores()):
            finished += count
            progress(finished, len(todo))
        writer.publish(list(dict.fromkeys(views)))
    return ActivationReader(out)


def _missing(photo: Photo, writer: ActivationWriter) -> Iterator[View]:
    for number in range(photo.views):
        view = View(photo.sha256, number)
        if not writer.holds(view.content):
            yield view


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch to one thread, because every worker has an image of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Worker:
    def __init__(self, runner: Runner, writer: ActivationWriter, augment: Augment) -> None:
        self._runner, self._writer, self._augment = runner, writer, augment

    def run(self, photos: Sequence[Photo]) -> int:
        decoded = (pair for photo in photos for pair in self._decoded(photo))
        for views, crops in batches(decoded, self._runner.batch):
            with np.errstate(over="ignore"):
                rows = self._runner.embed(crops).astype(np.float16)
            if not np.isfinite(rows).all():
                raise BackboneError(
                    "the activations at this boundary do not fit into float16; choose another "
                    "--from"
                )
            self._writer.append([v.record(row) for v, row in zip(views, rows, strict=True)])
        return len(photos)

    def _decoded(self, photo: Photo) -> Iterator[tuple[View, NDArray[np.uint8]]]:
        missing = list(_missing(photo, self._writer))
        if not missing:
            return
        data = read_again(photo)
        try:
            whole = self._augment.whole(data) if missing[-1].number else None
            for view in missing:
                if view.number and whole is not None:
                    yield view, self._augment.view(whole, photo.sha256, view.number)
                else:
                    yield view, self._augment.plain(data)
        except ImageError as error:
            raise InputError(f"{one_line(photo.ref.path)}: {error}") from error
