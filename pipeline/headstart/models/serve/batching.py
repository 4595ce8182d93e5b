"""Batches of requests: images that wait while the processor is busy are inferred together.

Each thread decodes or infers, first come, first served. A thread that infers takes all waiting
images, up to the device's batch size. No image waits for a batch to fill up, so a single client is
answered as fast as without batches. Files that may be slow to decode share one thread of their own,
so they delay only one another.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart.models.classifier import Classifier

Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer:
    """The model's answer for one image.

    Attributes:
        probabilities: ``(k,) float32``, in the order of `Classifier.classes`.
        features: ``(d,) float32``.
        distance: cosine distance to the training images; NaN if the model has none.
        batch: images inferred together with this one, which took ``seconds``.
    """

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
    distance: float
    batch: int
    seconds: float


class Batcher:
    """The threads that decode and infer for a server.

    At most ``batch`` images are inferred at once; None takes the default of model and device.
    """

    def __init__(self, model: Classifier, workers: int, batch: int | None = None) -> None:
        self._model = model
        self._batch = batch
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="serve")
        self._doubtful = ThreadPoolExecutor(1, thread_name_prefix="doubtful")
        self._lock = threading.Lock()
        self._waiting: deque[tuple[NDArray[np.uint8], Future[Answer]]] = deque()

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what ``work`` returns on one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def decode(self, data: bytes, seconds: int, doubtful: bool) -> NDArray[np.uint8]:
        """Return the network's input of an image file, ``(h, w, 3) uint8``.

        A ``doubtful`` file may be slow to decode; it gets ``seconds`` of processor time.
        """
        pool = self._doubtful if doubtful else self._pool
        work = partial(self._model.decode, data, seconds)
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    async def answer(self, crop: NDArray[np.uint8]) -> Answer:
        """Return the model's answer for one ``(h, w, 3) uint8`` image."""
        future: Future[Answer] = Future()
        with self._lock:
            self._waiting.append((crop, future))
        self._pool.submit(self._infer)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let the threads end after their current work."""
        for pool in (self._pool, self._doubtful):
            pool.shutdown(wait=False, cancel_futures=True)

    def _limit(self) -> int:
        """Return how many of the waiting images to infer together."""
        if self._batch is None and len(self._waiting) > 1:
            try:  # it takes inferences, so a server is ready before it is known
                self._batch = self._model.batch
            except Exception:  # the inference of each image will say why
                return 1
        return self._batch or 1

    def _alike(self, limit: int) -> list[tuple[NDArray[np.uint8], Future[Answer]]]:
        """Remove the first of the waiting images, and those of its shape that come with it."""
        taken: list[tuple[NDArray[np.uint8], Future[Answer]]] = []
        others: deque[tuple[NDArray[np.uint8], Future[Answer]]] = deque()
        while self._waiting and len(taken) < limit:
            pair = self._waiting.popleft()
            alike = not taken or pair[0].shape == taken[0][0].shape
            (taken if alike else others).append(pair)
        self._waiting.extendleft(reversed(others))
        return taken

    def _infer(self) -> None:
        """Answer all waiting images. Each image submits one call, so some calls find none."""
        limit = self._limit()
        with self._lock:
            taken = self._alike(limit)
        # Skip clients that have closed the connection meanwhile.
        taken = [pair for pair in taken if pair[1].set_running_or_notify_cancel()]
        if not taken:
            return
        started = time.perf_counter()
        try:
            answers = self._model.answer(np.stack([crop for crop, _ in taken]))
        except Exception as error:  # of any kind: it belongs to the clients that wait
            for _, future in taken:
                future.set_exception(error)
            return
        seconds = time.perf_counter() - started
        rows = zip(answers.probabilities, answers.features, answers.distance.tolist(), strict=True)
        for (_, future), row in zip(taken, rows, strict=True):
            future.set_result(Answer(*row, batch=len(taken), seconds=seconds))
