"""Requests become batches, and no answer depends on who shares one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from headstart.core.errors import RunnerError
from headstart.models.predict import Model
from headstart.models.serve.batching import Answer, Batcher


@pytest.fixture(scope="module")
def model(tiny_classifier) -> Model:
    return Model(tiny_classifier)


@pytest.fixture
def batcher(model) -> Iterator[Batcher]:
    batcher = Batcher(model, workers=1, batch=4)
    yield batcher
    batcher.close()


def crops(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(1).integers(0, 256, (count, 32, 32, 3), np.uint8))


async def behind(batcher: Batcher, asked: list[np.ndarray]) -> list[Answer | BaseException]:
    """Ask while the only thread is busy, so that all wait together."""
    gate = threading.Event()
    busy = asyncio.create_task(batcher.run(gate.wait))
    tasks = [asyncio.create_task(batcher.answer(crop)) for crop in asked]
    await asyncio.sleep(0.05)
    gate.set()
    await busy
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_what_waits_is_inferred_together(model, batcher):
    asked = crops(10)
    found = asyncio.run(behind(batcher, asked))
    assert [one.batch for one in found] == [4] * 8 + [2] * 2
    for crop, one in zip(asked, found, strict=True):
        alone = model.answer(crop[np.newaxis])
        assert one.probabilities == pytest.approx(alone.probabilities[0], abs=1e-6)
        assert one.features == pytest.approx(alone.features[0], abs=1e-6)
        assert one.distance == pytest.approx(float(alone.distance[0]), abs=1e-6)


def test_whoever_is_alone_waits_for_nobody(batcher):
    found = asyncio.run(batcher.answer(crops(1)[0]))
    assert found.batch == 1


def test_an_inference_that_fails_reaches_all_who_wait(batcher):
    found = asyncio.run(behind(batcher, [np.zeros((5, 5, 3), np.uint8)] * 3))
    assert all(isinstance(one, RunnerError) for one in found)
    assert asyncio.run(batcher.answer(crops(1)[0])).batch == 1  # and nobody else


def test_whoever_has_gone_is_not_inferred(batcher):
    async def some_go() -> list[Answer]:
        gate = threading.Event()
        busy = asyncio.create_task(batcher.run(gate.wait))
        tasks = [asyncio.create_task(batcher.answer(crop)) for crop in crops(4)]
        await asyncio.sleep(0.05)
        for task in tasks[:2]:
            task.cancel()
        await asyncio.sleep(0.05)
        gate.set()
        await busy
        return await asyncio.gather(*tasks[2:])

    assert [one.batch for one in asyncio.run(some_go())] == [2, 2]
