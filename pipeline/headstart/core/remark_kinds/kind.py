"""What is said of a kind of remark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of remark: what it is about, what it means, and what to do."""

    code: str
    topic: str
    title: str
    meaning: str
    advice: str
