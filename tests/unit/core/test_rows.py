"""Rows of numbers: the wider format of those in float16."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.core.rows import widen

HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16)  # all that there are


@pytest.mark.parametrize("finite", [True, False])
@pytest.mark.parametrize("width", [1, 48, 512])
def test_every_half_becomes_the_same_float(width, finite):
    chosen = HALVES[np.isfinite(HALVES)] if finite else HALVES
    half = chosen[: len(chosen) // width * width].reshape(-1, width)
    out = np.full(half.shape, 7, np.float32)
    widen(half, out)
    assert np.array_equal(out.view(np.uint32), half.astype(np.float32).view(np.uint32))


def test_no_rows_stay_no_rows():
    out = np.empty((0, 3), np.float32)
    widen(np.empty((0, 3), np.float16), out)
    assert out.shape == (0, 3)
