from __future__ import annotations

from pathlib import Path

import pytest
from headstart.core.records import ImageRef, Listing
from headstart.features.embed.outcomes import Outcomes
from headstart.features.store.columns import Failure, FileState, Row


@pytest.fixture
def outcomes() -> Outcomes:
    images = [ImageRef(f"{at}.jpg", "ab"[at % 2] if at else None, "train") for at in range(5)]
    return Outcomes(Listing(Path("/x"), images, ("a", "b"), {}, "x"))


def test_rows_and_failures_are_what_was_put_in_listing_order(outcomes):
    assert list(outcomes.missing()) == [0, 1, 2, 3, 4]
    outcomes.put(4, b"4" * 32, FileState(4, 2**62), embedded=True)
    outcomes.put(1, b"", FileState(-1, -1), False, "file not found")
    outcomes.put(0, b"0" * 32, FileState(0, -5), embedded=False)
    assert list(outcomes.missing()) == [2, 3]
    outcomes.put(3, b"3" * 32, FileState(3, 3), False, "truncated")
    outcomes.put(2, b"3" * 32, FileState(2, 2), embedded=False)  # shares the bytes of 3
    rows, failures = outcomes.split()
    assert failures == [
        Failure("1.jpg", "file not found", b""),
        Failure("2.jpg", "truncated", b"3" * 32),
        Failure("3.jpg", "truncated", b"3" * 32),
    ]
    expected = [
        Row("0.jpg", -1, "train", b"0" * 32, FileState(0, -5)),
        Row("4.jpg", 0, "train", b"4" * 32, FileState(4, 2**62)),
    ]
    assert list(rows) == rows[:] == rows[0:5] == expected
    assert (len(rows), rows[-1], outcomes.embedded) == (2, expected[1], 1)


def test_an_image_that_was_forgotten_is_a_mistake(outcomes):
    with pytest.raises(AssertionError, match="never worked on"):
        outcomes.split()
